'use strict'

// The same loop in a Fastify route that has taken the response over.

const { drain, forward } = require('../host/bare')
const { onFastify } = require('../host/fastify')

module.exports = onFastify(async (app, { source, push }) => {
  app.get('/events', (request, reply) => {
    reply.hijack()
    drain(source(), reply.raw)
  })

  app.get('/pushed', (request, reply) => {
    reply.hijack()
    forward(push, reply.raw)
  })
})
