/**
 * Where an event stands in its channel. Offsets are contiguous from 1. The epoch is random and new whenever a history
 * is lost, so that an offset of the one before is never taken for one of this. It is one to eight letters and digits.
 */
export interface Position {
  readonly epoch: string
  readonly offset: number
}

/** An event as a backplane carries it, encoded once, by the process that publishes it. */
export interface Message {
  /** The event's name, `''` for an unnamed one. */
  readonly event: string
  /** The event's data, as it goes over the wire. */
  readonly data: string
  /** Whether `data` is the JSON of what was published, and not a string that was. */
  readonly isJson: boolean
  /** Whether this is no event but the end of the channel: nothing is published after it. */
  readonly isEnd: boolean
}

/** A message with its place in the channel. */
export interface Entry extends Message {
  readonly offset: number
  /** When it was published, in milliseconds since 1970. */
  readonly time: number
}

/** How much of a channel's past is kept, by all of the limits at once. */
export interface HistoryLimits {
  /** Events. `0` keeps none. */
  readonly size: number
  /** Milliseconds. */
  readonly maxAge: number
  /** Bytes of the events' names and data, in UTF-8. */
  readonly maxBytes: number
  /** Whether of each event name only the newest is kept, for channels that carry a state. */
  readonly isLatest: boolean
}

export interface PublishOptions {
  readonly history: HistoryLimits
  /** The same key publishes once: within `idempotencyWindow`, it gives the position of the first time. */
  readonly idempotencyKey: string | undefined
  /** Milliseconds. */
  readonly idempotencyWindow: number
}

/** The end of a channel, as it is kept. */
export interface Tail extends Position {
  /**
   * The offset behind which nothing is missing: `entries` holds every event after it, or, where only the newest of each
   * name is kept, all that count of these. It is not below the offset that was asked for.
   */
  readonly floor: number
  /** Oldest first. */
  readonly entries: readonly Entry[]
  /** Whether the channel has ended. `entries` may not have the message any more that said so. */
  readonly isEnded: boolean
  /**
   * Epochs that this one continues, each with the offset up to which it does: an event up to there has the same offset in
   * both, and one after it was lost. Without them an epoch has nothing in common with those before.
   */
  readonly continues?: readonly Position[]
}

/** What a subscriber is told. */
export interface BackplaneListener {
  /** A message as it was published. Each comes at most once for each subscription, in order, or not at all. */
  entry (epoch: string, entry: Entry): void
  /** Messages may have been missed: read again. */
  interrupted (): void
}

/**
 * `connected`: all works. `degraded`: it does not now, and is being mended: streams stay open, publishing is refused.
 * `down`: it was closed.
 */
export type BackplaneState = 'connected' | 'degraded' | 'down'

/**
 * What carries the events of channels from those who publish to those who subscribe, within a process or between many,
 * and keeps their history. `backplaneConformance` tests one.
 */
export interface Backplane {
  readonly state: BackplaneState

  /**
   * Called once, before the server is ready. A backplane that cannot work refuses by throwing.
   *
   * @throws FST_ERR_SSE_BACKPLANE with the reason
   */
  start? (): Promise<void>

  /** Calls back at each change of `state`. */
  onStateChange (changed: (state: BackplaneState) => void): void

  /**
   * Gives the message the channel's next offset, keeps it, and brings it to all subscribers; all of it or nothing. When
   * it has resolved, the message is in the history.
   *
   * @throws FST_ERR_SSE_CHANNEL_CLOSED when the channel has ended
   * @throws FST_ERR_SSE_BACKPLANE in bounded time, when it cannot be done; whether it was done is then not known
   */
  publish (channel: string, message: Message, options: PublishOptions): Promise<Position>

  /**
   * Reads what is kept after an offset; from the oldest with `0`. Of a channel that nobody has published to it gives an
   * epoch of its own, which the first message will have.
   *
   * @throws FST_ERR_SSE_BACKPLANE in bounded time
   */
  read (channel: string, after: number, history: HistoryLimits): Promise<Tail>

  /** Where the channel is now; the next message has the offset after this. */
  position (channel: string): Promise<Position>

  /**
   * Brings each message from now on to the listener. Resolves when it is sure to: what is read after that has no hole to
   * what is brought. Where it breaks later, it mends itself and calls `interrupted`.
   *
   * @returns takes the listener off
   */
  subscribe (channel: string, listener: BackplaneListener): Promise<() => Promise<void>>

  /** Frees everything that it holds. A client that was handed in is left as it is. */
  close (): Promise<void>
}
