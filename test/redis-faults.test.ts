import { setTimeout } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { createClient } from 'redis'
import t, { type Test } from 'tap'
import type { RedisBackplaneOptions } from '../plugin/backplane/redis'
import { nextState, openRedis, untilState } from './helpers/backplane'
import { startRedis, type RedisServer } from './helpers/redis'
import { redisServer } from './helpers/services'

const TIMEOUT = 1_000
const REFUSED = { code: 'FST_ERR_SSE_BACKPLANE' }

// Waits for servers to start, to fail and to come back: slow where coverage watches.
t.setTimeout(120_000)

const CLIENTS: Record<string, (server: RedisServer) => RedisBackplaneOptions> = {
  redis: ({ url }) => ({ client: createClient({ url }), timeout: TIMEOUT }),
  ioredis: ({ port }) => ({ client: new Redis(port, '127.0.0.1', { lazyConnect: true }), timeout: TIMEOUT })
}

/** A test with each of the clients. */
function test (title: string, run: (t: Test, program: string, options: (server: RedisServer) => RedisBackplaneOptions) => Promise<void>): void {
  for (const [client, options] of Object.entries(CLIENTS)) {
    t.test(`${title} (${client})`, async t => {
      const program = redisServer(t)
      if (program !== undefined) await run(t, program, options)
    })
  }
}

test('while Redis is stopped publishing is refused, within the timeout and then at once', async (t, program, options) => {
  const server = await startRedis(t, program)
  const channel = await openRedis(t, options(server))
  const ear = await channel.listen()
  const before = await channel.publish('1')

  server.freeze()
  const start = Date.now()
  await t.rejects(channel.publish('unanswered'), { ...REFUSED, message: 'The backplane: Redis: there was no answer within 1000 ms' })
  t.ok(Date.now() - start < TIMEOUT * 2, `it took ${Date.now() - start} ms`)
  t.equal(channel.backplane.state, 'degraded')
  const known = Date.now()
  await t.rejects(channel.publish('refused'), { ...REFUSED, message: 'The backplane: there is no connection to Redis' })
  await t.rejects(channel.read(), REFUSED)
  await t.rejects(channel.position(), REFUSED)
  await t.rejects(channel.beside('other').listen(), REFUSED)
  t.ok(Date.now() - known < TIMEOUT / 2, 'at once, when it is known')

  server.thaw()
  await untilState(channel, 'connected')
  const { epoch, offset } = await channel.publish('2')
  await ear.until(({ data }) => data.includes('2'))
  const { entries } = await channel.read()
  t.strictSame(entries.map(({ data }) => data).filter(data => data !== 'unanswered'), ['1', '2'])
  t.strictSame({ epoch, offset }, { epoch: before.epoch, offset: entries.length })
})

test('a Redis that is stopped is noticed when nobody asks it for anything', async (t, program, options) => {
  const server = await startRedis(t, program)
  const channel = await openRedis(t, options(server))
  const ear = await channel.listen()
  server.freeze()
  await untilState(channel, 'degraded')
  server.thaw()
  await untilState(channel, 'connected')
  await channel.publish('1')
  await ear.until(({ data, interruptions }) => data.includes('1') || interruptions > 0)
})

test('connections that are cut are made anew, and listeners are told to read again', async (t, program, options) => {
  const server = await startRedis(t, program)
  const channel = await openRedis(t, options(server))
  const [ear, sport] = [await channel.listen(), await channel.beside('sport').listen()]
  let offset = 0
  for (const type of ['pubsub', 'normal']) {
    const noticed = nextState(channel, 'degraded')
    const publishing = Promise.allSettled(Array.from({ length: 200 }, () => channel.publish(type)))
    await server.command('CLIENT', 'KILL', 'TYPE', type, 'SKIPME', 'yes')
    await noticed
    await untilState(channel, 'connected')
    for (const result of await publishing) if (result.status === 'rejected') t.match(result.reason, REFUSED)
    offset = (await channel.publish('last')).offset
  }
  for (const { interruptions } of [ear, sport]) t.equal(interruptions, 1)
  await ear.until(({ entries }) => entries.at(-1)?.offset === offset)
  const heard = ear.entries.map(({ offset }) => offset)
  t.strictSame(heard, [...new Set(heard)].toSorted((one, other) => one - other), 'each is heard once, in order')
  const { entries } = await channel.read()
  t.strictSame(entries.map(({ offset }) => offset), Array.from({ length: offset }, (_, index) => index + 1), 'and each is kept')
})

