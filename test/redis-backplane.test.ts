import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { mock } from 'node:test'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { Cluster, Redis } from 'ioredis'
import { createClient, createClientPool, createCluster, createSentinel, RESP_TYPES } from 'redis'
import t, { type Test } from 'tap'
import { backplaneConformance } from '../plugin/backplane/conformance'
import { redisBackplane, type RedisBackplaneOptions } from '../plugin/backplane/redis'
import { HISTORY, openRedis } from './helpers/backplane'
import { startCluster, startRedis } from './helpers/redis'
import { redisServer } from './helpers/services'

const HOUR = 3_600_000

// Starts many servers and clients: slow where coverage watches them all.
t.setTimeout(120_000)

/** What may be given in place of the options, as by who does not go by the types. */
const given = (options: object): RedisBackplaneOptions => options

t.test('options that cannot work are refused', async t => {
  const client = new Redis({ lazyConnect: true })
  const refused = (options: object, message: RegExp): void => {
    t.throws(() => redisBackplane(given(options)), { code: 'FST_ERR_SSE_OPTION', message })
  }
  refused({}, /one of 'client' and 'url' must be given, got none/)
  refused({ client, url: 'redis://127.0.0.1' }, /one of 'client' and 'url' must be given, got both/)
  refused({ client, prefix: 'a{b}' }, /'prefix' must be a string of at most 100 characters without braces, got 'a{b}'/)
  refused({ client, prefix: 5 }, /'prefix' must be/)
  for (const timeout of [0, -1, 0.5, '1', 2 ** 31]) refused({ client, timeout }, /'timeout' must be an integer of milliseconds from 1/)
  refused({ client, channel: 'news' }, /there is none called 'channel'/)
})

t.test('what is not a client is refused, without showing what may be secret', async t => {
  const refused = (client: unknown, what: string): void => {
    t.throws(() => redisBackplane(given({ client })), { code: 'FST_ERR_SSE_OPTION', message: new RegExp(`'client' must be one of .*, got ${what}`) })
  }
  refused(5, '5')
  refused(null, 'null')
  refused({ password: 'secret' }, 'an object without on, off, duplicate, connect, destroy, sendCommand, sSubscribe, sUnsubscribe$')
  refused({ ...new Redis({ lazyConnect: true }), call: () => {} }, 'an object without .*ssubscribe, sunsubscribe$')
  refused(createClientPool(), 'an object without duplicate, sSubscribe, sUnsubscribe$')
  refused(createSentinel({ name: 'name', sentinelRootNodes: [] }), String.raw`a client of createSentinel\(\), for which`)
})

t.test('what is not a URL of Redis is refused, without showing what may be secret', async t => {
  for (const url of ['http://127.0.0.1', 'redis:secret', 'redis://secret@:x', 5]) {
    t.throws(() => redisBackplane(given({ url })), {
      code: 'FST_ERR_SSE_OPTION', message: `Event stream options: 'url' must be a URL that begins with redis:// or rediss://, got a ${typeof url} that is none`
    })
  }
})

