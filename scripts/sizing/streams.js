'use strict'

/**
 * What streams cost a process: memory, and CPU time for opening, for an event, for a heartbeat and for coming back.
 *
 *     node scripts/sizing/streams.js [streams]
 */
const { setTimeout } = require('node:timers/promises')
const { openStreams, startServer } = require('./client')

const COUNT = Number(process.argv[2] ?? 5000)
const EVENTS = 20
const MISSED = 10
const HEARTBEAT_MS = 2000
const BEATS = 3

async function main () {
  const { port, ask, end } = await startServer(HEARTBEAT_MS)
  // Everything once, so that what is measured has been compiled.
  const warm = await openStreams(port, 200)
  for (let event = 1; event <= 50; event++) {
    await ask('publish')
    await warm.until(200 * event)
  }
  for (const socket of warm.sockets) socket.destroy()
  await setTimeout(500)

  const empty = await ask('cost')
  const streams = await openStreams(port, COUNT)
  const opened = await ask('cost')
  report('memory, the process (RSS)', (opened.rss - empty.rss) / COUNT, 'bytes a stream')
  report('memory, of it the JavaScript heap', (opened.heap - empty.heap) / COUNT, 'bytes a stream')
  report('CPU, opening', (opened.cpu - empty.cpu) / COUNT, 'µs a stream')

  await setTimeout(HEARTBEAT_MS)
  const quiet = await ask('cost')
  await setTimeout(BEATS * HEARTBEAT_MS)
  const beaten = await ask('cost')
  report('CPU, a heartbeat', (beaten.cpu - quiet.cpu) / COUNT / BEATS, 'µs a stream')

  for (let event = 1; event <= EVENTS; event++) {
    await ask('publish')
    await streams.until(COUNT * event)
  }
  const published = await ask('cost')
  report('CPU, an event of 200 bytes', (published.cpu - beaten.cpu) / COUNT / EVENTS, 'µs a stream')
  const { lastId } = streams
  for (const socket of streams.sockets) socket.destroy()
  for (let event = 0; event < MISSED; event++) await ask('publish')
  await setTimeout(1000)

  const left = await ask('cost')
  const back = await openStreams(port, COUNT, lastId)
  await back.until(COUNT * MISSED)
  const resumed = await ask('cost')
  report(`CPU, coming back after ${MISSED} events`, (resumed.cpu - left.cpu) / COUNT, 'µs a stream')
  for (const socket of back.sockets) socket.destroy()
  end()
}

function report (what, value, unit) {
  console.log(`${what.padEnd(40)} ${value.toFixed(1).padStart(10)} ${unit}`)
}

console.log(`${COUNT} streams on one channel, Node ${process.version}`)
main()
