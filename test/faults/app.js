'use strict'

// A server of the fault campaign, with a publisher in it. What it does, its parent says, and is told all that comes of it.

const { subscribe } = require('node:diagnostics_channel')
const { setTimeout: sleep } = require('node:timers/promises')
const Fastify = require('fastify')
const { Redis } = require('ioredis')
const { createClient } = require('redis')
const ssePlugin = require('fastify-event-stream')
const { redisBackplane } = require('fastify-event-stream/redis')

const { name, library, redisPort, port, timeout, heartbeat, histories } = JSON.parse(process.argv[2])

const SAMPLE_MS = 250
const RETRY_MS = 500
const MOST_RETRYING = 50

// Who comes while it closes is told when to come back.
const app = Fastify({ return503OnClosing: false })
const url = `redis://127.0.0.1:${redisPort}`
const client = library === 'redis' ? createClient({ url }) : new Redis(url, { lazyConnect: true })
const unsettled = new Set()
let serial = 0
let retrying = 0
let isLeaving = false
let load

async function start () {
  const shutdown = { grace: 500, retry: { min: 100, max: 1_000 } }
  await app.register(ssePlugin, { heartbeat, shutdown, backplane: redisBackplane({ client, timeout }) })
  for (const [channel, history] of Object.entries(histories)) app.sse.channel(channel, { history })
  app.get('/:channels', (request, reply) => {
    const channels = request.params.channels.split(',')
    const options = { from: 'earliest' }
    return reply.sse(channels.length === 1 ? app.sse.channel(channels[0]).subscribe(options) : app.sse.subscribe(channels, options))
  })
  subscribe('fastify-event-stream:backplane', ({ state }) => { tell({ state }) })
  await app.listen({ host: '127.0.0.1', port })
  setInterval(() => { tell({ sample: sample() }) }, SAMPLE_MS).unref()
  tell({ port: app.server.address().port })
}

const CALLS = {
  /** Publishes to one channel after the other, so many events a second; with 0 it ends when all are settled. */
  async load ({ rate, channels }) {
    clearInterval(load)
    if (rate > 0) load = setInterval(() => { begin(channels[serial % channels.length], serial % 50, serial % 2 === 0) }, 1_000 / rate)
    else await Promise.all(unsettled)
  },
  async publish ({ channel, size }) {
    return await begin(channel, size, true)
  },
  async flood ({ channel, count, size }) {
    await Promise.all(Array.from({ length: count }, () => begin(channel, size, false)))
  },
  async sample () {
    return sample()
  }
}

/** Publishes an event, and begins no second time where it has no key by which it would still be published once. */
function begin (channel, size, isKeyed) {
  const publishing = publish(channel, size, isKeyed && retrying < MOST_RETRYING)
  unsettled.add(publishing)
  return publishing.finally(() => { unsettled.delete(publishing) })
}

async function publish (channel, size, isKeyed) {
  const word = `${name}-${++serial}`
  const data = [channel, word, size, 'x'.repeat(size)].join('\n')
  for (let isFirst = true; ; isFirst = false) {
    const start = performance.now()
    let due = Infinity
    const timer = setTimeout(() => { due = performance.now() }, timeout)
    const outcome = await app.sse.channel(channel).publish({ event: 'news', data }, isKeyed ? { idempotencyKey: word } : {})
      .then(id => ({ id }), ({ code, message }) => ({ code: String(code), message }))
    clearTimeout(timer)
    const now = performance.now()
    tell({ outcome: { channel, serial: word, ms: now - start, late: Math.max(0, now - due), ...outcome } })
    if (isFirst && isKeyed) retrying++
    if (outcome.id !== undefined || !isKeyed || isLeaving) {
      if (isKeyed) retrying--
      return outcome.id
    }
    await sleep(RETRY_MS)
  }
}

function sample () {
  const { streams, channels, backplane } = app.sse.stats()
  const { heapUsed, external } = process.memoryUsage()
  return { open: streams.open, queued: streams.queued, read: Object.keys(channels), state: backplane, unsettled: unsettled.size, memory: heapUsed + external }
}

function tell (message) {
  if (process.connected) process.send(message)
}

process.on('message', async ({ call, name, options }) => {
  tell({ answer: { call, value: await CALLS[name](options) } })
})

process.on('disconnect', () => { if (!isLeaving) process.exit(1) })

// It exits by nothing else than that there is nothing left to do.
process.on('SIGTERM', async () => {
  isLeaving = true
  clearInterval(load)
  await app.close()
  await Promise.all(unsettled)
  process.disconnect()
})

start()
