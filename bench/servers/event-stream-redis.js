'use strict'

// This plugin as one of many processes: the same channel, with the backplane over Redis.

const { createClient } = require('redis')
const ssePlugin = require('../..')
const { redisBackplane } = require('../../dist/backplane/redis')
const { medium } = require('../event')
const { onFastify } = require('../host/fastify')

module.exports = async function ({ redis, broadcaster }) {
  const commands = {}
  const server = await onFastify(async app => {
    await app.register(ssePlugin, { backplane: redisBackplane({ client: createClient({ url: redis }) }) })

    const channel = app.sse.channel('prices')
    broadcaster.by(event => channel.publish(event))
    app.get('/channel', (request, reply) => {
      broadcaster.join()
      return reply.sse(channel)
    })

    // Who says from where misses nothing, however early what follows is published.
    commands.path = async () => `/channel?lastEventId=${await channel.position()}`

    const many = Array.from({ length: 8 }, (_, n) => app.sse.channel(`storm-${n}`))
    app.get('/storm/:n', (request, reply) => reply.sse(many[request.params.n]))

    /** Publishes events to some channels, and gives back the ID of the first in each. */
    commands.fill = ({ channels, first, count }) => Promise.all(many.slice(0, channels).map(async channel => {
      const ids = Array.from({ length: count }, (_, n) => channel.publish(medium(first + n)))
      return (await Promise.all(ids))[0]
    }))
  })()
  return Object.assign(server, { commands })
}
