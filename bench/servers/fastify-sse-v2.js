'use strict'

const { FastifySSEPlugin } = require('fastify-sse-v2')
const { onFastify } = require('../host/fastify')

module.exports = onFastify(async (app, { source, push }) => {
  await app.register(FastifySSEPlugin)

  app.get('/events', (request, reply) => { reply.sse(source()) })

  app.get('/pushed', (request, reply) => {
    request.socket.on('close', push(event => { reply.sse(event) }))
  })
})
