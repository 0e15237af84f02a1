'use strict'

// A client that reads some 3 MB a second, and a source that pushes much more than that and does not wait for anybody.

const { Connection } = require('../client/connection')

module.exports = {
  title: 'Slow: a reader that cannot keep up with what is pushed',
  method: 'Growth while events of 4 KiB are pushed: memory after a garbage collection, the largest of ten samples, and listeners on the connection.',
  contestants: ['event-stream', 'fastify-sse', 'fastify-sse-v2', 'better-sse', 'hono', 'websocket', 'readable', 'hijack', 'write'],
  cannot: { floor: 'it sends nothing', 'event-stream-sync': 'it is pulled, not pushed' },
  columns: [
    { key: 'pushed', title: 'pushed', unit: 'MB', digits: 0 },
    { key: 'heap', title: 'heap and buffers', unit: 'MB', digits: 1 },
    { key: 'rss', title: 'process', unit: 'MB', digits: 0 },
    { key: 'listeners', title: 'listeners', digits: 0 },
    { key: 'cut', title: 'the client is cut off', yesNo: true }
  ],
  sizes: {
    full: { rounds: 3, events: 25_600, pause: 20 },
    quick: { rounds: 1, events: 25_600, pause: 20 },
    tiny: { rounds: 1, events: 640, pause: 5 }
  },

  async measure ({ server, contestant }, { events, pause }) {
    await server.ask('watch')
    const client = new Connection({ port: server.port, path: '/pushed', protocol: contestant.protocol, pause })
    await server.ask('subscribed', 1)
    const growth = await server.ask('produce', { count: events, marks: 10 })
    await client.readOn(events)
    const cut = client.isClosed
    if (!cut) await client.received(events)
    else if (client.events === 0) throw new Error('No event has arrived')
    await client.close()
    return { pushed: events * 4096 / 1e6, heap: growth.heap / 1e6, rss: growth.rss / 1e6, listeners: growth.listeners, cut: Number(cut) }
  }
}
