'use strict'

// This plugin: whatever the source is, `reply.sse` takes it.

const { PassThrough } = require('node:stream')
const ssePlugin = require('../..')
const { onFastify } = require('../host/fastify')

module.exports = onFastify(async (app, { source, push, broadcaster, heartbeat }) => {
  await app.register(ssePlugin, { heartbeat })

  app.get('/events', (request, reply) => reply.sse(source))

  app.get('/pushed', (request, reply) => {
    const events = new PassThrough({ objectMode: true })
    events.on('close', push(event => { events.write(event) }))
    return reply.sse(events)
  })

  const channel = app.sse.channel('prices')
  broadcaster.by(event => channel.publish(event))
  app.get('/channel', (request, reply) => {
    broadcaster.join()
    return reply.sse(channel)
  })
})
