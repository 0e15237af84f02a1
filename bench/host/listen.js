'use strict'

const { once } = require('node:events')

/** Starts a server of node:http on a free port, and gives it back when it listens. */
async function listen (server) {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}

module.exports = { listen }
