'use strict'

// The server process: `node main.js SERVER OPTIONS` loads one of ../servers and then does what the benchmark asks for
// over the IPC channel. It ends with that channel.

const { join } = require('node:path')
const { setImmediate } = require('node:timers/promises')
const { Census } = require('./census')
const { Broadcaster, Producer, Workload } = require('./workload')

async function main (name, options) {
  let workload
  const producer = new Producer()
  const broadcaster = new Broadcaster()
  const serve = require(join(__dirname, '..', 'servers', name))
  const server = await serve({
    ...options,
    source: stream => workload.source(stream),
    push: listener => producer.subscribe(listener),
    broadcaster
  })
  const census = new Census()

  /** What may be asked for. */
  const commands = {
    prepare (options) { workload = new Workload(options) },
    opened: count => workload.opened.reach(count),
    drained: count => workload.drained.reach(count),
    finish () { workload.finish() },
    cpu,

    /** The CPU time is taken before the first event. */
    begin () {
      const before = cpu()
      workload.begin()
      return before
    },

    /** Resolves when no connection is left. Those who join are counted anew. */
    async settled () {
      while (await connections(server) > 0) await setImmediate()
      broadcaster.settle()
    },

    memory,
    watch () { census.watch(server) },
    joined: count => broadcaster.joined.reach(count),
    publish ({ first, count }) { broadcaster.publish(first, count) },
    pace: ({ first, count, interval }) => broadcaster.pace(first, count, interval),
    pump: ({ first, count, inFlight }) => broadcaster.pump(first, count, inFlight),
    subscribed: count => producer.opened.reach(count),

    /** Gives back by how much memory and listeners grew at most, memory after a garbage collection. */
    async produce ({ count, marks }) {
      const before = { ...await memory(), listeners: census.listeners() }
      const growth = { heap: 0, rss: 0, listeners: 0 }
      await producer.produce(count, marks, async () => {
        const now = { ...await memory(), listeners: census.listeners() }
        for (const key in growth) growth[key] = Math.max(growth[key], now[key] - before[key])
      })
      return growth
    },

    // A server that is a program of its own, or does more than others, answers for itself.
    ...server.commands
  }

  process.on('message', async ({ id, command, argument }) => {
    process.send({ id, result: await commands[command](argument) })
  })
  process.on('disconnect', () => process.exit())
  process.send({ port: server.address().port })
}

/** Microseconds of CPU time this process has used, in user and system mode, all its threads together. */
function cpu () {
  const { user, system } = process.cpuUsage()
  return user + system
}

/** Bytes in use after a garbage collection. */
async function memory () {
  // A second one frees what the finalizers of the first let go.
  for (let round = 0; round < 2; round++) {
    await setImmediate()
    global.gc()
  }
  const { heapUsed, external, rss } = process.memoryUsage()
  return { heapUsed, heap: heapUsed + external, rss }
}

function connections (server) {
  return new Promise((resolve, reject) => {
    server.getConnections((error, count) => error ? reject(error) : resolve(count))
  })
}

main(process.argv[2], JSON.parse(process.argv[3]))
