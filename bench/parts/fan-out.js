'use strict'

// One event to many connections, by whatever a contestant has for that: a channel, or a loop. At last at leisure, as in
// life. There a client that reads everything would be slower than the servers: it looks at some of the connections, and at
// the others afterwards.

const { Connections } = require('../client/connections')
const { quantile } = require('../report/statistics')

const TURN = 10
const WATCHED = 20

module.exports = {
  title: 'Fan-out: an event of 200 bytes to many connections',
  method: `CPU time of the server for an event on a connection, in µs. Latency: from the call that publishes until the event has arrived, on each ${WATCHED}th connection.`,
  contestants: ['event-stream', 'fastify-sse', 'better-sse', 'nchan', 'websocket', 'write', 'socket', 'send'],
  cannot: { 'event-stream-sync': 'there is no generator' },
  tables: ({ connections, interval }) => [
    {
      title: 'One event at a time, each when the last has arrived everywhere',
      columns: connections.flatMap(count => cost(`one${count}`, count, ['fastify-sse', 'nchan', 'send']))
    },
    {
      title: `${TURN} events in one turn of the event loop`,
      columns: connections.flatMap(count => cost(`turn${count}`, count, ['fastify-sse', 'better-sse', 'nchan']))
    },
    {
      title: `An event each ${interval} ms to ${named(connections.at(-1))}`,
      columns: [
        { key: 'p50', title: 'latency p50', unit: 'ms' },
        { key: 'p99', title: 'p99', unit: 'ms' },
        { key: 'p99', over: 'fastify-sse' },
        { key: 'share', title: 'of a CPU', unit: '%', digits: 1 },
        { key: 'share', over: 'fastify-sse' }
      ]
    }
  ],
  chart: ({ connections }) => [
    { key: `one${connections.at(-1)}`, title: `Fan-out to ${named(connections.at(-1))}: µs of CPU for each` },
    { key: `turn${connections.at(-1)}`, title: `Fan-out, ${TURN} events in a turn: µs of CPU for each` }
  ],
  sizes: {
    full: { rounds: 5, connections: [1_000, 5_000], deliveries: 150_000, interval: 100, paced: 40 },
    quick: { rounds: 2, connections: [500, 1_000], deliveries: 20_000, interval: 50, paced: 10 },
    tiny: { rounds: 1, connections: [10, 40], deliveries: 100, interval: 5, paced: 3 }
  },
  files: ({ connections }) => connections.at(-1) + 200,

  async measure ({ server, contestant: { protocol } }, { connections, deliveries, interval, paced }) {
    const values = {}
    const clients = new Connections()
    let joined = 0
    let published = 0

    const publish = async count => {
      published += count
      await Promise.all([server.ask('publish', { first: published - count, count }), clients.received(published)])
    }
    const cost = async (turns, count) => {
      const before = await server.ask('cpu')
      for (let turn = 0; turn < turns; turn++) await publish(count)
      return (await server.ask('cpu') - before) / (turns * count * joined)
    }

    for (const count of connections) {
      clients.add(count - joined, { port: server.port, path: '/channel', protocol, first: published })
      joined = count
      await server.ask('joined', count)
      const turns = Math.ceil(deliveries / count)
      await cost(Math.ceil(turns / 5), 1)
      values[`one${count}`] = await cost(turns, 1)
      await cost(Math.ceil(turns / 5 / TURN), TURN)
      values[`turn${count}`] = await cost(Math.ceil(2 * turns / TURN), TURN)
    }

    const [watched, others] = clients.split(WATCHED)
    others.hold()
    watched.time()
    const [before, started] = [await server.ask('cpu'), performance.now()]
    const times = await server.ask('pace', { first: published, count: paced, interval })
    published += paced
    await watched.received(published)
    const [after, ended] = [await server.ask('cpu'), performance.now()]
    others.resume()
    await clients.received(published)
    const latencies = watched.latencies(times)
    await clients.close()
    return {
      ...values,
      p50: quantile(latencies, 0.5),
      p99: quantile(latencies, 0.99),
      share: (after - before) / 10 / (ended - started)
    }
  }
}

function cost (key, connections, others) {
  return [{ key, title: named(connections), unit: 'µs' }, ...others.map(over => ({ key, over }))]
}

function named (connections) {
  return `${connections.toLocaleString('en')} connections`
}
