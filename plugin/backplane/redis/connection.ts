export type Command = [name: string, ...values: string[]]

/**
 * A connection to Redis of our own, made of a client of one of the libraries. It is opened once, used until it breaks,
 * and then thrown away: how a library would mend it, what it would send again and what it would queue meanwhile depends
 * on the library, its version and the options of the client.
 */
export interface Connection {
  open (): Promise<unknown>
  /** Sees whether there is an answer. */
  ping (): Promise<unknown>
  close (): void
}

/** A connection for commands: in a Cluster, to all of its servers. */
export interface CommandConnection extends Connection {
  /** @param key says which server of a Cluster it goes to */
  send (key: string, command: Command): Promise<unknown>
  /** The server that a Pub/Sub channel is on. */
  serverOf (channel: string): Promise<Server>
}

export interface Server {
  /** Tells it from the others of a Cluster. Where there is only one, any will do. */
  readonly address: string
  connect (events: LiveEvents): LiveConnection
}

/** A connection to one server for what is published there. */
export interface LiveConnection extends Connection {
  subscribe (channel: string): Promise<unknown>
  unsubscribe (channel: string): Promise<unknown>
}

export interface ConnectionEvents {
  /** The connection is of no use any more. */
  broken (reason: Error): void
}

export interface LiveEvents extends ConnectionEvents {
  message (channel: string, text: string): void
}

/** How to come by connections. */
export interface Driver {
  readonly isCluster: boolean
  connect (events: ConnectionEvents): CommandConnection
}
