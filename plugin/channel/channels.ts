import type { FastifyTypeProvider, FastifyTypeProviderDefault } from 'fastify'
import type { Backplane } from '../backplane/types'
import { FST_ERR_SSE_CHANNEL } from '../errors'
import type { SchemaEvents } from '../event'
import { show } from '../inspect'
import type { OpenTotals, StatsSnapshot } from '../stats'
import { bySerializer, type ToText } from '../to-text'
import { Channel } from './channel'
import { resolveChannelOptions, type ChannelOptions, type TypedChannelOptions } from './channel-options'
import type { Declared } from './flows'
import type { ChannelEvent } from './item'
import { MAX_CHANNELS_IN_CURSOR } from './position'
import { Subscription, type Common, type MapOptions, type MappedEvent, type MapResult, type SubscribeOptions } from './subscription'

const NAME = /^[0-9A-Za-z._~:@/+=-]{1,128}$/

/** Channels, or their names. */
type Readable = ReadonlyArray<string | (Declared & AsyncIterable<ChannelEvent>)>

/** What comes out of a channel; of one by its name, anything. */
type EventIn<Source> = Source extends AsyncIterable<infer Event extends ChannelEvent> ? Event : ChannelEvent

/** What the channels of a registration are made with. */
export interface Means extends Common {
  readonly backplane: Backplane
  /** Compiles the schemas of events. */
  compile (channel: string, schemas: object): ToText
  /** What the streams that are open were handed. */
  totals (): OpenTotals
}

/** Channels by their names, and what is read of them: `app.sse`. */
export class EventChannels<TypeProvider extends FastifyTypeProvider = FastifyTypeProviderDefault> {
  readonly #means: Means
  readonly #declared = new Map<string, Channel>()
  #isReady = false

  constructor (means: Means) {
    this.#means = means
  }

  /**
   * A channel by its name: 1 to 128 characters of `A-Z a-z 0-9 . _ ~ : @ / + = -`.
   *
   * One that is declared before the server is ready is known by its name from then on; its options are given once.
   * Later, any number may be made, one for each user say: nothing is kept of them but what is subscribed to or in a
   * history.
   *
   * @typeParam Events what is published, as a map of event names to the types of their data
   * @throws FST_ERR_SSE_CHANNEL for a name that is not allowed, or options that come a second time
   * @throws FST_ERR_SSE_OPTION for an option that is unknown or has a value that is not allowed
   */
  channel<const Schemas extends object> (name: string, options: TypedChannelOptions<Schemas>): Channel<SchemaEvents<Schemas, TypeProvider>>
  channel<Events extends object = Record<string, unknown>> (name: string, options?: ChannelOptions): Channel<Events>
  channel (name: string, options?: ChannelOptions & { events?: object }): Channel {
    if (typeof name !== 'string' || !NAME.test(name)) {
      throw new FST_ERR_SSE_CHANNEL(show(name), 'its name must be 1 to 128 characters of A-Z a-z 0-9 . _ ~ : @ / + = -')
    }
    const declared = this.#declared.get(name)
    if (declared !== undefined) {
      if (options === undefined) return declared
      throw new FST_ERR_SSE_CHANNEL(show(name), 'it is declared already: give its options once, and leave them out where you use it')
    }
    const channel = this.#make(name, options)
    if (!this.#isReady) this.#declared.set(name, channel)
    return channel
  }

  /**
   * Reads several channels as one stream, whose events have IDs that say where all of them stand.
   *
   * @param channels at most six: those that are declared by their names, or the channels themselves
   * @throws FST_ERR_SSE_CHANNEL for a name that was not declared, a channel that comes twice, or too many
   * @throws FST_ERR_SSE_OPTION for an option that is unknown or has a value that is not allowed
   */
  subscribe<const Channels extends Readable, Mapped extends MapResult<Name>, Name extends string> (channels: Channels, options: MapOptions<EventIn<Channels[number]>, Mapped>): Subscription<MappedEvent<Mapped>>
  subscribe<const Channels extends Readable> (channels: Channels, options?: SubscribeOptions<EventIn<Channels[number]>>): Subscription<EventIn<Channels[number]>>
  subscribe (channels: Readable, options: SubscribeOptions = {}): Subscription {
    if (!Array.isArray(channels)) throw new FST_ERR_SSE_CHANNEL(show(channels), 'subscribe takes a list of channels, or of their names')
    const chosen = channels.map(channel => typeof channel === 'string' ? this.#find(channel) : channel)
    const names = chosen.map(({ name }) => name)
    if (chosen.length === 0 || chosen.length > MAX_CHANNELS_IN_CURSOR || new Set(names).size < names.length) {
      throw new FST_ERR_SSE_CHANNEL(names.map(show).join(', ') || '(none)', `a stream is over 1 to ${MAX_CHANNELS_IN_CURSOR} different channels`)
    }
    return new Subscription(chosen.sort(byName), options, this.#means)
  }

  /** From now on channels are not declared any more, but made. */
  ready (): void {
    this.#isReady = true
  }

  /** What happens in this process, in numbers. */
  stats (): StatsSnapshot {
    const { flows, backplane } = this.#means
    return flows.stats.snapshot(this.#means.totals(), flows.channels, backplane.state)
  }

  #make (name: string, given: ChannelOptions & { events?: object } = {}): Channel {
    const options = resolveChannelOptions(given)
    const toText = given.events === undefined ? bySerializer(given.serializer ?? JSON.stringify) : this.#means.compile(name, given.events)
    return new Channel(name, options, toText, this.#means.backplane, this.#means)
  }

  #find (name: string): Channel {
    const channel = this.#declared.get(name)
    if (channel !== undefined) return channel
    throw new FST_ERR_SSE_CHANNEL(show(name), 'it is not declared: only channels that are made before the server is ready are known by their names; hand over the channel itself')
  }
}

function byName (one: Declared, other: Declared): number {
  return one.name < other.name ? -1 : 1
}
