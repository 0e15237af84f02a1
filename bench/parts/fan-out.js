'use strict'

// One event to many connections, by whatever a contestant has for that: a channel, or a loop.

const { Connections } = require('../client/connection')

module.exports = {
  title: 'Fan-out: an event of 200 bytes to many connections',
  method: 'CPU time of the server for an event on a connection, in µs: events that come one by one, each when the last has arrived everywhere, and ten in one turn of the event loop. Latency: from the request to publish until the event has arrived, 99th percentile of all connections and events of the first kind.',
  contestants: ['event-stream', 'fastify-sse', 'better-sse', 'websocket', 'write', 'socket'],
  cannot: { 'event-stream-sync': 'there is no generator' },
  columns: [
    { key: 'one', title: 'one by one', unit: 'µs' },
    { key: 'one', over: 'fastify-sse' },
    { key: 'one', over: 'write' },
    { key: 'one', over: 'socket' },
    { key: 'ten', title: 'ten at once', unit: 'µs' },
    { key: 'ten', over: 'fastify-sse' },
    { key: 'latency', title: 'latency', unit: 'ms', digits: 1 },
    { key: 'latency', over: 'fastify-sse' }
  ],
  chart: [{ key: 'one', title: 'Fan-out, one event: µs of CPU for each connection' }],
  sizes: {
    full: { rounds: 5, connections: 5_000, events: 60, warmup: 30 },
    quick: { rounds: 3, connections: 1_000, events: 60, warmup: 30 },
    tiny: { rounds: 1, connections: 10, events: 5, warmup: 2 }
  },
  files: ({ connections }) => connections + 100,

  async measure ({ server, contestant }, { connections, events, warmup }) {
    const clients = new Connections(connections, { port: server.port, path: '/channel', protocol: contestant.protocol })
    await server.ask('joined', connections)
    let published = 0
    const latencies = []
    const publish = async count => {
      published += count
      const asked = performance.now()
      const arrived = clients.received(published, () => { latencies.push(performance.now() - asked) })
      await Promise.all([server.ask('publish', { first: published - count, count }), arrived])
    }
    const cost = async (times, count) => {
      const before = await server.ask('cpu')
      for (let n = 0; n < times; n++) await publish(count)
      return (await server.ask('cpu') - before) / (times * count * connections)
    }
    await cost(warmup, 1)
    latencies.length = 0
    const one = await cost(events, 1)
    latencies.sort((a, b) => a - b)
    const latency = latencies[Math.floor(latencies.length * 0.99)]
    await cost(Math.ceil(warmup / 10), 10)
    const ten = await cost(Math.ceil(events / 5), 10)
    await clients.close()
    return { one, ten, latency }
  }
}
