'use strict'

// Open streams with nothing to say: each has sent one event, its generator or channel waits for the next. Where there
// are heartbeats each stream has sent one, so that nothing of them is still to be made.

const { Connections } = require('../client/connections')

const AT_A_TIME = 100
const HAS_CHANNEL = ['event-stream-channel', 'nchan']
const HAS_HEARTBEAT = ['event-stream', 'event-stream-signal', 'event-stream-channel', 'fastify-sse', 'better-sse']

module.exports = {
  title: 'Memory: idle streams',
  method: 'Growth in KiB for a stream: of the heap in use after a garbage collection, the generator and the request included, and of all memory of the process, but for what the system keeps for its sockets.',
  contestants: ['event-stream', 'event-stream-signal', 'event-stream-channel', 'fastify-sse', 'fastify-sse-v2', 'better-sse', 'hono', 'nchan', 'websocket', 'readable', 'body', 'hijack', 'write'],
  cannot: { floor: 'it sends nothing' },
  columns: [
    { key: 'heap', title: 'heap', unit: 'KiB' },
    { key: 'heap', over: 'fastify-sse' },
    { key: 'heap', over: 'hijack' },
    { key: 'rss', title: 'process', unit: 'KiB' },
    { key: 'rss', over: 'nchan' },
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

  async measure ({ server, contestant: { id, source = 'burst', protocol } }, { streams }) {
    await server.ask('prepare', { source, count: 1 })
    await server.ask('begin')
    const open = HAS_CHANNEL.includes(id) ? onChannel(server, protocol) : onRoute(server, protocol)

    // What is made once and stays is not a stream's.
    await (await open(AT_A_TIME)).close()
    await server.ask('settled')
    const before = await server.ask('memory')

    const clients = await open(streams)
    const heartbeats = HAS_HEARTBEAT.includes(id)
    if (heartbeats) await clients.commented()
    const after = await server.ask('memory')
    await clients.received(1)
    await clients.close()
    const growth = key => (after[key] - before[key]) / streams / 1024
    return {
      ...'heapUsed' in after ? { heap: growth('heapUsed') } : {},
      rss: growth('rss'),
      heartbeats: Number(heartbeats)
    }
  }
}

/** Opens streams, some at a time, that each begin with their event. */
function onRoute ({ port }, protocol) {
  return async count => {
    const clients = new Connections()
    for (let left = count; left > 0; left -= AT_A_TIME) {
      clients.add(Math.min(left, AT_A_TIME), { port, protocol })
      await clients.received(1)
    }
    return clients
  }
}

/** Opens streams of a channel, some at a time, and then publishes an event to all of them. */
function onChannel (server, protocol) {
  return async count => {
    const clients = new Connections()
    for (let joined = 0; joined < count;) {
      const some = Math.min(count - joined, AT_A_TIME)
      clients.add(some, { port: server.port, path: '/channel', protocol })
      await server.ask('joined', joined += some)
    }
    await server.ask('publish', { first: 0, count: 1 })
    await clients.received(1)
    return clients
  }
}
