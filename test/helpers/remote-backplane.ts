import { setImmediate } from 'node:timers/promises'
import type { Backplane, BackplaneListener, BackplaneState, Entry, Message, Position, Tail } from '../../plugin/backplane/types'
import { FST_ERR_SSE_BACKPLANE, FST_ERR_SSE_CHANNEL_CLOSED } from '../../plugin/errors'
import type { Ledger } from './ledger'

interface Subscription {
  readonly channel: string
  readonly listener: BackplaneListener
  readonly queue: Array<[epoch: string, entry: Entry]>
}

/**
 * A server's connection to a backplane as one over a network is: all that it does takes a while, it may lose or hold back
 * what it should bring, and be cut. The backplane keeps what the ledger says.
 */
export class RemoteBackplane implements Backplane {
  state: BackplaneState = 'connected'
  /** What is under way. */
  pending = 0
  readonly #ledger: Ledger
  readonly #delays: readonly number[]
  readonly #all: Set<RemoteBackplane>
  readonly #subscriptions = new Set<Subscription>()
  #asked = 0
  #isReachable = true
  #isDeaf = false
  #isHeld = false

  /**
   * @param delays turns of the event loop, round and round
   * @param all connections to the backplane
   */
  constructor (ledger: Ledger, delays: readonly number[], all: Set<RemoteBackplane>) {
    this.#ledger = ledger
    this.#delays = delays
    this.#all = all.add(this)
  }

  /** Whether those who ask now are answered. */
  get works (): boolean {
    return this.#isReachable && !this.#isDeaf
  }

  onStateChange (): void {}

  async publish (channel: string, message: Message): Promise<Position> {
    return this.#ask(() => {
      const { epoch, isEnded } = this.#ledger.current(channel)
      if (isEnded) throw new FST_ERR_SSE_CHANNEL_CLOSED(channel)
      const entry = this.#ledger.add(channel, message)
      for (const connection of this.#all) connection.#hear(channel, epoch, entry)
      return { epoch, offset: entry.offset }
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
    this.#all.delete(this)
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
    if (this.works) return
    this.#isDeaf = false
    this.#isReachable = true
    this.state = 'connected'
    for (const channel of this.#ledger.names) this.interrupt(channel)
  }

  /** What it brings comes later: not before it is not held any more. */
  hold (isHeld: boolean): void {
    this.#isHeld = isHeld
    for (const subscription of isHeld ? [] : this.#subscriptions) this.#bring(subscription)
  }

  /** Messages of a channel may have been missed. */
  interrupt (interrupted: string): void {
    for (const { listener, channel } of this.#subscriptions) {
      if (channel === interrupted) this.#wait().then(() => { listener.interrupted() })
    }
  }

  #hear (published: string, epoch: string, entry: Entry): void {
    for (const subscription of this.#isDeaf ? [] : this.#subscriptions) {
      const { channel, queue } = subscription
      if (channel === published && queue.push([epoch, entry]) === 1) this.#bring(subscription)
    }
  }

  /** In order, each after a while of its own. */
  async #bring ({ queue, listener }: Subscription): Promise<void> {
    for (let [next] = queue; next !== undefined && !this.#isHeld; [next] = queue) {
      await this.#wait()
      if (this.#isHeld || next !== queue[0]) return
      queue.shift()
      if (this.state !== 'down') listener.entry(...next)
    }
  }

  async #ask<Answer> (answer: () => Answer): Promise<Answer> {
    await this.#wait()
    if (!this.#isReachable) throw new FST_ERR_SSE_BACKPLANE('it is out of reach')
    const given = answer()
    await this.#wait()
    return given
  }

  async #wait (): Promise<void> {
    this.pending++
    const turns = this.#delays[this.#asked++ % this.#delays.length] ?? 0
    for (let turn = 0; turn < turns; turn++) await setImmediate()
    this.pending--
  }
}
