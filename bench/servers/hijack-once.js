'use strict'

// The least a Fastify route can do for a stream: the head and one event, without any source behind it.

const { tick } = require('../event')
const { onFastify } = require('../host/fastify')
const { HEADERS, frame } = require('../host/frame')

module.exports = onFastify(async app => {
  app.get('/events', (request, reply) => {
    reply.hijack()
    reply.raw.writeHead(200, HEADERS).write(frame(tick(0)))
  })
})
