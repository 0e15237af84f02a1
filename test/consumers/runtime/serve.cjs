'use strict'

const assert = require('node:assert')
const Fastify = require('fastify')

module.exports = async function serve (plugin) {
  const app = Fastify()
  await app.register(plugin)
  app.get('/', (request, reply) => reply.sse(['hello']))

  const response = await app.inject('/')
  assert.strictEqual(response.headers['content-type'], 'text/event-stream')
  assert.match(response.body, /^data: hello$/m)
  await app.close()
}
