'use strict'

// Fastify on its own: a Readable of the event stream's text as the body of the reply.

const { Readable } = require('node:stream')
const { onFastify } = require('../host/fastify')
const { HEADERS, frame } = require('../host/frame')

async function * frames (events) {
  for await (const event of events) yield frame(event)
}

module.exports = onFastify(async (app, { source, push }) => {
  app.get('/events', (request, reply) => reply.headers(HEADERS).send(Readable.from(frames(source()))))

  app.get('/pushed', (request, reply) => {
    const body = new Readable({ read () {} })
    body.on('close', push(event => { body.push(frame(event)) }))
    return reply.headers(HEADERS).send(body)
  })
})
