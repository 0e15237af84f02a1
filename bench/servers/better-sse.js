'use strict'

// In a Fastify route, like the others. Its `iterate` gives all events one name, so the loop is written out. It gives
// each event a random ID, which is not to be turned off.

const { createChannel, createSession } = require('better-sse')
const { onFastify } = require('../host/fastify')

module.exports = onFastify(async (app, { source, push, broadcaster, heartbeat }) => {
  const open = (request, reply) => {
    reply.hijack()
    return createSession(request.raw, reply.raw, { keepAlive: heartbeat })
  }

  app.get('/events', async (request, reply) => {
    const session = await open(request, reply)
    for await (const { event, data } of source()) session.push(data, event)
    reply.raw.end()
  })

  app.get('/pushed', async (request, reply) => {
    const session = await open(request, reply)
    session.on('disconnected', push(({ event, data }) => { session.push(data, event) }))
  })

  const channel = createChannel()
  broadcaster.by(({ event, data }) => { channel.broadcast(data, event) })
  app.get('/channel', async (request, reply) => {
    channel.register(await open(request, reply))
    broadcaster.join()
  })
})
