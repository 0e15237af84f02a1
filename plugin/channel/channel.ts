import type { FastifyRequest } from 'fastify'
import type { Backplane } from '../backplane/types'
import { FST_ERR_SSE_CHANNEL, FST_ERR_SSE_CHANNEL_CLOSED } from '../errors'
import type { BareNames, TextOf } from '../event'
import { FEED, type Feed, type FeedContext, type HasFeed, type Sink } from '../feed'
import { show } from '../inspect'
import { checkOptions } from '../option-checks'
import { ignoreRejection } from '../thenable'
import type { ToText } from '../to-text'
import type { ResolvedChannelOptions } from './channel-options'
import type { Declared } from './flows'
import type { GAP, Gap } from './gap'
import type { ChannelEvent } from './item'
import { toMessage } from './message'
import { toId } from './position'
import { Subscription, type Common, type MapOptions, type MappedEvent, type MapResult, type SubscribeOptions } from './subscription'

/** What is published to a channel of such events: fields, or a string that is the data of an unnamed event. */
export type PublishedEvent<Events extends object> = string extends keyof Events
  ? unknown extends Events[keyof Events] ? string | { event?: string | undefined, data?: unknown } : DeclaredEvent<Events>
  : DeclaredEvent<Events>

type DeclaredEvent<Events> = NamedEvent<Events> | UnnamedEvent<Events> | BareEvent<Events>

type NamedEvent<Events, Names extends keyof Events = Exclude<keyof Events, 'message' | typeof GAP>> = {
  [Name in Names & string]: { event: Name, data: Events[Name] }
}[Names & string]

type UnnamedEvent<Events> = 'message' extends keyof Events
  ? { event?: 'message' | undefined, data: Events['message'] } | TextOf<Events['message']>
  : never

type BareEvent<Events, Names extends keyof Events = Exclude<BareNames<Events>, typeof GAP>> = {
  [Name in Names & string]: { event: Name, data?: undefined }
}[Names & string]

/** What comes out of a channel of such events. */
export type EventOf<Events extends object> = string extends keyof Events
  ? unknown extends Events[keyof Events] ? ChannelEvent<string | undefined, Events[keyof Events]> : ReceivedEvent<Events>
  : ReceivedEvent<Events>

type ReceivedEvent<Events, Names extends keyof Events = Exclude<keyof Events, typeof GAP>> = ChannelEvent<typeof GAP, Gap> | {
  [Name in Names & string]: ChannelEvent<'message' extends Name ? Exclude<Name, 'message'> | undefined : Name, Events[Name]>
}[Names & string]

/** How an event is published. */
export interface PublishOptions {
  /** An event with the same key is published once, within the channel's `idempotencyWindow`: the ID is that of the first. */
  idempotencyKey?: string | undefined
}

const PUBLISH_CHECKS = { idempotencyKey: ['a non-empty string', (value: unknown) => typeof value === 'string' && value !== ''] } as const
const END = { event: '', data: '', isJson: false, isEnd: true }

/**
 * A channel: what is published to it reaches every stream that reads it, in order, once, and with no hole that is not told
 * by a `gap` event.
 *
 * It is a source for `reply.sse`, and an async iterable.
 */
export class Channel<Events extends object = Record<string, unknown>> implements AsyncIterable<EventOf<Events> & ChannelEvent>, HasFeed, Declared {
  readonly name: string
  /** As they were given, with the defaults filled in. */
  readonly options: ResolvedChannelOptions
  readonly #toText: ToText
  readonly #backplane: Backplane
  readonly #common: Common

  constructor (name: string, options: ResolvedChannelOptions, toText: ToText, backplane: Backplane, common: Common) {
    this.name = name
    this.options = options
    this.#toText = toText
    this.#backplane = backplane
    this.#common = common
  }

