import type { FastifyRequest } from 'fastify'
import type { Backplane } from '../backplane/types'
import { FST_ERR_SSE_CHANNEL, FST_ERR_SSE_LIMIT } from '../errors'
import { show } from '../inspect'
import { Stats, type ChannelStats } from '../stats'
import { Ticker } from '../ticker'
import type { ResolvedChannelOptions } from './channel-options'
import { LiveChannel, type Flow } from './live-channel'
import { Merge } from './merge'
import { everything, type Pick } from './pick'

// What is too old is never given to anybody: this is only how soon its memory is freed.
const EXPIRY_MS = 20_000

/** A channel by its name and options. */
export interface Declared {
  readonly name: string
  readonly options: ResolvedChannelOptions
}

/** What is read: one or several channels, or what is picked of them. */
export interface Selection {
  readonly channels: readonly Declared[]
  readonly pick: Pick | undefined
  /** Whether events are replaced by others. */
  readonly isMapped: boolean
}

/** One who reads. */
export interface Member {
  /** The stream, if it is one. */
  readonly stream: { readonly request: FastifyRequest, disconnect (): void } | undefined
  /** Bytes that wait for it. */
  readonly waiting: number
  /** The server closes. */
  leave (): void
}

/** A flow that a member reads, until it is released. */
export interface Hold {
  readonly flow: Flow
  release (): void
}

interface Open {
  readonly value: LiveChannel
  readonly members: Set<Member>
}

/** What is read in this process: taken from the backplane once, with its first reader, and released with its last. */
export class Flows {
  readonly stats = new Stats()
  /** How many times streams were disconnected: whoever is being authorized meanwhile is to be asked again. */
  disconnects = 0
  readonly #backplane: Backplane
  readonly #maxChannels: number
  readonly #channels = new Map<string, Open>()
  readonly #expiries = new Ticker<LiveChannel>(channel => { channel.expire(Date.now()) })
  readonly #merges = new Map<string | Selection, { readonly value: Merge, holders: number }>()

  constructor (backplane: Backplane, maxChannels: number) {
    this.#backplane = backplane
    this.#maxChannels = maxChannels
  }

  /** Channels that are read, by their names. */
  get channels (): Record<string, ChannelStats> {
    return Object.fromEntries([...this.#channels].map(([name, { value, members }]) => [name, {
      subscribers: members.size,
      events: value.events,
      queued: [...members].reduce((sum, { waiting }) => sum + waiting, 0)
    }]))
  }

  /** Who reads a channel. */
  membersOf (name: string): readonly Member[] {
    return [...this.#channels.get(name)?.members ?? []]
  }

  /** Whether a member more may read. */
  hasRoom (channels: readonly Declared[]): boolean {
    return channels.every(({ name, options }) => (this.#channels.get(name)?.members.size ?? 0) < options.maxSubscribers)
  }

  /**
   * Takes what a member reads.
   *
   * @throws FST_ERR_SSE_CHANNEL when there are too many channels
   * @throws FST_ERR_SSE_LIMIT when a channel has as many subscribers as it may
   */
  hold (selection: Selection, member: Member): Hold {
    const { channels } = selection
    const live = this.#takeAll(channels, member)
    const [only] = live
    const isPlain = selection.pick === undefined
    const key = isPlain ? channels.map(({ name }) => name).join(',') : selection
    const flow = only !== undefined && live.length === 1 && isPlain ? only : this.#takeMerge(key, live, selection.pick ?? everything)
    return {
      flow,
      release: () => {
        if (flow !== only) this.#giveMergeBack(key)
        for (const { name } of channels) this.#giveBack(name, member)
      }
    }
  }

  /** Ends what is still being read. */
  close (): void {
    for (const { members } of this.#channels.values()) for (const member of members) member.leave()
  }

  #takeAll (channels: readonly Declared[], member: Member): LiveChannel[] {
    if (!this.hasRoom(channels)) throw new FST_ERR_SSE_LIMIT()
    const missing = channels.filter(({ name }) => !this.#channels.has(name))
    if (missing[0] !== undefined && this.#channels.size + missing.length > this.#maxChannels) {
      throw new FST_ERR_SSE_CHANNEL(show(missing[0].name), `${this.#maxChannels} channels are being read already; raise 'maxChannels', or use fewer`)
    }
    return channels.map(declared => {
      const channel = this.#channels.get(declared.name) ?? this.#open(declared)
      channel.members.add(member)
      return channel.value
    })
  }

  #open ({ name, options }: Declared): Open {
    const channel = { value: new LiveChannel(name, this.#backplane, options.history), members: new Set<Member>() }
    this.#channels.set(name, channel)
    this.#expiries.add(channel.value, EXPIRY_MS)
    return channel
  }

  #giveBack (name: string, member: Member): void {
    const channel = this.#channels.get(name)
    channel?.members.delete(member)
    if (channel === undefined || channel.members.size > 0) return
    this.#channels.delete(name)
    this.#expiries.remove(channel.value, EXPIRY_MS)
    channel.value.stop()
  }

  #takeMerge (key: string | Selection, channels: readonly LiveChannel[], pick: Pick): Merge {
    const merge = this.#merges.get(key) ?? { value: new Merge(channels, pick), holders: 0 }
    this.#merges.set(key, merge)
    merge.holders++
    return merge.value
  }

  #giveMergeBack (key: string | Selection): void {
    const merge = this.#merges.get(key)
    if (merge === undefined || --merge.holders > 0) return
    this.#merges.delete(key)
    merge.value.stop()
  }
}
