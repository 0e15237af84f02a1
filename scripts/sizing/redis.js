'use strict'

/**
 * What a channel costs Redis, by its own counts: commands and bytes for an event, and for clients that come back.
 *
 *     node scripts/sizing/redis.js redis://127.0.0.1:6379 [processes] [clients]
 *
 * Nothing else may use that Redis meanwhile.
 */
const { createClient } = require('redis')
const { openStreams, startServer } = require('./client')

const [URL = 'redis://127.0.0.1:6379', PROCESSES = '3', CLIENTS = '500'] = process.argv.slice(2)
const EVENTS = 500
const MISSED = 100

async function main () {
  const redis = await createClient({ url: URL }).connect()

  async function counts () {
    const text = await redis.sendCommand(['INFO', 'everything'])
    const field = name => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(text)?.[1])
    const calls = [...text.matchAll(/^cmdstat_([\w|]+):calls=(\d+),usec=(\d+)/gm)].map(([, name, calls, usec]) => [name, { calls: Number(calls), usec: Number(usec) }])
    return { calls: Object.fromEntries(calls), read: field('total_net_input_bytes'), written: field('total_net_output_bytes') }
  }

  /** What something makes Redis do, without our own INFO. */
  async function cost (what, per, act) {
    const idle = await counts()
    const before = await counts()
    await act()
    const after = await counts()
    const bytes = direction => after[direction] - 2 * before[direction] + idle[direction]
    console.log(`\n${what}`)
    for (const [name, { calls, usec }] of Object.entries(after.calls)) {
      const more = calls - (before.calls[name]?.calls ?? 0)
      if (more > 0 && !['info', 'ping'].includes(name)) console.log(`  ${name.padEnd(20)} ${String(more).padStart(8)} calls   ${((usec - (before.calls[name]?.usec ?? 0)) / more).toFixed(1).padStart(8)} µs each`)
    }
    console.log(`  ${(bytes('read') / per).toFixed(0)} bytes in and ${(bytes('written') / per).toFixed(0)} bytes out for each`)
  }

  const servers = []
  for (let process = 0; process < Number(PROCESSES); process++) servers.push(await startServer(15_000, URL))
  let clients
  await cost(`${CLIENTS} clients of each of ${PROCESSES} processes come to one channel; bytes for each process`, servers.length, async () => {
    clients = await Promise.all(servers.map(({ port }) => openStreams(port, Number(CLIENTS))))
  })
  await cost(`${EVENTS} events of 200 bytes; bytes for each event`, EVENTS, async () => {
    for (let event = 1; event <= EVENTS; event++) await servers[0].ask('publish')
    await Promise.all(clients.map(({ until }) => until(EVENTS * Number(CLIENTS))))
  })
  const [{ lastId }] = clients
  for (const { sockets } of clients) for (const socket of sockets) socket.destroy()
  for (const { end } of servers.splice(1)) end()
  for (let event = 0; event < MISSED; event++) await servers[0].ask('publish')
  const fresh = await startServer(15_000, URL)
  await cost(`${CLIENTS} clients come back to a new process after ${MISSED} events; bytes for all of them`, 1, async () => {
    const back = await openStreams(fresh.port, Number(CLIENTS), lastId)
    await back.until(Number(CLIENTS) * MISSED)
    clients.push(back)
  })
  await cost('as many come back to the same process, which has the history', 1, async () => {
    const back = await openStreams(fresh.port, Number(CLIENTS), lastId)
    await back.until(Number(CLIENTS) * MISSED)
    clients.push(back)
  })
  for (const { sockets } of clients) for (const socket of sockets) socket.destroy()
  fresh.end()
  servers[0].end()
  await redis.close()
}

main()
