'use strict'

// Open streams with nothing to say: each has sent one event, its generator waits for the next. Where there are
// heartbeats each stream has sent one, so that nothing of them is still to be made.

const { Connections } = require('../client/connection')

const AT_A_TIME = 100
const HAS_HEARTBEAT = ['event-stream', 'event-stream-signal', 'fastify-sse', 'better-sse']

module.exports = {
  title: 'Memory: idle streams',
  method: 'Heap in use after a garbage collection, in KiB for a stream, the generator and the request included.',
  contestants: ['event-stream', 'event-stream-signal', 'fastify-sse', 'fastify-sse-v2', 'better-sse', 'hono', 'websocket', 'readable', 'body', 'hijack', 'write'],
  cannot: { floor: 'it sends nothing' },
  columns: [
    { key: 'heap', title: 'heap', unit: 'KiB' },
    { key: 'heap', over: 'fastify-sse' },
    { key: 'heap', over: 'hijack' },
    { key: 'heartbeats', title: 'heartbeats', yesNo: true }
  ],
  chart: [{ key: 'heap', title: 'An idle stream: KiB of heap' }],
  files: ({ streams }) => streams + 200,
  options: ({ heartbeat }) => ({ heartbeat }),
  sizes: {
    full: { rounds: 3, streams: 5_000, heartbeat: 1_000 },
    quick: { rounds: 1, streams: 2_000, heartbeat: 500 },
    tiny: { rounds: 1, streams: 100, heartbeat: 50 }
  },

  async measure ({ server, contestant }, { streams }) {
    const open = async count => {
      const opened = new Connections(count, { port: server.port, protocol: contestant.protocol })
      await opened.received(1)
      return opened
    }
    await server.ask('prepare', { source: contestant.source ?? 'burst', count: 1 })
    await server.ask('begin')

    // What is made once and stays is not a stream's.
    await (await open(AT_A_TIME)).close()
    await server.ask('settled')
    const before = await server.ask('memory')

    const groups = []
    for (let left = streams; left > 0; left -= AT_A_TIME) groups.push(await open(AT_A_TIME))
    const heartbeats = HAS_HEARTBEAT.includes(contestant.id)
    if (heartbeats) for (const group of groups) await group.commented()
    const after = await server.ask('memory')

    for (const group of groups) {
      await group.received(1)
      await group.close()
    }
    return { heap: (after.heapUsed - before.heapUsed) / streams / 1024, heartbeats: Number(heartbeats) }
  }
}
