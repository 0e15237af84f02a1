import { setImmediate } from 'node:timers/promises'
import type { Backplane, BackplaneListener, BackplaneState, Entry, Message, Position, Tail } from '../../plugin/backplane/types'
import { FST_ERR_SSE_BACKPLANE, FST_ERR_SSE_CHANNEL_CLOSED } from '../../plugin/errors'
import type { Ledger } from './ledger'

/**
 * A backplane as one over a network is: all that it does takes a while, it can lose what it should bring, be out of
 * reach, and be replaced by another that has only a part of what it had. It keeps what the ledger says.
 */
export class RemoteBackplane implements Backplane {
  state: BackplaneState = 'connected'
  /** What is under way. */
  pending = 0
  readonly #ledger: Ledger
  readonly #delays: readonly number[]
  #delay = 0
  #epoch = 0
  #isReachable = true
  #isDeaf = false
  readonly #subscriptions = new Set<Subscription>()

  /** @param delays turns of the event loop, round and round */
  constructor (ledger: Ledger, delays: readonly number[]) {
    this.#ledger = ledger
    this.#delays = delays
    for (const channel of ledger.names) ledger.begin(channel, `r${this.#epoch++}`)
  }

  onStateChange (): void {}

  /** Whether those who ask now are answered. */
  get works (): boolean {
    return this.#isReachable && !this.#isDeaf
  }

  async publish (channel: string, message: Message): Promise<Position> {
    return this.#ask(() => {
      const era = this.#ledger.current(channel)
      if (era.isEnded) throw new FST_ERR_SSE_CHANNEL_CLOSED(channel)
      const entry = this.#ledger.add(channel, message)
      for (const subscription of this.#subscriptions) {
        if (subscription.channel === channel && !this.#isDeaf) this.#bring(subscription, era.epoch, entry)
      }
      return { epoch: era.epoch, offset: entry.offset }
    })
  }

  async read (channel: string, after: number): Promise<Tail> {
    return this.#ask(() => {
      const era = this.#ledger.current(channel)
      return {
        epoch: era.epoch,
        offset: era.top,
        floor: Math.max(after, era.floor),
        entries: era.after(after),
        isEnded: era.isEnded,
        continues: [...era.continues].map(([{ epoch }, offset]) => ({ epoch, offset }))
      }
    })
  }

  async position (channel: string): Promise<Position> {
    return this.#ask(() => {
      const { epoch, top } = this.#ledger.current(channel)
      return { epoch, offset: top }
    })
  }

  async subscribe (channel: string, listener: BackplaneListener): Promise<() => Promise<void>> {
    return this.#ask(() => {
      if (this.#isDeaf) throw new FST_ERR_SSE_BACKPLANE('it hears nothing')
      const subscription = { channel, listener, queue: [] }
      this.#subscriptions.add(subscription)
      return async () => { this.#subscriptions.delete(subscription) }
    })
  }

  async close (): Promise<void> {
    this.state = 'down'
    this.#subscriptions.clear()
  }

  /** From now on it brings nothing, and cannot be asked either, if it is not reachable. */
  fall (isReachable: boolean): void {
    this.#isDeaf = true
    this.#isReachable = isReachable
    this.state = isReachable ? 'connected' : 'degraded'
  }

  /** It works again, and says so. */
  rise (): void {
    this.#isDeaf = false
    this.#isReachable = true
    this.state = 'connected'
    for (const { listener } of this.#subscriptions) listener.interrupted()
  }

  /** It is replaced by another, which has what was published up to an offset, or nothing. */
  replace (channel: string, upTo: number | undefined): void {
    this.#ledger.begin(channel, `r${this.#epoch++}`, upTo)
    for (const { listener, channel: subscribed } of this.#subscriptions) if (subscribed === channel) listener.interrupted()
  }

  async #ask<Answer> (answer: () => Answer): Promise<Answer> {
    await this.#wait()
    if (!this.#isReachable) throw new FST_ERR_SSE_BACKPLANE('it is out of reach')
    const given = answer()
    await this.#wait()
    return given
  }

  /** In order, each after a while of its own. */
  async #bring (subscription: Subscription, epoch: string, entry: Entry): Promise<void> {
    const { queue, listener } = subscription
    if (queue.push([epoch, entry]) > 1) return
    while (queue[0] !== undefined) {
      await this.#wait()
      if (this.#subscriptions.has(subscription)) listener.entry(...queue[0])
      queue.shift()
    }
  }

  async #wait (): Promise<void> {
    this.pending++
    const turns = this.#delays[this.#delay++ % this.#delays.length] ?? 0
    for (let turn = 0; turn < turns; turn++) await setImmediate()
    this.pending--
  }
}

interface Subscription {
  readonly channel: string
  readonly listener: BackplaneListener
  readonly queue: Array<[epoch: string, entry: Entry]>
}
