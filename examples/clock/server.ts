/**
 * The two classic clock servers, as async generators.
 *
 * A bare Node server at /stream and a Java servlet at /get pushed the current time to whoever listened: each a timer,
 * a block of headers and a loop with its clean-up. Here each is a generator of a few lines. The plugin writes the
 * events, waits for slow clients, and aborts the generator when its client goes.
 *
 *     npm start        and open what it prints; the environment's PORT, HOST and LOG_LEVEL are heeded
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setInterval } from 'node:timers/promises'
import cors from '@fastify/cors'
import fastify from 'fastify'
import ssePlugin from 'fastify-event-stream'

const { HOST = '127.0.0.1', PORT = '8844', LOG_LEVEL = 'warn' } = process.env

// A browser opens spare connections that never ask for anything: close() is not to wait for those.
const app = fastify({ logger: { level: LOG_LEVEL }, forceCloseConnections: true })

app.register(ssePlugin)

const time = () => new Date().toISOString()

/** The time now, and again every `ms` until the client goes. */
async function * times (ms: number, signal: AbortSignal) {
  yield time()
  for await (const now of setInterval(ms, time, { signal })) yield now()
}

// In a scope of its own, so that the CORS headers are on this stream and nowhere else.
app.register(async (scope) => {
  await scope.register(cors, { origin: '*' })

  scope.get('/stream', (_request, reply) => reply.sse(async function * ({ signal }) {
    yield { event: 'connecttime', data: time() }
    yield * times(1000, signal)
  }, { retry: 10_000 }))
})

const everyMs = { type: 'integer', minimum: 50, maximum: 60_000, default: 1000 }

app.get<{ Querystring: { every: number } }>('/get', {
  schema: { querystring: { type: 'object', properties: { every: everyMs } } }
}, (request, reply) => {
  // Both headers as the servlet had them: the plugin keeps what a handler has set.
  reply.header('content-type', 'text/event-stream; charset=UTF-8')
  reply.header('cache-control', 'no-cache, no-store, max-age=0, must-revalidate')

  // The servlet wrote `cur-time : …`, a field that no parser knows and every one skips. Here it is an event's name.
  return reply.sse(async function * ({ signal }) {
    for await (const data of times(request.query.every, signal)) yield { event: 'cur-time', data }
  }, { retry: 1000 })
})

// The page that shows both.
for (const [url, file, type] of [
  ['/', 'index.html', 'text/html'],
  ['/clock.css', 'clock.css', 'text/css'],
  ['/clock.js', 'clock.js', 'text/javascript']
] as const) {
  const body = readFileSync(join(__dirname, 'public', file))
  app.get(url, (_request, reply) => reply.type(`${type}; charset=utf-8`).send(body))
}

// close() tells both generators and ends their streams; with nothing left to do, the process exits by itself.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => app.close())

app.listen({ host: HOST, port: Number(PORT) }, (error, address) => {
  if (error) throw error
  console.log(`Two clocks are running. Open ${address}/`)
})
