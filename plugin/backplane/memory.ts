import { FST_ERR_SSE_BACKPLANE, FST_ERR_SSE_CHANNEL, FST_ERR_SSE_CHANNEL_CLOSED } from '../errors'
import { show } from '../inspect'
import { checkOptions } from '../option-checks'
import { Alarm } from '../time'
import { callBack } from './call-back'
import { MemoryChannel } from './memory-channel'
import type { Backplane, BackplaneListener, BackplaneState, Entry, Message, Position, PublishOptions, Tail } from './types'

// Readers are never given what is too old: this is only how soon its memory is freed, in milliseconds.
const SWEEP_INTERVAL = 5_000
// When the channels are at their limit, so much of it is freed at once, so that it is not looked for again each time.
const FREED_AT_ONCE = 1 / 10

export interface MemoryBackplaneOptions {
  /**
   * Channels that are held at a time: those that are subscribed to or keep a history, and those that were used lately.
   * Default: 10,000.
   */
  readonly maxChannels?: number | undefined
}

/**
 * The backplane within one process. All that it keeps ends with the process.
 *
 * A channel that is not subscribed to and keeps nothing any more is forgotten a minute after it was used last, or ten
 * minutes if it has ended. Who uses it then begins a new epoch.
 *
 * @throws FST_ERR_SSE_OPTION for an option that is unknown or has a value that is not allowed
 */
export function memoryBackplane (options: MemoryBackplaneOptions = {}): Backplane {
  checkOptions(options, {
    maxChannels: ['a positive integer', value => Number.isSafeInteger(value) && Number(value) > 0]
  })
  return new MemoryBackplane(options.maxChannels ?? 10_000)
}

class MemoryBackplane implements Backplane {
  state: BackplaneState = 'connected'
  readonly #maxChannels: number
  readonly #channels = new Map<string, MemoryChannel>()
  readonly #stateListeners: Array<(state: BackplaneState) => void> = []
  readonly #sweepAlarm = new Alarm()
  #isSweepDue = false
  #untold: Array<[channel: MemoryChannel, entry: Entry]> = []

  constructor (maxChannels: number) {
    this.#maxChannels = maxChannels
  }

  onStateChange (changed: (state: BackplaneState) => void): void {
    this.#stateListeners.push(changed)
  }

  async publish (name: string, message: Message, options: PublishOptions): Promise<Position> {
    const channel = this.#use(name)
    const published = channel.publishedAt(options.idempotencyKey)
    if (published !== undefined) return published
    if (channel.isEnded) throw new FST_ERR_SSE_CHANNEL_CLOSED(show(name))
    const entry = channel.append(message, options)
    this.#tell(channel, entry)
    return { epoch: channel.epoch, offset: entry.offset }
  }

  async read (name: string, after: number): Promise<Tail> {
    return this.#use(name).read(after)
  }

  async position (name: string): Promise<Position> {
    return this.#use(name).position
  }

  async subscribe (name: string, listener: BackplaneListener): Promise<() => Promise<void>> {
    const channel = this.#use(name)
    const unsubscribe = channel.subscribe(listener)
    return async () => {
      if (!unsubscribe()) return
      channel.touch()
      this.#sweepLater()
    }
  }

  async close (): Promise<void> {
    if (this.state === 'down') return
    this.state = 'down'
    this.#sweepAlarm.clear()
    for (const channel of this.#channels.values()) channel.close()
    this.#channels.clear()
    for (const changed of this.#stateListeners) callBack(() => { changed('down') })
  }

  /**
   * @throws FST_ERR_SSE_BACKPLANE when the backplane was closed
   * @throws FST_ERR_SSE_CHANNEL when this would be a channel too many
   */
  #use (name: string): MemoryChannel {
    if (this.state === 'down') throw new FST_ERR_SSE_BACKPLANE('it was closed')
    let channel = this.#channels.get(name)
    if (channel === undefined) {
      this.#makeRoom(name)
      channel = new MemoryChannel()
      this.#channels.set(name, channel)
    }
    channel.touch()
    this.#sweepLater()
    return channel
  }

  #makeRoom (name: string): void {
    if (this.#channels.size >= this.#maxChannels) this.#expire()
    if (this.#channels.size < this.#maxChannels) return
    const idle = [...this.#channels]
      .filter(([, { idleAt }]) => idleAt < Infinity)
      .sort(([, one], [, other]) => one.idleAt - other.idleAt)
    if (idle.length === 0) {
      throw new FST_ERR_SSE_CHANNEL(show(name), `there are ${this.#maxChannels} already; raise 'maxChannels' of memoryBackplane, or use fewer names`)
    }
    for (const [name] of idle.slice(0, Math.ceil(this.#maxChannels * FREED_AT_ONCE))) this.#channels.delete(name)
  }

  /** One after the other: what a listener publishes comes after what it was told, for the others too. */
  #tell (channel: MemoryChannel, entry: Entry): void {
    this.#untold.push([channel, entry])
    if (this.#untold.length > 1) return
    for (const [channel, entry] of this.#untold) channel.tell(entry)
    this.#untold = []
  }

  #sweepLater (): void {
    if (this.#isSweepDue) return
    this.#isSweepDue = true
    this.#sweepAlarm.setIn(SWEEP_INTERVAL, () => {
      this.#isSweepDue = false
      this.#expire()
      if ([...this.#channels.values()].some(({ canExpire }) => canExpire)) this.#sweepLater()
    })
  }

  /** Lets go of what is too old, and of the channels that nobody uses. */
  #expire (): void {
    const now = Date.now()
    for (const [name, channel] of this.#channels) {
      channel.expire(now)
      if (channel.idleAt <= now) this.#channels.delete(name)
    }
  }
}
