import { callBack } from '../call-back'
import type { BackplaneListener } from '../types'
import type { LiveConnection } from './connection'
import type { Link } from './link'
import { readMessage } from './message'

/** A channel that this process listens to. */
export class PubSubChannel {
  readonly name: string
  /** What its messages are published on. */
  readonly live: string
  /** What it is subscribed over. */
  link: Link<LiveConnection> | undefined
  /** What is being done about the subscription. */
  work: Promise<void> | undefined
  readonly #subscriptions = new Set<{ readonly listener: BackplaneListener }>()

  constructor (name: string, live: string) {
    this.name = name
    this.live = live
  }

  /** Whether somebody listens. */
  get isWanted (): boolean {
    return this.#subscriptions.size > 0
  }

  get isSubscribed (): boolean {
    return this.link !== undefined
  }

  /** @returns takes the listener off */
  add (listener: BackplaneListener): () => void {
    const subscription = { listener }
    this.#subscriptions.add(subscription)
    return () => { this.#subscriptions.delete(subscription) }
  }

  /** Tells what was published. What is not from a backplane is passed over. */
  tell (text: string): void {
    const message = readMessage(text)
    if (message === undefined) return
    for (const { listener } of this.#subscriptions) callBack(() => { listener.entry(message.epoch, message.entry) })
  }

  tellOfInterruption (): void {
    for (const { listener } of this.#subscriptions) callBack(() => { listener.interrupted() })
  }
}
