'use strict'

const { once } = require('node:events')
const { Readable } = require('node:stream')
const Fastify = require('fastify')
const ssePlugin = require('fastify-event-stream')

// A process that prints its address, closes the server on SIGTERM, and exits by nothing else.

const app = Fastify()
const sockets = new Set()
app.server.on('connection', socket => sockets.add(socket))

async function start () {
  await app.register(ssePlugin, { heartbeat: 1_000, maxAge: 3_600_000, prime: 60_000, shutdown: { grace: 100 } })

  app.get('/heeding', (request, reply) => reply.sse(async function * ({ signal }) {
    yield 'open'
    await once(signal, 'abort')
  }))
  app.get('/deaf', (request, reply) => reply.sse(async function * () {
    yield 'open'
    await new Promise(() => {})
  }))
  app.get('/readable', (request, reply) => {
    const readable = new Readable({ objectMode: true, read () {} })
    readable.push('open')
    return reply.sse(readable)
  })
  app.get('/endless', (request, reply) => reply.sse(async function * () {
    yield 'x'.repeat(48 * 1024 * 1024)
    console.log('/endless has written')
    for (;;) yield 'more'
  }))
  app.get('/unopened', (request, reply) => reply.sse(async function * () {
    console.log('/unopened was called')
    await new Promise(() => {})
    yield 'never'
  }))

  await app.listen({ host: '127.0.0.1', port: 0 })
  console.log(`http://127.0.0.1:${app.server.address().port}`)
}

process.on('SIGTERM', () => app.close())
process.on('SIGUSR2', () => {
  app.server.unref()
  for (const socket of sockets) socket.unref()
})
start()