  /**
   * Publishes an event to all who read the channel, and to its history.
   *
   * @returns the ID of the event
   * @throws FST_ERR_SSE_EVENT when it is not an event for a channel
   * @throws FST_ERR_SSE_FIELD when a field cannot go over the wire, or the event is larger than `maxEventBytes`
   * @throws FST_ERR_SSE_CHANNEL_CLOSED after `close`
   * @throws FST_ERR_SSE_CHANNEL when there are `maxChannels` already
   * @throws FST_ERR_SSE_BACKPLANE when the backplane cannot be reached; whether the event was published is then not known
   */
  async publish (event: PublishedEvent<Events>, options: PublishOptions = {}): Promise<string> {
    checkOptions(options, PUBLISH_CHECKS)
    const message = toMessage(event, this.#toText, this.options.maxEventBytes)
    return this.#publish(message, options.idempotencyKey)
  }

  /**
   * Reads the channel from some place on, or a part of it.
   *
   * @throws FST_ERR_SSE_OPTION for an option that is unknown or has a value that is not allowed
   */
  subscribe<Mapped extends MapResult<Name>, Name extends string> (options: MapOptions<EventOf<Events> & ChannelEvent, Mapped>): Subscription<MappedEvent<Mapped>>
  subscribe (options?: SubscribeOptions<EventOf<Events> & ChannelEvent>): Subscription<EventOf<Events> & ChannelEvent>
  subscribe (options: SubscribeOptions = {}): Subscription {
    return new Subscription([this], options, this.#common)
  }

  /**
   * The ID of the channel's newest event. Read it, then load the state, then stream from it: nothing that changes the
   * state in between is missed.
   *
   * @throws FST_ERR_SSE_BACKPLANE when the backplane cannot be reached
   */
  async position (): Promise<string> {
    return toId(await this.#backplane.position(this.name))
  }

  /** Streams and iterations of this process that read the channel. */
  get subscribers (): number {
    return this.#common.flows.membersOf(this.name).length
  }

  /**
   * Ends streams of this process that read the channel, with the reason `disconnected`. Their clients come back, and are
   * asked by `authorize` again; so are those for which it is being asked now.
   *
   * @param isMeant whether the stream that answers a request is to end
   * @returns how many
   * @throws FST_ERR_SSE_CHANNEL when `isMeant` is no function
   */
  disconnect (isMeant: (request: FastifyRequest) => boolean): number {
    if (typeof isMeant !== 'function') throw new FST_ERR_SSE_CHANNEL(show(this.name), `disconnect takes a function of the request, got ${show(isMeant)}`)
    this.#common.flows.disconnects++
    const streams = this.#common.flows.membersOf(this.name).flatMap(({ stream }) => stream ?? [])
    const meant = streams.filter(({ request }) => {
      const answer: unknown = isMeant(request)
      ignoreRejection(answer)
      return answer === true
    })
    for (const stream of meant) stream.disconnect()
    return meant.length
  }

  /**
   * Ends the channel, for all processes: those who read it are sent what they still miss, and their streams end; a client
   * that comes back then is answered with 204, and stays away. Nothing can be published any more.
   *
   * @throws FST_ERR_SSE_BACKPLANE when the backplane cannot be reached
   */
  async close (): Promise<void> {
    try {
      await this.#publish(END, undefined)
    } catch (error) {
      if (!(error instanceof FST_ERR_SSE_CHANNEL_CLOSED)) throw error
    }
  }

  /** Whether a stream more may read it. */
  get hasRoom (): boolean {
    return this.subscribe().hasRoom
  }

  [FEED] (sink: Sink, context: FeedContext): Feed {
    return this.subscribe()[FEED](sink, context)
  }

  [Symbol.asyncIterator] (): AsyncIterator<EventOf<Events> & ChannelEvent, undefined> {
    return this.subscribe()[Symbol.asyncIterator]()
  }

  async #publish (message: typeof END, idempotencyKey: string | undefined): Promise<string> {
    const { history, idempotencyWindow } = this.options
    return toId(await this.#backplane.publish(this.name, message, { history, idempotencyKey, idempotencyWindow }))
  }
}