t.test('over one Redis', async t => {
  const program = redisServer(t)
  if (program === undefined) return
  const server = await startRedis(t, program)
  const { url, port } = server

  const clients: Record<string, () => RedisBackplaneOptions> = {
    redis: () => ({ client: createClient({ url }) }),
    'redis with RESP2, and buffers in replies': () => ({
      client: createClient({ url, RESP: 2, commandOptions: { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } } })
    }),
    ioredis: () => ({ client: new Redis(port, '127.0.0.1', { lazyConnect: true }) }),
    'ioredis with RESP2, a prefix and numbers as strings': () => ({
      client: new Redis(port, '127.0.0.1', { lazyConnect: true, protocol: 2, keyPrefix: 'app:', stringNumbers: true })
    })
  }
  for (const [client, options] of Object.entries(clients)) {
    t.test(`it conforms (${client})`, async t => {
      const shared = options()
      for (const { title, run } of backplaneConformance(async () => redisBackplane(shared), { shared: true })) t.test(title, run)
    })
  }

  t.test('the client is neither connected nor closed, and its errors do not end the process while it is open', async t => {
    const client = createClient({ url })
    const { backplane } = await openRedis(t, { client })
    t.equal(client.isOpen, false)
    client.emit('error', new Error('a failure'))
    await backplane.close()
    t.throws(() => client.emit('error', new Error('a failure')))

    const connected = await createClient({ url }).connect()
    const other = await openRedis(t, { client: connected })
    await other.backplane.close()
    t.equal(await connected.ping(), 'PONG')
    connected.destroy()
  })

  t.test('each process has one subscription to a channel, which is taken with the first listener and released with the last', async t => {
    const channel = await openRedis(t, { url })
    const live = `sse:{${channel.name}}:live`
    const subscribers = async (): Promise<unknown> => await server.command('PUBSUB', 'SHARDNUMSUB', live)
    const connections = async (): Promise<number> => String(await server.command('CLIENT', 'LIST')).split('\n').filter(line => line.includes('addr=')).length - 1

    const before = await connections()
    const ears = await Promise.all(Array.from({ length: 100 }, () => channel.listen()))
    t.strictSame(await subscribers(), [live, 1])
    const other = await channel.beside('other').listen()
    t.equal(await connections(), before, 'over the connection that it has')
    const elsewhere = await (await openRedis(t, { url })).listen()
    t.strictSame(await subscribers(), [live, 2])

    await channel.publish('1')
    for (const ear of [...ears, elsewhere]) await ear.until(({ data }) => data.includes('1'))
    for (const ear of ears.slice(1)) await ear.leave()
    t.strictSame(await subscribers(), [live, 2])
    await ears[0]?.leave()
    t.strictSame(await subscribers(), [live, 1])
    await elsewhere.leave()
    await other.leave()
    t.strictSame(await server.command('PUBSUB', 'SHARDCHANNELS'), [])
  })

  t.test('listeners that come and go at the same time leave nothing behind', async t => {
    const channel = await openRedis(t, { url }, 'busy')
    for (let round = 0; round < 20; round++) {
      const coming = Array.from({ length: 5 }, () => channel.listen())
      const first = await Promise.race(coming)
      const [left, kept] = await Promise.all([first.leave(), channel.listen()])
      await channel.publish(String(round))
      await kept.until(({ data }) => data.includes(String(round)))
      await Promise.all([left, kept.leave(), ...coming.map(async ear => (await ear).leave())])
    }
    t.strictSame(await server.command('PUBSUB', 'SHARDCHANNELS'), [])
  })

  t.test('a listener that throws does not keep the others from hearing', async t => {
    const channel = await openRedis(t, { url }, 'thrown')
    await channel.backplane.subscribe(channel.name, { entry: () => { throw new Error('a failure') }, interrupted: () => {} })
    const ear = await channel.listen()
    const warning = once(process, 'warning')
    await channel.publish('1')
    await ear.until(({ data }) => data.includes('1'))
    t.match((await warning)[0], { message: /A listener of a backplane threw: .*a failure/ })
  })

  t.test('what others publish on the channel is passed over', async t => {
    const channel = await openRedis(t, { url }, 'foreign')
    const ear = await channel.listen()
    for (const text of ['', 'hello', '{"a":1}', 'a 1 2 3', 'epoch 1 2 9 3 3\nabc', 'epoch x 2 1 3 3\nabc', 'epoch 1 2 1 3 3 abc']) {
      await server.command('SPUBLISH', 'sse:{foreign}:live', text)
    }
    await channel.publish('1')
    await ear.until(({ data }) => data.includes('1'))
    t.strictSame(ear.data, ['1'])
  })

  t.test('all keys of a channel have the prefix and one hash tag, and end by themselves', async t => {
    const channel = await openRedis(t, { url, prefix: 'app:' }, 'a{b}%')
    await channel.publish('1', { event: 'name' }, { history: { ...HISTORY, isLatest: true, maxAge: HOUR }, idempotencyKey: 'key', idempotencyWindow: 60_000 })
    const keys = (await server.command('KEYS', 'app:*') as string[]).sort()
    const tag = 'app:{a%7Bb%7D%25}:'
    t.strictSame(keys, [`${tag}history`, `${tag}latest`, `${tag}meta`, `${tag}receipt:key`])
    const lives = await Promise.all(keys.map(async key => Number(await server.command('PTTL', key))))
    const bounds = [[0, HOUR], [0, HOUR], [24 * HOUR, 25 * HOUR], [0, 60_000]]
    lives.forEach((life, index) => { t.ok(life > Number(bounds[index]?.[0]) && life <= Number(bounds[index]?.[1]), `${keys[index]} lives for ${life} ms`) })

    await channel.beside('forever').publish('1', {}, { history: { ...HISTORY, maxAge: Infinity } })
    t.ok(Number(await server.command('PTTL', 'app:{forever}:history')) > 365 * 24 * HOUR, 'for years, where there is no age')
  })

  t.test('what is too old is not read, also while Redis keeps it still', async t => {
    const channel = await openRedis(t, { url }, 'old')
    await channel.publishAll(['1', '2'])
    const { floor, entries } = await channel.backplane.read(channel.name, 0, { ...HISTORY, maxAge: 0 })
    t.strictSame({ floor, entries }, { floor: 2, entries: [] })
    t.equal((await channel.read(0)).entries.length, 2)
  })

  t.test('a channel that is listened to is remembered, however long nobody publishes', async t => {
    mock.timers.enable({ apis: ['setInterval'] })
    t.teardown(() => { mock.timers.reset() })
    const channel = await openRedis(t, { url }, 'quiet')
    const ear = await channel.listen()
    const { epoch } = await channel.position()
    await server.command('PEXPIRE', 'sse:{quiet}:meta', '60000')
    mock.timers.tick(HOUR)
    while (Number(await server.command('PTTL', 'sse:{quiet}:meta')) <= 60_000) await setTimeout(5)
    t.equal((await channel.position()).epoch, epoch)
    await ear.leave()
  })

  t.test('a channel whose meta key is gone begins a new epoch, and what is left of the one before is not taken for its own', async t => {
    const channel = await openRedis(t, { url }, 'expired')
    await channel.publishAll(['1', '2'])
    const { epoch } = await channel.position()
    await server.command('DEL', 'sse:{expired}:meta')
    const tail = await channel.read()
    t.not(tail.epoch, epoch)
    t.match(tail, { offset: 0, floor: 0, entries: [], continues: [] })
    t.equal(await server.command('EXISTS', 'sse:{expired}:history'), 0)
  })

  t.test('a history that was evicted is missed, and the offsets go on', async t => {
    const channel = await openRedis(t, { url }, 'evicted')
    const history = { ...HISTORY, isLatest: true }
    for (const key of ['history', 'latest']) {
      await channel.publish('1', { event: 'a' }, { history })
      await channel.publish('2', { event: 'b' }, { history })
      const { epoch, offset } = await channel.position()
      await server.command('DEL', `sse:{evicted}:${key}`)
      t.match(await channel.read(), { epoch, offset, floor: offset, entries: [] })
      t.strictSame(await channel.publish('3', { event: 'a' }, { history }), { epoch, offset: offset + 1 })
      t.match(await channel.read(), { floor: offset, entries: [{ data: '3' }] })
    }
  })

  t.test('a large message takes away as many small ones as it needs the room of', async t => {
    const channel = await openRedis(t, { url }, 'large')
    await channel.publishAll(Array.from({ length: 300 }, () => 'x'.repeat(10)))
    const history = { ...HISTORY, maxBytes: 3_000 }
    await channel.publish('y'.repeat(1_000), {}, { history })
    t.match(await channel.read(), { offset: 301, floor: 100 })
    t.equal((await channel.read()).entries.length, 201)
    await channel.publish('z'.repeat(3_000), {}, { history })
    t.match(await channel.read(), { offset: 302, floor: 301, entries: [{ offset: 302 }] })
  })

  t.test('a channel that is published to in the other mode begins its history anew', async t => {
    const channel = await openRedis(t, { url }, 'mode')
    await channel.publish('1', { event: 'a' })
    for (const [index, isLatest] of [true, false].entries()) {
      const { epoch, offset } = await channel.position()
      await channel.publish(String(index), { event: 'a' }, { history: { ...HISTORY, isLatest } })
      t.match(await channel.read(), { epoch, floor: offset, entries: [{ data: String(index) }] })
    }
  })

  t.test('what is on its way to Redis is limited', async t => {
    const channel = await openRedis(t, { url }, 'flood')
    const data = 'x'.repeat(1024 * 1024)
    const results = await Promise.allSettled(Array.from({ length: 70 }, () => channel.publish(data)))
    const refused = results.filter(result => result.status === 'rejected')
    t.equal(refused.length, 70 - 63)
    for (const { reason } of refused) t.match(reason, { code: 'FST_ERR_SSE_BACKPLANE', message: 'The backplane: too much is on its way to Redis already' })
    await channel.publish('afterwards')
  })

  t.test('what Redis refuses is told, and leaves the connection as it is', async t => {
    const channel = await openRedis(t, { url }, 'full')
    const { offset } = await channel.publish('1')
    await server.command('CONFIG', 'SET', 'maxmemory', '1')
    await t.rejects(channel.publish('2'), { code: 'FST_ERR_SSE_BACKPLANE', message: /^The backplane: Redis: OOM / })
    t.equal(channel.backplane.state, 'connected')
    await server.command('CONFIG', 'SET', 'maxmemory', '0')
    t.equal((await channel.publish('2')).offset, offset + 1, 'nothing of it was done')
    await server.command('SET', 'sse:{full}:history', 'a text')
    await t.rejects(channel.position(), { code: 'FST_ERR_SSE_BACKPLANE', message: /WRONGTYPE/ })
  })

  t.test('scripts that Redis has forgotten are sent again', async t => {
    const channel = await openRedis(t, { url }, 'forgotten')
    await channel.publish('1')
    await server.command('SCRIPT', 'FLUSH')
    t.equal((await channel.publish('2')).offset, 2)
  })
})