test('killed and started again with its data it has lost nothing, and a new epoch continues the one before', async (t, program, options) => {
  const server = await startRedis(t, program, { isPersistent: true })
  const channel = await openRedis(t, options(server))
  const ear = await channel.listen()
  await channel.publishAll(['1', '2', '3'])
  const before = await channel.position()

  await server.kill()
  await untilState(channel, 'degraded')
  await t.rejects(channel.publish('refused'), REFUSED)
  await server.start()
  await ear.until(({ interruptions }) => interruptions === 1)

  const tail = await channel.read()
  t.not(tail.epoch, before.epoch)
  t.match(tail, { offset: 3, floor: 0, entries: [{ data: '1' }, { data: '2' }, { data: '3' }] })
  t.strictSame(tail.continues, [before])
  t.strictSame(await channel.publish('4'), { epoch: tail.epoch, offset: 4 })
  await ear.until(({ data }) => data.includes('4'))
  t.match(ear.entries.at(-1), { epoch: tail.epoch, offset: 4 })
})

test('started again with an older dump its epoch continues the one before only as far as the dump goes', async (t, program, options) => {
  const server = await startRedis(t, program)
  const channel = await openRedis(t, options(server))
  await channel.publishAll(['1', '2'])
  await server.command('SAVE')
  await channel.publishAll(['lost', 'lost too'])
  const before = await channel.position()

  await server.kill()
  await server.start()
  await untilState(channel, 'connected')
  const first = await channel.publish('3')
  t.not(first.epoch, before.epoch)
  t.equal(first.offset, 3)
  const tail = await channel.read(2)
  t.match(tail, { epoch: first.epoch, offset: 3, entries: [{ offset: 3, data: '3' }] })
  t.strictSame(tail.continues, [{ epoch: before.epoch, offset: 2 }])
})

test('after a failover to a replica that lags behind, its epoch continues the one before only as far as it goes', async (t, program, options) => {
  const server = await startRedis(t, program)
  const replica = await startRedis(t, program)
  await replica.command('REPLICAOF', '127.0.0.1', String(server.port))
  while (await replica.info('master_link_status') !== 'up') await setTimeout(10)
  const channel = await openRedis(t, options(server))
  const before = await channel.publish('1')
  const offset = Number(await server.info('master_repl_offset'))
  while (Number(await replica.info('slave_repl_offset')) < offset) await setTimeout(5)
  await replica.command('REPLICAOF', 'NO', 'ONE')
  await channel.publishAll(['lost', 'lost too'])

  const promoted = await openRedis(t, options(replica))
  const tail = await promoted.read()
  t.not(tail.epoch, before.epoch)
  t.match(tail, { offset: 1, entries: [{ data: '1' }] })
  t.strictSame(tail.continues, [{ ...before }])

  // Offsets that were lost are given again, under the new epoch.
  t.strictSame(await promoted.publish('2'), { epoch: tail.epoch, offset: 2 })
})

test('a master that becomes a replica is left', async (t, program, options) => {
  const [server, other] = [await startRedis(t, program), await startRedis(t, program)]
  const channel = await openRedis(t, options(server))
  await server.command('REPLICAOF', '127.0.0.1', String(other.port))
  await t.rejects(channel.publish('refused'), REFUSED)
  await untilState(channel, 'degraded')
  await server.command('REPLICAOF', 'NO', 'ONE')
  await untilState(channel, 'connected')
  await channel.publish('1')
})

test('what was lost with FLUSHALL begins a new epoch, which continues none', async (t, program, options) => {
  const server = await startRedis(t, program)
  const channel = await openRedis(t, options(server))
  const ear = await channel.listen()
  await channel.publishAll(['1', '2'])
  const before = await channel.position()
  await server.command('FLUSHALL')
  const after = await channel.publish('3')
  t.equal(after.offset, 1)
  t.not(after.epoch, before.epoch)
  t.match(await channel.read(), { ...after, floor: 0, entries: [{ data: '3' }], continues: [] })
  await ear.until(({ data }) => data.includes('3'))
  t.match(ear.entries.at(-1), { epoch: after.epoch, offset: 1 })
})
