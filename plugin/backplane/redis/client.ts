import type { EventEmitter } from 'node:events'

// Clients are known by their shape and not by their package, so that who uses the one need not install the other.

type Emitter = Pick<EventEmitter, 'on' | 'off'>

/** What `createClient()` of the package `redis` gives. */
export interface NodeRedisClient extends Emitter {
  readonly isOpen: boolean
  duplicate (overrides?: object): NodeRedisClient
  connect (): Promise<unknown>
  destroy (): void
  sendCommand (command: string[]): Promise<unknown>
  sSubscribe (channel: string, listener: (message: string) => void): Promise<unknown>
  sUnsubscribe (channel: string): Promise<unknown>
}

/** What `createCluster()` of the package `redis` gives. */
export interface NodeRedisCluster extends Emitter {
  readonly isOpen: boolean
  readonly slots: ReadonlyArray<{ readonly master: NodeRedisNode }>
  duplicate (overrides?: object): NodeRedisCluster
  connect (): Promise<unknown>
  destroy (): void
  sendCommand (firstKey: string, isReadonly: boolean, command: string[]): Promise<unknown>
  nodeClient (node: NodeRedisNode): Promise<NodeRedisClient>
}

interface NodeRedisNode {
  readonly address: string
}

/** A `Redis` of the package `ioredis`. */
export interface IoredisClient extends Emitter {
  readonly status: string
  readonly options: { readonly host?: string | undefined, readonly port?: number | undefined }
  duplicate (overrides?: object): IoredisClient
  connect (): Promise<unknown>
  disconnect (): void
  call (command: string, ...values: string[]): Promise<unknown>
  ping (): Promise<unknown>
  ssubscribe (channel: string): Promise<unknown>
  sunsubscribe (channel: string): Promise<unknown>
}

/** A `Cluster` of the package `ioredis`. */
export interface IoredisCluster extends Emitter {
  readonly status: string
  readonly slots: ReadonlyArray<readonly string[]>
  duplicate (nodes: never[], overrides?: object): IoredisCluster
  connect (): Promise<unknown>
  disconnect (): void
  call (command: string, ...values: string[]): Promise<unknown>
  nodes (role: 'master'): IoredisClient[]
}

export type RedisClient = NodeRedisClient | NodeRedisCluster | IoredisClient | IoredisCluster
