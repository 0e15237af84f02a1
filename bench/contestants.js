'use strict'

// Who takes part, in the order of the tables. `server` is a file in servers/, `source` one of host/workload.js where it
// is not the one of the part, `needs` one of programs.js. `ours` and `limit` tell the chart what is this plugin and what is only a yardstick.

/** The libraries in the comparison, whose versions are reported. */
const PACKAGES = ['fastify', '@fastify/sse', 'fastify-sse-v2', 'better-sse', 'hono', '@hono/node-server', '@fastify/websocket', 'ws', 'socket.io', '@socket.io/redis-streams-adapter', 'redis']

const contestants = [
  { id: 'event-stream', name: 'this plugin', server: 'event-stream', ours: true },
  { id: 'event-stream-sync', name: 'this plugin, sync iterable', server: 'event-stream', source: 'sync', ours: true },
  { id: 'event-stream-signal', name: 'this plugin, signal heeded', server: 'event-stream', source: 'signal', ours: true },
  { id: 'event-stream-channel', name: 'this plugin, a channel', server: 'event-stream', ours: true },
  { id: 'event-stream-redis', name: 'this plugin over Redis', server: 'event-stream-redis', needs: 'redis-server', ours: true },
  { id: 'fastify-sse', name: '@fastify/sse', server: 'fastify-sse' },
  { id: 'fastify-sse-v2', name: 'fastify-sse-v2', server: 'fastify-sse-v2' },
  { id: 'better-sse', name: 'better-sse', server: 'better-sse' },
  { id: 'hono', name: 'hono on node-server', server: 'hono' },
  { id: 'websocket', name: '@fastify/websocket', server: 'websocket', protocol: 'websocket' },
  { id: 'socket-io', name: 'socket.io, Redis Streams', server: 'socket-io', protocol: 'socket.io', needs: 'redis-server' },
  { id: 'nchan', name: 'nginx with nchan', server: 'nchan', protocol: 'event-stream until the close', needs: 'nchan' },
  { id: 'readable', name: 'reply.send(Readable)', server: 'readable' },
  { id: 'body', name: 'bare reply.send, res.write', server: 'body', limit: true },
  { id: 'hijack', name: 'bare hijack, res.write', server: 'hijack', limit: true },
  { id: 'hijack-once', name: 'bare hijack, one write', server: 'hijack-once', limit: true },
  { id: 'write', name: 'bare res.write', server: 'write', limit: true },
  { id: 'socket', name: 'bare socket.write', server: 'socket', limit: true },
  { id: 'send', name: 'C, a loop of send()', server: 'send', needs: 'gcc', limit: true },
  { id: 'pubsub', name: 'bare Redis Pub/Sub', server: 'pubsub', needs: 'redis-server', limit: true, isDeaf: true },
  { id: 'floor', name: 'bare loop, for await', server: 'floor', limit: true, silent: true },
  { id: 'floor-sync', name: 'bare loop, for', server: 'floor', source: 'sync', limit: true, silent: true }
]

module.exports = { contestants, PACKAGES }
