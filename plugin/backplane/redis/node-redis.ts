import type { NodeRedisClient, NodeRedisCluster } from './client'
import type { Command, CommandConnection, ConnectionEvents, Driver, LiveConnection, LiveEvents, Server } from './connection'
import { ownerOf, slotOf } from './keys'

// What is not connected must refuse commands. Types of replies that the user chose, and timeouts, are not for ours.
const OWN_OPTIONS = { disableOfflineQueue: true, commandOptions: { timeout: undefined } }
// Connects to a server of a Cluster when it is needed, so that one that is away is not in the way of the others.
const OWN_CLUSTER_OPTIONS = { ...OWN_OPTIONS, minimizeConnections: true }

/** Connections like that of a client from `createClient()`. */
export function nodeRedis (client: NodeRedisClient): Driver {
  return {
    isCluster: false,
    connect: events => new NodeRedisCommands(client.duplicate(OWN_OPTIONS), events)
  }
}

/** Connections like those of a client from `createCluster()`. */
export function nodeRedisCluster (cluster: NodeRedisCluster): Driver {
  return {
    isCluster: true,
    connect: () => new NodeRedisClusterCommands(cluster.duplicate(OWN_CLUSTER_OPTIONS))
  }
}

class NodeRedisConnection {
  protected readonly client: NodeRedisClient
  #isConnecting = false
  #isClosed = false

  constructor (client: NodeRedisClient, events: ConnectionEvents) {
    this.client = client
    client.on('connect', () => { this.#hasTried() })
    client.on('error', (reason: Error) => {
      this.#hasTried()
      events.broken(reason)
    })
  }

  open (): Promise<unknown> {
    this.#isConnecting = true
    return this.client.connect()
  }

  ping (): Promise<unknown> {
    return this.client.sendCommand(['PING'])
  }

  // A client that is destroyed while it connects does not let go of its socket.
  close (): void {
    this.#isClosed = true
    if (!this.#isConnecting && this.client.isOpen) this.client.destroy()
  }

  /** It is connected, or cannot be. */
  #hasTried (): void {
    this.#isConnecting = false
    if (this.#isClosed) this.close()
  }
}

class NodeRedisCommands extends NodeRedisConnection implements CommandConnection {
  send (key: string, command: Command): Promise<unknown> {
    return this.client.sendCommand(command)
  }

  async serverOf (): Promise<Server> {
    return serverLike(this.client, '')
  }
}

class NodeRedisLive extends NodeRedisConnection implements LiveConnection {
  readonly #events: LiveEvents

  constructor (client: NodeRedisClient, events: LiveEvents) {
    super(client, events)
    this.#events = events
    client.on('sharded-channel-moved', (channel: string) => { events.broken(new Error(`${channel} has moved to another server`)) })
  }

  subscribe (channel: string): Promise<unknown> {
    return this.client.sSubscribe(channel, text => { this.#events.message(channel, text) })
  }

  unsubscribe (channel: string): Promise<unknown> {
    return this.client.sUnsubscribe(channel)
  }
}

class NodeRedisClusterCommands implements CommandConnection {
  readonly #cluster: NodeRedisCluster
  #trouble = new Error('no server of the Cluster answers')

  constructor (cluster: NodeRedisCluster) {
    this.#cluster = cluster
    // It looks for other servers by itself. Only when it finds none, this is the reason.
    cluster.on('error', (trouble: Error) => { this.#trouble = trouble })
  }

  open (): Promise<unknown> {
    return this.#cluster.connect().catch(() => { throw this.#trouble })
  }

  // Some of its servers may be away. Those that messages come from are asked on connections of their own.
  async ping (): Promise<void> {}

  send (key: string, command: Command): Promise<unknown> {
    return this.#cluster.sendCommand(key, false, command)
  }

  async serverOf (channel: string): Promise<Server> {
    // Has it follow where the slot has gone.
    await this.send(channel, ['HMGET', channel, 'epoch'])
    const slot = slotOf(channel)
    const { master } = ownerOf(slot, this.#cluster.slots[slot])
    return serverLike(await this.#cluster.nodeClient(master), master.address)
  }

  close (): void {
    if (this.#cluster.isOpen) this.#cluster.destroy()
  }
}

function serverLike (client: NodeRedisClient, address: string): Server {
  return { address, connect: events => new NodeRedisLive(client.duplicate(OWN_OPTIONS), events) }
}
