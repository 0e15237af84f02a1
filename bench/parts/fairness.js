'use strict'

// `GET /one`, again and again on one connection, while another drains a generator that never waits. The longest that
// an answer took, and what it costs the stream to be fair: its speed, which without the requests is the burst's.

const { Connections } = require('../client/connections')
const { Repeater } = require('../client/repeater')

module.exports = {
  title: 'Fairness: GET /one beside a generator that never waits',
  method: 'The slowest answer to a request, in ms, the median of the rounds; answers and events in a second.',
  contestants: ['event-stream', 'event-stream-sync', 'fastify-sse', 'fastify-sse-v2', 'better-sse', 'hono', 'websocket', 'readable', 'hijack', 'write', 'floor'],
  columns: [
    { key: 'worst', title: 'slowest answer', unit: 'ms', digits: 1 },
    { key: 'answers', title: 'answers a second', digits: 1 },
    { key: 'events', title: 'events a second', digits: 0 },
    { key: 'events', over: 'fastify-sse' }
  ],
  sizes: {
    full: { rounds: 5, events: 500_000, warmup: 100_000 },
    quick: { rounds: 2, events: 200_000, warmup: 50_000 },
    tiny: { rounds: 1, events: 2_000, warmup: 100 }
  },

  async measure (run, { events, warmup }) {
    await beside(run, warmup)
    return beside(run, events)
  }
}

async function beside ({ server, contestant }, events) {
  await server.ask('prepare', { source: contestant.source ?? 'burst', count: events })
  const arriving = contestant.silent ? 0 : events
  const clients = new Connections(1, { port: server.port, protocol: contestant.protocol })
  await server.ask('opened', 1)
  const repeater = await Repeater.start(server.port)

  const started = performance.now()
  const begun = server.ask('begin')
  await Promise.all([begun, server.ask('drained', 1), clients.received(arriving)])
  const seconds = (performance.now() - started) / 1000
  await repeater.stop()

  await server.ask('finish')
  await clients.ended(arriving)
  await clients.close()
  await server.ask('settled')
  return { worst: repeater.worst, answers: repeater.count / seconds, events: events / seconds }
}
