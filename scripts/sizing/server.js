'use strict'

// One process with one channel, which does what its parent says and tells what that has cost.
const Fastify = require('fastify')
const ssePlugin = require('fastify-event-stream')
const { redisBackplane } = require('fastify-event-stream/redis')

const [heartbeat, redisUrl] = process.argv.slice(2)
const DATA = 'x'.repeat(200)

const app = Fastify({ forceCloseConnections: true })
app.register(ssePlugin, {
  heartbeat: Number(heartbeat),
  ...(redisUrl === undefined ? {} : { backplane: redisBackplane({ url: redisUrl }) })
})
app.after(() => {
  const feed = app.sse.channel('feed')
  app.get('/feed', (request, reply) => reply.sse(feed))
  const acts = {
    publish: () => feed.publish({ data: DATA }),
    cost: async () => {
      globalThis.gc()
      const { user, system } = process.cpuUsage()
      return { cpu: user + system, rss: process.memoryUsage.rss(), heap: process.memoryUsage().heapUsed }
    }
  }
  process.on('message', async act => process.send(await acts[act]()))
})
process.on('disconnect', () => process.exit())

app.listen({ host: '127.0.0.1', port: 0 }).then(() => process.send(app.server.address().port))
