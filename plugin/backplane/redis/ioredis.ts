import type { IoredisClient, IoredisCluster } from './client'
import type { Command, CommandConnection, ConnectionEvents, Driver, LiveConnection, LiveEvents, Server } from './connection'
import { ownerOf, slotOf } from './keys'

const never = (): null => null

// What is not connected must refuse commands, and nothing is done again. Prefixes would not reach into the scripts.
const OWN_OPTIONS = {
  lazyConnect: true,
  retryStrategy: never,
  reconnectOnError: null,
  enableOfflineQueue: false,
  autoResubscribe: false,
  autoResendUnfulfilledCommands: false,
  enableAutoPipelining: false,
  commandTimeout: undefined,
  keyPrefix: ''
}

// The servers of a Cluster are connected to by the first command, which has to wait for it.
const OWN_CLUSTER_OPTIONS = {
  lazyConnect: true,
  clusterRetryStrategy: never,
  enableOfflineQueue: true,
  enableAutoPipelining: false,
  keyPrefix: '',
  redisOptions: { keyPrefix: '', commandTimeout: undefined, enableAutoPipelining: false }
}

/** Connections like that of a `Redis`. */
export function ioredis (client: IoredisClient): Driver {
  return {
    isCluster: false,
    connect: events => new IoredisCommands(client.duplicate(OWN_OPTIONS), events)
  }
}

/** Connections like those of a `Cluster`. */
export function ioredisCluster (cluster: IoredisCluster): Driver {
  return {
    isCluster: true,
    connect: events => new IoredisClusterCommands(cluster.duplicate([], OWN_CLUSTER_OPTIONS), events)
  }
}

class IoredisConnection {
  protected readonly client: IoredisClient

  constructor (client: IoredisClient, events: ConnectionEvents) {
    this.client = client
    client.on('error', (reason: Error) => { events.broken(reason) })
    client.on('close', () => { events.broken(new Error('the connection was closed')) })
  }

  open (): Promise<unknown> {
    return this.client.connect()
  }

  ping (): Promise<unknown> {
    return this.client.ping()
  }

  close (): void {
    this.client.disconnect()
  }
}

class IoredisCommands extends IoredisConnection implements CommandConnection {
  send (key: string, command: Command): Promise<unknown> {
    return this.client.call(...command)
  }

  async serverOf (): Promise<Server> {
    return serverLike(this.client)
  }
}

class IoredisLive extends IoredisConnection implements LiveConnection {
  constructor (client: IoredisClient, events: LiveEvents) {
    super(client, events)
    client.on('smessage', (channel: string, text: string) => { events.message(channel, text) })
    client.on('moved', () => { events.broken(new Error('a channel has moved to another server')) })
  }

  subscribe (channel: string): Promise<unknown> {
    return this.client.ssubscribe(channel)
  }

  unsubscribe (channel: string): Promise<unknown> {
    return this.client.sunsubscribe(channel)
  }
}

class IoredisClusterCommands implements CommandConnection {
  readonly #cluster: IoredisCluster
  #trouble = new Error('no server of the Cluster answers')

  constructor (cluster: IoredisCluster, events: ConnectionEvents) {
    this.#cluster = cluster
    cluster.on('node error', (trouble: Error) => { this.#trouble = trouble })
    for (const event of ['error', 'close']) cluster.on(event, () => { events.broken(this.#trouble) })
  }

  open (): Promise<unknown> {
    return this.#cluster.connect()
  }

  // Some of its servers may be away. Those that messages come from are asked on connections of their own.
  async ping (): Promise<void> {}

  send (key: string, command: Command): Promise<unknown> {
    return this.#cluster.call(...command)
  }

  async serverOf (channel: string): Promise<Server> {
    // Has it follow where the slot has gone.
    await this.send(channel, ['HMGET', channel, 'epoch'])
    const slot = slotOf(channel)
    const [master] = ownerOf(slot, this.#cluster.slots[slot])
    const client = this.#cluster.nodes('master').find(node => addressOf(node) === master)
    return serverLike(ownerOf(slot, client))
  }

  close (): void {
    this.#cluster.disconnect()
  }
}

function serverLike (client: IoredisClient): Server {
  return { address: addressOf(client), connect: events => new IoredisLive(client.duplicate(OWN_OPTIONS), events) }
}

function addressOf ({ options: { host, port } }: IoredisClient): string {
  return `${host}:${port}`
}
