'use strict'

// Short streams: connect, the head, the first event, the close; a few at a time. Either the client leaves while the
// generator waits for its next event, or the generator ends after the first.

const { Connections } = require('../client/connections')

const AT_A_TIME = 10

module.exports = {
  title: 'Connect: connect, head, first event, close',
  method: 'CPU time of the server for a stream with one event, in µs: one that its client leaves, and one that ends, which a single write without a source cannot.',
  contestants: ['event-stream', 'event-stream-signal', 'fastify-sse', 'fastify-sse-v2', 'better-sse', 'hono', 'websocket', 'readable', 'body', 'hijack', 'hijack-once', 'write'],
  cannot: { floor: 'it sends nothing' },
  columns: [
    { key: 'left', title: 'the client leaves', unit: 'µs', digits: 0 },
    { key: 'left', over: 'fastify-sse' },
    { key: 'left', over: 'hijack' },
    { key: 'ended', title: 'the stream ends', unit: 'µs', digits: 0 },
    { key: 'ended', over: 'fastify-sse' },
    { key: 'ended', over: 'hijack' }
  ],
  chart: [{ key: 'left', title: 'Connect, first event, client leaves: µs of CPU' }],
  sizes: {
    full: { rounds: 7, streams: 3_000, warmup: 2_000 },
    quick: { rounds: 3, streams: 1_000, warmup: 500 },
    tiny: { rounds: 1, streams: 20, warmup: 10 }
  },

  async measure (run, { streams, warmup }) {
    await leave(run, warmup)
    const left = await leave(run, streams)
    // It has no source that could end.
    if (run.contestant.id === 'hijack-once') return { left }
    await end(run, warmup)
    return { left, ended: await end(run, streams) }
  }
}

async function leave (run, streams) {
  await run.server.ask('prepare', { source: run.contestant.source ?? 'burst', count: 1 })
  return connect(run, streams, clients => clients.received(1))
}

async function end (run, streams) {
  await run.server.ask('prepare', { source: run.contestant.source ?? 'burst', count: 1 })
  await run.server.ask('finish')
  return connect(run, streams, clients => clients.ended(1))
}

async function connect ({ server, contestant }, streams, come) {
  const before = await server.ask('begin')
  for (let left = streams; left > 0; left -= AT_A_TIME) {
    const clients = new Connections(AT_A_TIME, { port: server.port, protocol: contestant.protocol })
    await come(clients)
    await clients.close()
  }
  await server.ask('settled')
  return (await server.ask('cpu') - before) / streams
}