t.test('what cannot work is refused at the start, with the reason', async t => {
  const program = redisServer(t)
  if (program === undefined) return
  const server = await startRedis(t, program)
  const { url, port } = server

  const refused = async (t: Test, options: RedisBackplaneOptions, message: RegExp): Promise<void> => {
    const backplane = redisBackplane(options)
    t.teardown(() => backplane.close())
    await t.rejects(Promise.resolve(backplane.start?.()), { code: 'FST_ERR_SSE_BACKPLANE', message })
    t.equal(backplane.state, 'down', 'and nothing is left to be closed')
  }
  /** The options for a client of each package. */
  const both = (port: number, username?: string, password?: string): RedisBackplaneOptions[] => {
    const user = username === undefined || password === undefined ? {} : { username, password }
    return [
      { client: createClient({ ...user, socket: { host: '127.0.0.1', port } }) },
      { client: new Redis({ ...user, host: '127.0.0.1', port, lazyConnect: true }) }
    ]
  }

  t.test('no server', async t => {
    const closed = await startRedis(t, program)
    await closed.kill()
    for (const options of both(closed.port)) await refused(t, options, /^The backplane: Redis: connect ECONNREFUSED/)
  })

  t.test('a server that does not answer', async t => {
    const silent = createServer(socket => { socket.resume() }).listen(0, '127.0.0.1')
    t.teardown(() => { silent.close() })
    await once(silent, 'listening')
    const { port } = silent.address() as AddressInfo
    for (const options of both(port)) await refused(t, { ...options, timeout: 100 }, /^The backplane: Redis: there was no answer within 100 ms/)
  })

  t.test('a wrong password', async t => {
    for (const options of both(port, 'nobody', 'wrong')) await refused(t, options, /^The backplane: Redis: WRONGPASS/)
  })

  t.test('a user who lacks a permission', async t => {
    const commands = '+client +hello +ping +info +evalsha +eval +time +hmget +hset +hget +hdel +hlen +get +set +del +xlen +xadd +xdel +xrange +pttl +pexpire +spublish +ssubscribe +sunsubscribe'
    const user = async (...rules: string[]): Promise<RedisBackplaneOptions[]> => {
      await server.command('ACL', 'SETUSER', 'limited', 'reset', 'on', '>secret', ...rules)
      return both(port, 'limited', 'secret')
    }
    for (const options of await user('~sse:*', '&sse:*', ...commands.split(' '))) {
      const { backplane } = await openRedis(t, options)
      await backplane.close()
    }
    const lacking = [
      ...['info', 'evalsha', 'hset', 'xadd', 'xdel', 'hdel', 'set', 'spublish', 'ssubscribe', 'sunsubscribe'].map(command => ['~sse:*', '&sse:*', ...commands.split(' '), `-${command}`]),
      ['~other:*', '&sse:*', ...commands.split(' ')],
      ['~sse:*', '&other:*', ...commands.split(' ')]
    ]
    for (const rules of lacking) {
      const [options] = await user(...rules)
      if (options !== undefined) await refused(t, options, /^The backplane: Redis: .*(?:NOPERM|ACL|user executing the script can't)/)
    }
    t.strictSame(await server.command('KEYS', '*'), [], 'nothing is left behind')
  })

  t.test('a replica', async t => {
    const replica = await startRedis(t, program)
    await replica.command('REPLICAOF', '127.0.0.1', String(port))
    for (const options of both(replica.port)) await refused(t, options, /this server is a replica/)
  })

  t.test('a server of a Cluster without a client for one', async t => {
    const [node] = await startCluster(t, program, 1)
    for (const options of both(Number(node?.port))) await refused(t, options, /this is a server of a Cluster/)
  })

  t.test('a client for a Cluster without one', async t => {
    await refused(t, { client: createCluster({ rootNodes: [{ url }] }) }, /cluster support disabled/)
    await refused(t, { client: new Cluster([{ host: '127.0.0.1', port }], { lazyConnect: true }) }, /cluster support disabled/)
  })

  t.test('a start after the close', async t => {
    const backplane = redisBackplane({ url })
    await backplane.close()
    await t.rejects(Promise.resolve(backplane.start?.()), { code: 'FST_ERR_SSE_BACKPLANE', message: 'The backplane: it was closed' })
  })

  t.test('a close during the start, which leaves no connection behind', async t => {
    for (const options of both(port)) {
      for (let turns = 0; turns < 5; turns++) {
        const backplane = redisBackplane(options)
        const starting = t.rejects(Promise.resolve(backplane.start?.()), { code: 'FST_ERR_SSE_BACKPLANE' })
        for (let turn = 0; turn < turns; turn++) await setImmediate()
        await backplane.close()
        await starting
        t.equal(backplane.state, 'down')
      }
    }
    const connections = async (): Promise<number> => String(await server.command('CLIENT', 'LIST')).trim().split('\n').length
    while (await connections() > 1) await setTimeout(5)
  })
})
