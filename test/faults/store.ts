import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { freePort, RedisServer } from '../helpers/redis'
import { Proxy } from './proxy'

const PREFIX = 'sse:'

/** A Redis that loses nothing when it is killed, and a proxy to it for each application. */
export class Store {
  readonly proxies: readonly Proxy[]
  #primary: Started
  readonly #started: Started[]

  private constructor (primary: Started, proxies: readonly Proxy[]) {
    this.#primary = primary
    this.#started = [primary]
    this.proxies = proxies
  }

  static async open (proxies: number): Promise<Store> {
    const primary = await start()
    return new Store(primary, await Promise.all(Array.from({ length: proxies }, () => Proxy.open(primary.server.port))))
  }

  get redis (): RedisServer {
    return this.#primary.server
  }

  /** Starts a replica. A Redis may have another replication ID when its first one comes. */
  async replicate (): Promise<Replica> {
    const started = await start()
    this.#started.push(started)
    const proxy = await Proxy.open(this.redis.port)
    await started.server.command('REPLICAOF', '127.0.0.1', String(proxy.port))
    while (await started.server.info('master_link_status') !== 'up') await setTimeout(20)
    return {
      cut: async channels => {
        const offset = Number(await this.redis.info('master_repl_offset'))
        while (Number(await started.server.info('slave_repl_offset')) < offset) await setTimeout(20)
        proxy.close()
        while (await started.server.info('master_link_status') !== 'down') await setTimeout(20)
        return await Promise.all(channels.map(async channel => {
          return Number(await started.server.command('HGET', `${PREFIX}{${channel}}:meta`, 'offset'))
        }))
      },
      promote: async () => {
        await remove(this.#primary)
        await started.server.command('REPLICAOF', 'NO', 'ONE')
        this.#primary = started
        for (const proxy of this.proxies) {
          proxy.target = this.redis.port
          proxy.drop()
        }
      }
    }
  }

  /** The Pub/Sub channels that somebody is subscribed to. */
  async subscriptions (): Promise<unknown[]> {
    const lists = [await this.redis.command('PUBSUB', 'SHARDCHANNELS'), await this.redis.command('PUBSUB', 'CHANNELS')]
    return lists.flat()
  }

  async close (): Promise<void> {
    for (const proxy of this.proxies) proxy.close()
    await Promise.all(this.#started.map(remove))
  }
}

export interface Replica {
  /** When it has all that the primary has now, it hears nothing of it any more. Gives the offset that each channel has there. */
  cut (channels: readonly string[]): Promise<number[]>
  /** Kills the primary, and takes its place. */
  promote (): Promise<void>
}

interface Started {
  readonly server: RedisServer
  readonly folder: string
}

async function start (): Promise<Started> {
  const folder = await mkdtemp(join(tmpdir(), 'fastify-event-stream-faults-'))
  const options = ['--save', '', '--appendonly', 'yes', '--appendfsync', 'always', '--repl-diskless-sync-delay', '0']
  const server = new RedisServer('redis-server', await freePort(), folder, options)
  await server.start()
  return { server, folder }
}

async function remove ({ server, folder }: Started): Promise<void> {
  await server.kill()
  await rm(folder, { recursive: true, force: true })
}
