'use strict'

// Many connections with a lone event now and then. At one event each millisecond the server is busy all the time, so
// that the events come later; there are as many of them, and each is still one for itself.

const { drain } = require('./drain')

module.exports = {
  title: 'Paced: 500 connections, a generator that waits before each event',
  method: 'CPU time of the server for an event, in µs, the timer of the generator included: that alone is the last row.',
  contestants: ['event-stream', 'fastify-sse', 'fastify-sse-v2', 'better-sse', 'hono', 'websocket', 'readable', 'hijack', 'write', 'floor'],
  cannot: { 'event-stream-sync': 'it cannot wait' },
  columns: [
    { key: 'fast', title: 'each 1 ms', unit: 'µs' },
    { key: 'fast', over: 'fastify-sse' },
    { key: 'fast', over: 'write' },
    { key: 'slow', title: 'each 10 ms', unit: 'µs' },
    { key: 'slow', over: 'fastify-sse' },
    { key: 'slow', over: 'write' }
  ],
  chart: [{ key: 'slow', title: 'Paced, each 10 ms: µs of CPU an event' }],
  sizes: {
    full: { rounds: 5, connections: 500, fast: 200, slow: 200 },
    quick: { rounds: 2, connections: 500, fast: 60, slow: 60 },
    tiny: { rounds: 1, connections: 10, fast: 5, slow: 5 }
  },

  async measure (run, { connections, fast, slow }) {
    const paced = (interval, events) => drain(run, { source: 'paced', interval, connections, events })
    await paced(1, Math.ceil(fast / 4))
    return { fast: await paced(1, fast), slow: await paced(10, slow) }
  }
}
