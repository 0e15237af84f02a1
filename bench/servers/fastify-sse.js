'use strict'

const ssePlugin = require('@fastify/sse')
const { onFastify } = require('../host/fastify')

module.exports = onFastify(async (app, { source, push, broadcaster, heartbeat }) => {
  await app.register(ssePlugin, { heartbeatInterval: heartbeat })

  app.get('/events', { sse: 'only' }, (request, reply) => reply.sse.send(source()))

  app.get('/pushed', { sse: 'only' }, async (request, reply) => {
    reply.sse.keepAlive()
    reply.sse.sendHeaders()
    reply.sse.onClose(push(event => { reply.sse.send(event) }))
  })

  app.get('/channel', { sse: 'only' }, async (request, reply) => {
    reply.sse.keepAlive()
    reply.sse.sendHeaders()
    reply.sse.onClose(broadcaster.join(event => { reply.sse.send(event) }))
  })
})
