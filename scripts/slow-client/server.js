'use strict'

// The server process: `node --expose-gc server.js OPTIONS` serves a channel, with these options of the plugin, and does
// what it is asked for over the IPC channel. It ends with that channel.

const { subscribe } = require('node:diagnostics_channel')
const { setImmediate } = require('node:timers/promises')
const Fastify = require('fastify')
const ssePlugin = require('fastify-event-stream')
const { NAMES, toData } = require('./events')

async function main (options) {
  const app = Fastify({ forceCloseConnections: true })
  await app.register(ssePlugin, { heartbeat: false, ...options })
  const channel = app.sse.channel('news')
  for (const path of ['/', '/stalled']) app.get(path, (request, reply) => reply.sse(channel))
  await app.listen({ host: '127.0.0.1', port: 0 })

  const cut = new Promise(resolve => {
    subscribe('fastify-event-stream:closed', ({ request, reason }) => { if (request.url === '/stalled') resolve(reason) })
  })
  let published = 0

  const commands = {
    port: () => app.server.address().port,
    async publish (count) {
      while (count-- > 0) await channel.publish({ event: NAMES[++published % NAMES.length], data: toData(Date.now()) })
      return published
    },
    memory,
    stats: () => app.sse.stats(),
    /** The reason why the stream of the stalled client was closed, when it is. */
    cut: () => cut
  }
  process.on('message', async ({ id, command, argument }) => {
    process.send({ id, result: await commands[command](argument) })
  })
  process.on('disconnect', () => process.exit())
}

/** Bytes after a garbage collection: `heap` with what lies outside of it, and `rss` of the whole process. */
async function memory () {
  // A second one frees what the finalizers of the first let go.
  for (let round = 0; round < 2; round++) {
    await setImmediate()
    global.gc()
  }
  const { heapUsed, external, rss } = process.memoryUsage()
  return { heap: heapUsed + external, rss }
}

main(JSON.parse(process.argv[2]))
