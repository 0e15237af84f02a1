import type { FastifyRequest } from 'fastify'
import type { Block } from './channel/block'
import type { ResolvedOptions } from './options'

/** Where a feed brings the events of its source. */
export interface Sink {
  /** Takes an event. Gives back whether there is room for the next; if not, the feed waits for `resume`. */
  event (event: unknown): boolean
  /** Takes events that are encoded already. To be called while `isFree`. */
  block (block: Block): void
  /** Whether nothing is on its way to the client. When it is so again, the feed is resumed. */
  readonly isFree: boolean
  /** The source may open, but has nothing yet: the headers are sent when the prime window ends. */
  prime (): void
  /** Sends the headers. */
  open (): void
  /** The source has finished. */
  end (): void
  /** The source has thrown, also after it was stopped. */
  fail (error: unknown): void
  /** There is no place for the stream. */
  turnAway (error: Error): void
  /** The source gives more than the client takes and cannot be made to wait. */
  overflow (): void
  /** The stream is to end for a reason that is not the source's. */
  disconnect (): void
  /** Bytes that wait for the client. */
  readonly queued: number
}

/** Brings the events of a source to a sink. */
export interface Feed {
  /** Starts, or goes on after the sink had no room. */
  resume (): void
  /** Tells the source to stop, without waiting for it. The promise, if there is one, settles when the source has. */
  stop (): Promise<unknown> | undefined
  /** The server closes: a source without an end of its own ends. */
  leave? (): void
}

/** The stream that a feed is for. */
export interface FeedContext {
  readonly request: FastifyRequest
  readonly options: ResolvedOptions
}

/** Makes the feed of a source that knows a shorter way to a client than to be iterated. */
export const FEED = Symbol('feed of an event stream')

export interface HasFeed {
  /** Whether it can be the source of a stream more. */
  readonly hasRoom: boolean
  [FEED] (sink: Sink, context: FeedContext): Feed
}

export function hasFeed (source: unknown): source is HasFeed {
  return typeof source === 'object' && source !== null && FEED in source
}
