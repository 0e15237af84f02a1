'use strict'

// Clients that have lost their server all come back at once, to others, with the ID of the last event that they have. Redis
// says itself how often it was read: once for each channel and process, or it is an error.

const { Connections } = require('../client/connections')

/** @returns {Promise<object>} how often a tail was read, how long it took, and the CPU time in µs for a client */
async function storm ({ servers, redis }, { clients, channels, kept }) {
  const ids = await servers[0].ask('fill', { channels, first: 0, count: kept + 1 })
  await redis.forgetCalls()
  const before = await cpu({ servers, redis })
  const started = performance.now()

  const groups = []
  for (let n = 0; n < channels; n++) {
    for (const { port } of servers) groups.push({ port, path: `/storm/${n}`, lastEventId: ids[n] })
  }
  const crowd = new Connections()
  // In turns, as they would come.
  for (let n = 0; n < clients; n++) crowd.add(1, { ...groups[n % groups.length], first: 1 })
  await crowd.received(kept + 1)
  const stormed = performance.now() - started
  const after = await cpu({ servers, redis })

  const reads = await redis.calls('xrange')
  const scripts = await redis.calls('evalsha')
  const expected = servers.length * channels
  if (reads !== expected) throw new Error(`Tails were read from Redis ${reads} times, for ${channels} channels in ${servers.length} processes`)
  // Each process also asks where a channel stands, when it begins to listen.
  if (scripts !== 2 * expected) throw new Error(`Redis has run ${scripts} scripts, and ${2 * expected} were expected`)

  // From here on they hear what comes, like everyone.
  await servers.at(-1).ask('fill', { channels, first: kept + 1, count: 1 })
  await crowd.received(kept + 2)
  await crowd.close()
  return {
    reads,
    stormed,
    stormServers: (after.servers - before.servers) / clients,
    stormRedis: (after.redis - before.redis) / clients
  }
}

async function cpu ({ servers, redis }) {
  const times = await Promise.all(servers.map(server => server.ask('cpu')))
  return { servers: times.reduce((sum, time) => sum + time), redis: redis.cpu() }
}

module.exports = { storm }
