/**
 * One of the processes of the cluster: a Fastify app like any other. That there are several is the backplane's business.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fastify from 'fastify'
import ssePlugin from 'fastify-event-stream'
import { redisBackplane } from 'fastify-event-stream/redis'
import { controls } from './controls'
import { health } from './health'
import type { FeedEvents, Note, Report, Tick } from './messages'

const { HOST = '127.0.0.1', PORT = '8848', REDIS_URL, LOG_LEVEL = 'warn' } = process.env
const { pid } = process

const app = fastify({
  logger: { level: LOG_LEVEL },
  // A browser opens spare connections that never ask for anything: close() is not to wait for those.
  forceCloseConnections: true,
  // To an EventSource a 503 is final. Without it, one that comes while this process closes is told to come back.
  return503OnClosing: false
})

app.register(ssePlugin, {
  // In memory without it. It is looked for less patiently than by default, so that one can watch.
  ...(REDIS_URL === undefined ? {} : { backplane: redisBackplane({ url: REDIS_URL, timeout: 1000 }) }),
  // Whoever loses a process comes back soon, but not all in the same moment.
  retry: { min: 200, max: 1200 },
  shutdown: { retry: { min: 200, max: 1200 } }
})

app.register(health)
app.register(controls)

const body = {
  type: 'object',
  properties: { text: { type: 'string', minLength: 1, maxLength: 200 }, key: { type: 'string', pattern: '^[0-9a-f]{32}$' } },
  required: ['text', 'key'],
  additionalProperties: false
}

app.after(() => {
  const feed = app.sse.channel<FeedEvents>('feed', { history: { size: 240 } })

  // Each event says which process has brought it.
  const fromHere = feed.subscribe({ from: 'earliest', map: ({ event, data }) => ({ event, data: { ...data, broughtBy: pid } }) })
  app.get('/feed', (_request, reply) => reply.sse(fromHere))

  app.post<{ Body: Note }>('/notes', { schema: { body } }, async ({ body }) => {
    const id = await feed.publish({ event: 'note', data: { ...body, publishedBy: pid } }, { idempotencyKey: body.key })
    return { id, pid }
  })

  process.on('message', (tick: Tick) => {
    const { clock, number } = tick
    feed.publish({ event: 'tick', data: { ...tick, publishedBy: pid } }, { idempotencyKey: `${clock}-${number}` }).then(() => true, () => false).then(isPublished => {
      const report: Report = { type: 'tick', number, isPublished, streams: app.sse.stats().streams.open }
      if (process.connected) process.send?.(report)
    })
  })
})

for (const [url, file, type] of [
  ['/', 'index.html', 'text/html'],
  ['/cluster.css', 'cluster.css', 'text/css'],
  ['/cluster.js', 'cluster.js', 'text/javascript'],
  ['/feed.js', 'feed.js', 'text/javascript'],
  ['/sequence.js', 'sequence.js', 'text/javascript']
] as const) {
  const page = readFileSync(join(__dirname, 'public', file))
  app.get(url, (_request, reply) => reply.type(`${type}; charset=utf-8`).send(page))
}

// Ctrl-C goes to every process of the terminal at once; the primary says when it is this one's turn.
process.on('SIGINT', () => {})
process.on('SIGHUP', () => {})
process.on('SIGTERM', () => app.close().then(() => { if (process.connected) process.disconnect() }))

app.listen({ host: HOST, port: Number(PORT) }, error => {
  if (error === null) return
  console.error(`Process ${pid} could not start: ${error.message}`)
  process.exit(1)
})
