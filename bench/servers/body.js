'use strict'

// The least that a stream costs which Fastify's hooks may see: a body with nothing to it but the `pipe` that Fastify
// calls when they have run, and behind it the same loop.

const { EventEmitter } = require('node:events')
const { drain } = require('../host/bare')
const { onFastify } = require('../host/fastify')
const { HEADERS } = require('../host/frame')

class Body extends EventEmitter {
  #source
  #reply

  constructor (source, reply) {
    super()
    this.#source = source
    this.#reply = reply
  }

  pipe (response) {
    this.#reply.hijack()
    this.removeAllListeners()
    drain(this.#source(), response)
    return response
  }

  resume () {}
  destroy () {}
}

module.exports = onFastify(async (app, { source }) => {
  app.get('/events', (request, reply) => { reply.headers(HEADERS).send(new Body(source, reply)) })
})
