/**
 * This machine's load, memory and event-loop delay, live: measured once a second, however many browsers watch over the
 * one channel. A page that loses its connection comes back by itself and gets what it has missed.
 *
 *     npm run example:dashboard        and open what it prints in some windows; the environment's PORT and HOST are heeded
 */
import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import fastify from 'fastify'
import ssePlugin from 'fastify-event-stream'
import { Machine, type Sample } from './machine'

const { HOST = '127.0.0.1', PORT = '8846', LOG_LEVEL = 'warn' } = process.env

// A browser opens spare connections that never ask for anything: close() is not to wait for those.
const app = fastify({ logger: { level: LOG_LEVEL }, forceCloseConnections: true })

app.register(ssePlugin)

/** Each page gives itself a name that nobody guesses, so that it can ask for the loss of its own connection. */
interface PageRoute {
  Querystring: { page: string }
}

const querystring = {
  type: 'object',
  properties: { page: { type: 'string', pattern: '^[0-9a-f]{32}$' } },
  required: ['page']
}

app.after(() => {
  // Two minutes of the past: what a new page begins with, and the longest absence that nobody notices afterwards.
  const samples = app.sse.channel<{ sample: Sample & { watching: number } }>('samples', { history: { size: 120 } })
  const connections = new Map<string, Socket>()

  // A page that comes back says where it was, and goes on from there instead of the earliest sample.
  app.get<PageRoute>('/samples', { schema: { querystring } }, (request, reply) => {
    const { query: { page }, socket } = request
    connections.set(page, socket)
    socket.once('close', () => { if (connections.get(page) === socket) connections.delete(page) })
    return reply.sse(samples.subscribe({ from: 'earliest' }), { retry: 3000 })
  })

  // As if a cable were pulled: the response is not even ended.
  app.post<PageRoute>('/drop', { schema: { querystring } }, (request, reply) => {
    connections.get(request.query.page)?.resetAndDestroy()
    return reply.code(204).send()
  })

  const machine = new Machine()
  const timer = setInterval(() => {
    const data = { ...machine.sample(), watching: samples.subscribers }
    samples.publish({ event: 'sample', data }).catch(error => app.log.error(error))
  }, 1000)
  app.addHook('preClose', async () => clearInterval(timer))
})

for (const [url, file, type] of [
  ['/', 'index.html', 'text/html'],
  ['/dashboard.css', 'dashboard.css', 'text/css'],
  ['/dashboard.js', 'dashboard.js', 'text/javascript'],
  ['/chart.js', 'chart.js', 'text/javascript']
] as const) {
  const body = readFileSync(join(__dirname, 'public', file))
  app.get(url, (_request, reply) => reply.type(`${type}; charset=utf-8`).send(body))
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => app.close())

app.listen({ host: HOST, port: Number(PORT) }, (error, address) => {
  if (error) throw error
  console.log(`The machine is being watched. Open ${address}/`)
})
