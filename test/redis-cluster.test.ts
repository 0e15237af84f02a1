import { Cluster } from 'ioredis'
import { createCluster } from 'redis'
import t from 'tap'
import { backplaneConformance } from '../plugin/backplane/conformance'
import { redisBackplane, type RedisBackplaneOptions } from '../plugin/backplane/redis'
import { keysOf, slotOf } from '../plugin/backplane/redis/keys'
import { openRedis, untilState } from './helpers/backplane'
import { startCluster, type RedisServer } from './helpers/redis'
import { redisServer } from './helpers/services'

const TIMEOUT = 1_000
const SERVERS = 3
const REFUSED = { code: 'FST_ERR_SSE_BACKPLANE' }

// Waits for servers to start, to fail and to come back: slow where coverage watches.
t.setTimeout(120_000)

const CLIENTS: Record<string, (servers: RedisServer[]) => RedisBackplaneOptions> = {
  redis: servers => ({ client: createCluster({ rootNodes: servers.map(({ url }) => ({ url })) }), timeout: TIMEOUT }),
  ioredis: servers => ({ client: new Cluster(servers.map(({ port }) => ({ host: '127.0.0.1', port })), { lazyConnect: true }), timeout: TIMEOUT })
}

const slotOfChannel = (name: string): number => slotOf(keysOf('sse:', name).live)

/** The name of a channel on the server with this index. */
function nameOn (index: number, prefix: string): string {
  for (let number = 0; ; number++) {
    const name = `${prefix} ${number}`
    if (Math.floor(slotOfChannel(name) * SERVERS / 16_384) === index) return name
  }
}

t.test('over a Cluster', async t => {
  const program = redisServer(t)
  if (program === undefined) return
  const servers = await startCluster(t, program, SERVERS)
  const [server, other] = servers
  if (server === undefined || other === undefined) throw new Error('there are no servers')

  t.test('the slot of a channel is that which Redis has it in', async t => {
    for (const name of ['', 'a', 'news', '☃', 'a{b}c', '}', 'x'.repeat(300)]) {
      const { live, meta } = keysOf('sse:', name)
      t.equal(slotOf(live), slotOf(meta))
      if (name !== '') t.equal(slotOf(live), await server.command('CLUSTER', 'KEYSLOT', live))
    }
  })

  for (const [client, options] of Object.entries(CLIENTS)) {
    t.test(`it conforms (${client})`, async t => {
      const { client } = options(servers)
      for (const { title, run } of backplaneConformance(async () => redisBackplane({ client }), { shared: true })) t.test(title, run)
    })

    t.test(`a slot moves to another server: listeners are told to read again, and nothing is lost (${client})`, async t => {
      const channel = await openRedis(t, options(servers), nameOn(0, client))
      const ear = await channel.listen()
      await channel.publishAll(['1', '2'])
      const before = await channel.position()
      await migrate(slotOfChannel(channel.name), server, other)
      await ear.until(({ interruptions }) => interruptions > 0)
      const tail = await channel.read()
      t.strictSame(tail.entries.map(({ data }) => data), ['1', '2'])
      t.strictSame(tail.continues, [before])
      t.equal((await channel.publish('3')).offset, 3)
      await ear.until(({ data }) => data.includes('3'))
      await migrate(slotOfChannel(channel.name), other, server)
    })

    t.test(`a server that is gone concerns its own channels, until it is back (${client})`, async t => {
      const channel = await openRedis(t, options(servers), nameOn(1, client))
      const unconcerned = channel.beside(nameOn(2, client))
      const ears = [await channel.listen(), await unconcerned.listen()]
      await channel.publish('1')
      await unconcerned.publish('1')

      await other.kill()
      await untilState(channel, 'degraded')
      await t.rejects(channel.publish('lost'), REFUSED)
      await unconcerned.publish('2')
      await ears[1]?.until(({ data }) => data.includes('2'))
      t.equal(ears[1]?.interruptions, 0)

      await other.start()
      await ears[0]?.until(({ interruptions }) => interruptions > 0)
      await untilState(channel, 'connected')
      await channel.publish('3')
      await ears[0]?.until(({ data }) => data.includes('3'))
    })
  }
})

/** Gives a slot to another server, as a Cluster does that is resharded. */
async function migrate (slot: number, from: RedisServer, to: RedisServer): Promise<void> {
  const [source, target] = [await from.command('CLUSTER', 'MYID'), await to.command('CLUSTER', 'MYID')].map(String)
  await to.command('CLUSTER', 'SETSLOT', String(slot), 'IMPORTING', String(source))
  await from.command('CLUSTER', 'SETSLOT', String(slot), 'MIGRATING', String(target))
  const keys = await from.command('CLUSTER', 'GETKEYSINSLOT', String(slot), '100')
  if (!Array.isArray(keys)) throw new Error('there are no keys')
  await from.command('MIGRATE', '127.0.0.1', String(to.port), '', '0', '1000', 'KEYS', ...keys)
  for (const server of [to, from]) await server.command('CLUSTER', 'SETSLOT', String(slot), 'NODE', String(target))
}
