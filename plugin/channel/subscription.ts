import type { KnownFields, Literal, SseEvent } from '../event'
import { FEED, type Feed, type FeedContext, type HasFeed, type Sink } from '../feed'
import { checkOptions, FUNCTION } from '../option-checks'
import type { ResolvedOptions } from '../options'
import { ChannelFeed } from './channel-feed'
import type { Declared, Flows, Selection } from './flows'
import type { GAP, Gap } from './gap'
import type { ChannelEvent } from './item'
import { Iteration } from './iteration'
import type { From } from './live-channel'
import { picking, type Method } from './pick'

/** What a subscription is to have of its channels. */
export interface SubscribeOptions<Event extends ChannelEvent = ChannelEvent> {
  /**
   * Where who has no last event ID begins: with what comes now (`'latest'`, or `''`), with the oldest event that is kept
   * (`'earliest'`), or after the event with an ID. Default: `'latest'`.
   */
  from?: string | undefined
  /** Which events it has; `gap` events are always among them. Default: all. */
  filter?: Method<Published<Event>, boolean> | undefined
  /** Ends an iteration that waits: a generator that iterates hands its stream's `signal` over. */
  signal?: AbortSignal | undefined
}

/** {@link SubscribeOptions} with a `map`. */
export interface MapOptions<Event extends ChannelEvent, Mapped extends MapResult> extends SubscribeOptions<Event> {
  /** Gives another event in the place of each, which keeps its ID, or `undefined` for none; `gap` events stay as they are. */
  map: Method<Published<Event>, Mapped | undefined> & KnownFields<Mapped, keyof ChannelEvent>
}

/** What a filter and a map are asked of: gaps go past them. */
type Published<Event extends ChannelEvent> = Exclude<Event, ChannelEvent<typeof GAP, Gap>>

/** What a `map` gives; an ID in it, as a changed copy of an event has, does not count. */
export type MapResult<Name extends string = string> = string | {
  event?: Name | undefined
  data?: {} | null | undefined | Literal
  id?: string | number | undefined
}

/** An event as a `map` has made it, or one that no `map` is asked of. */
export type MappedEvent<Mapped extends MapResult> = ChannelEvent<typeof GAP, Gap> | (Mapped extends string
  ? ChannelEvent<undefined, string>
  : ChannelEvent<Mapped extends { event: infer Name extends string } ? Name : undefined, Mapped extends { data: infer Data } ? Data : unknown>)

/** What all subscriptions of a registration share. */
export interface Common {
  readonly flows: Flows
  readonly options: ResolvedOptions
}

const CHECKS = {
  from: ["'latest', 'earliest' or the ID of an event", (value: unknown) => typeof value === 'string'],
  filter: FUNCTION,
  map: FUNCTION,
  signal: ['an AbortSignal', (value: unknown) => value instanceof AbortSignal]
} as const

/**
 * Events of one or several channels: a source for `reply.sse`, which takes the shortest way to the clients, and an async
 * iterable for whoever wants to see them. An iteration waits for `maxBuffer` bytes at most; over it, it goes by `slow`,
 * and for `'disconnect'` throws an `AbortError`.
 */
export class Subscription<Event extends ChannelEvent = ChannelEvent> implements AsyncIterable<Event>, HasFeed, Selection {
  readonly channels: readonly Declared[]
  readonly pick: Selection['pick']
  readonly isMapped: boolean
  readonly #from: From
  readonly #signal: AbortSignal | undefined
  readonly #common: Common

  /** @throws FST_ERR_SSE_OPTION for an option that is unknown or has a value that is not allowed */
  constructor (channels: readonly Declared[], options: SubscribeOptions<Event> & { map?: Method<Event, SseEvent | undefined> | undefined }, common: Common) {
    checkOptions(options, CHECKS)
    const { from = 'latest', signal } = options
    this.channels = channels
    this.pick = options.filter === undefined && options.map === undefined ? undefined : picking(options)
    this.isMapped = options.map !== undefined
    this.#from = from === 'latest' || from === 'earliest' ? from : from === '' ? 'latest' : { id: from }
    this.#signal = signal
    this.#common = common
  }

  [FEED] (sink: Sink, context: FeedContext): Feed {
    return new ChannelFeed(this, this.#from, this.#common.flows, sink, context)
  }

  /** Whether a stream more may read it. */
  get hasRoom (): boolean {
    return this.#common.flows.hasRoom(this.channels)
  }

  [Symbol.asyncIterator] (): AsyncIterator<Event, undefined> {
    const { flows, options: { maxBuffer, slow } } = this.#common
    const iteration = new Iteration(this, flows, { from: this.#from, signal: this.#signal, maxBuffer, slow })
    return iteration as AsyncIterator<ChannelEvent, undefined> as AsyncIterator<Event, undefined>
  }
}
