'use strict'

// socket.io with its adapter for Redis Streams, both with their defaults. An event counts as confirmed when it is in the
// Stream; what `emit` gives back does not tell.

const { createServer } = require('node:http')
const { createAdapter } = require('@socket.io/redis-streams-adapter')
const { createClient } = require('redis')
const { Server } = require('socket.io')
const { listen } = require('../host/listen')

module.exports = async function ({ redis, broadcaster }) {
  const client = createClient({ url: redis })
  await client.connect()
  const server = createServer()
  const io = new Server(server, { adapter: createAdapter(client) })

  const adapter = io.of('/').adapter
  const publish = adapter.doPublish.bind(adapter)
  let confirmed
  adapter.doPublish = message => (confirmed = publish(message))
  broadcaster.by(({ event, data }) => {
    io.emit(event, data)
    return confirmed
  })

  io.on('connection', () => broadcaster.join())
  await listen(server)
  return Object.assign(server, { commands: { path: () => '/socket.io/?EIO=4&transport=websocket' } })
}
