'use strict'

const Fastify = require('fastify')

/** Serves on Fastify, without a logger: `define` adds the routes of a contestant to it. */
function onFastify (define) {
  return async workload => {
    const app = Fastify()
    await define(app, workload)
    app.get('/one', () => 'one')
    await app.listen({ host: '127.0.0.1', port: 0 })
    return app.server
  }
}

module.exports = { onFastify }
