'use strict'

const { once } = require('node:events')
const Fastify = require('fastify')
const ssePlugin = require('fastify-event-stream')

// A process that prints its address, and cuts the stream at /cut within the close of the one at /finished, which the
// frames of its client bring about: Node before 22.23.3 may then free a stream twice, and end the process.

const app = Fastify({ http2: true })
let cut = () => {}

async function start () {
  await app.register(ssePlugin)
  app.addContentTypeParser('application/json', (request, payload, done) => { done(null, {}) })

  app.get('/cut', {
    onSend: async (request, reply, payload) => {
      cut = () => { payload.destroy() }
      return payload
    }
  }, (request, reply) => reply.sse(async function * ({ signal }) {
    yield 'open'
    await once(signal, 'abort')
  }))
  app.post('/finished', (request, reply) => {
    const { stream } = reply.raw
    const { close } = stream
    // Between the end of the stream and its RST_STREAM, so that the one of the client has come when it closes.
    stream.close = (...args) => {
      const end = performance.now() + 40
      while (performance.now() < end);
      return Reflect.apply(close, stream, args)
    }
    reply.raw.once('close', () => { cut() })
    return reply.sse(['one'])
  })

  await app.listen({ host: '127.0.0.1', port: 0 })
  console.log(`http://127.0.0.1:${app.server.address().port}`)
}

start()
