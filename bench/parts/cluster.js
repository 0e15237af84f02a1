'use strict'

// Many processes as one, over Redis: what one publishes, the clients of all receive. There is one client on each process,
// since what many of them cost is the subject of the fan-out.

const { Audience } = require('../client/audience')
const { RedisServer } = require('../redis-server')
const { quantile } = require('../report/statistics')
const { storm } = require('./storm')

const MICROSECONDS = { unit: 'µs', digits: 0 }

module.exports = {
  title: 'Cluster: processes that are one over Redis',
  method: 'Events of 200 bytes, one client on each process. The processes share a CPU, Redis has that of the client. As fast as possible: every process publishes, with some events on their way at a time, until each is confirmed and has reached every client. The CPU time is that of all processes together, and of Redis, for an event.',
  contestants: ['event-stream-redis', 'socket-io', 'pubsub'],
  tables: ({ processes, inFlight, interval, storm: { clients, channels, kept } }) => [
    {
      title: `As fast as possible, ${inFlight} on their way from each process`,
      columns: processes.flatMap(count => [
        { key: `rate${count}`, title: `${named(count)}: events a second`, digits: 0 },
        { key: `rate${count}`, over: 'socket-io' },
        { key: `servers${count}`, title: 'servers', ...MICROSECONDS },
        { key: `redis${count}`, title: 'Redis', ...MICROSECONDS }
      ])
    },
    {
      title: `Latency, one process publishing an event each ${interval} ms`,
      columns: processes.flatMap(count => [
        { key: `p50of${count}`, title: `${named(count)}: p50`, unit: 'ms' },
        { key: `p99of${count}`, title: 'p99', unit: 'ms' },
        { key: `p99of${count}`, over: 'socket-io' }
      ])
    },
    {
      title: `A storm: ${clients.toLocaleString('en')} clients come back to ${named(processes.at(-1))} at once, each to one of ${channels} channels, and have missed ${kept} events`,
      columns: [
        { key: 'reads', title: 'tails read from Redis', digits: 0 },
        { key: 'stormed', title: 'until all have theirs', unit: 'ms', digits: 0 },
        { key: 'stormServers', title: 'servers, for a client', ...MICROSECONDS },
        { key: 'stormRedis', title: 'Redis, for a client', ...MICROSECONDS }
      ]
    }
  ],
  chart: ({ processes }) => [{ key: `servers${processes.at(-1)}`, title: `Over Redis, ${named(processes.at(-1))}: µs of their CPU an event` }],
  startsServers: true,
  files: ({ storm }) => storm.clients + 200,
  sizes: {
    // Fewer events than the adapter keeps: one that falls behind further than that goes without them, and this would wait for ever.
    full: { rounds: 3, processes: [1, 4], inFlight: 64, events: 8_000, warmup: 2_000, interval: 10, paced: 300, storm: { clients: 2_000, channels: 4, kept: 500 } },
    quick: { rounds: 1, processes: [1, 4], inFlight: 64, events: 4_000, warmup: 1_000, interval: 10, paced: 100, storm: { clients: 500, channels: 4, kept: 100 } },
    tiny: { rounds: 1, processes: [2], inFlight: 4, events: 40, warmup: 8, interval: 2, paced: 10, storm: { clients: 20, channels: 2, kept: 10 } }
  },

  async measure ({ contestant, start }, amounts) {
    const values = {}
    const redis = await RedisServer.start()
    try {
      for (const count of amounts.processes) {
        const servers = await Promise.all(Array.from({ length: count }, () => start({ redis: redis.url })))
        // What is published before a process waits for it passes by a Stream's reader.
        if (contestant.id === 'socket-io') await redis.waitedForBy(count)
        const audience = new Audience(servers, contestant)
        await throughput({ servers, audience, redis }, amounts.inFlight, amounts.warmup)
        const { rate, ofServers, ofRedis } = await throughput({ servers, audience, redis }, amounts.inFlight, amounts.events)
        const latencies = await latency({ servers, audience }, amounts.paced, amounts.interval)
        Object.assign(values, {
          [`rate${count}`]: rate,
          [`servers${count}`]: ofServers,
          [`redis${count}`]: ofRedis,
          [`p50of${count}`]: quantile(latencies, 0.5),
          [`p99of${count}`]: quantile(latencies, 0.99)
        })
        if (contestant.id === 'event-stream-redis' && count === amounts.processes.at(-1)) {
          Object.assign(values, await storm({ servers, redis }, amounts.storm))
        }
        await Promise.all(servers.map(server => server.stop()))
      }
    } finally {
      await redis.stop()
    }
    return values
  }
}

async function throughput ({ servers, audience, redis }, inFlight, events) {
  const each = events / servers.length
  await audience.gather(each)
  const [ofServers, ofRedis, started] = [await cpuOf(servers), redis.cpu(), performance.now()]
  await Promise.all(servers.map((server, n) => server.ask('pump', { first: n * each, count: each, inFlight })))
  const seconds = (performance.now() - started) / 1000
  await audience.received(events)
  const values = {
    rate: events / seconds,
    ofServers: (await cpuOf(servers) - ofServers) / events,
    ofRedis: (redis.cpu() - ofRedis) / events
  }
  await audience.leave()
  return values
}

async function latency ({ servers, audience }, count, interval) {
  await audience.gather(count)
  const times = await servers[0].ask('pace', { first: 0, count, interval })
  const arrivals = await audience.received(count)
  await audience.leave()
  return arrivals.flatMap(ofOne => ofOne.map((arrival, n) => arrival - times[n]))
}

async function cpuOf (servers) {
  const times = await Promise.all(servers.map(server => server.ask('cpu')))
  return times.reduce((sum, time) => sum + time)
}

function named (processes) {
  return processes === 1 ? '1 process' : `${processes} processes`
}
