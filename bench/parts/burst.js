'use strict'

// A generator that never waits. The server's CPU time for an event, the source's own time included: that alone is the
// row of the loop that throws the events away.

const { drain } = require('./drain')

module.exports = {
  title: 'Burst: a generator that never waits',
  method: 'CPU time of the server for an event, in µs. The same events, split over 1 and over 50 connections.',
  contestants: ['event-stream', 'event-stream-sync', 'fastify-sse', 'fastify-sse-v2', 'better-sse', 'hono', 'websocket', 'readable', 'hijack', 'write', 'floor', 'floor-sync'],
  columns: [
    { key: 'one', title: '1 connection', unit: 'µs' },
    { key: 'one', over: 'fastify-sse' },
    { key: 'one', over: 'floor' },
    { key: 'many', title: '50 connections', unit: 'µs' },
    { key: 'many', over: 'fastify-sse' },
    { key: 'many', over: 'floor' }
  ],
  chart: [{ key: 'one', title: 'Burst, 1 connection: µs of CPU an event' }],
  sizes: {
    full: { rounds: 7, events: 400_000, warmup: 100_000 },
    quick: { rounds: 3, events: 60_000, warmup: 20_000 },
    tiny: { rounds: 1, events: 1_000, warmup: 100 }
  },

  async measure (run, { events, warmup }) {
    const burst = (connections, events) => drain(run, { source: 'burst', connections, events: events / connections })
    await burst(1, warmup)
    const one = await burst(1, events)
    await burst(50, warmup)
    return { one, many: await burst(50, events) }
  }
}
