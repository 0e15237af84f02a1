import { randomInt } from 'node:crypto'
import { callBack } from './call-back'
import { History } from './history'
import type { BackplaneListener, Entry, Message, Position, PublishOptions, Tail } from './types'

const NOTHING_KEPT = { size: 0, maxAge: 0, maxBytes: 0, isLatest: false }

// How long a channel that nobody uses is remembered, in milliseconds, and one that has ended.
const IDLE = 60_000
const IDLE_ENDED = 600_000

/** A channel of the in-process backplane. */
export class MemoryChannel {
  readonly epoch = newEpoch()
  readonly #history = new History<KeptEntry>(NOTHING_KEPT)
  readonly #subscriptions = new Set<Subscription>()
  readonly #receipts = new Map<string, Receipt>()
  #offset = 0
  // Kept beside the history, where it would take the room of an event.
  #end: Entry | undefined
  #touchedAt = Date.now()

  get position (): Position {
    return { epoch: this.epoch, offset: this.#offset }
  }

  get isEnded (): boolean {
    return this.#end !== undefined
  }

  /** When it can be forgotten, in milliseconds since 1970, if nobody uses it until then; `Infinity` while it is of use. */
  get idleAt (): number {
    if (this.#subscriptions.size > 0 || this.#history.size > 0 || this.#receipts.size > 0) return Infinity
    return this.#touchedAt + (this.isEnded ? IDLE_ENDED : IDLE)
  }

  /** Whether time alone will change something of it. */
  get canExpire (): boolean {
    return Math.min(this.idleAt, this.#history.expiresAt) < Infinity || this.#receipts.size > 0
  }

  touch (): void {
    this.#touchedAt = Date.now()
  }

  /** Where the message with this key was published, if it was within its window. */
  publishedAt (key: string | undefined): Position | undefined {
    const receipt = key === undefined ? undefined : this.#receipts.get(key)
    return receipt === undefined || receipt.expiresAt <= Date.now() ? undefined : { epoch: this.epoch, offset: receipt.offset }
  }

  append (message: Message, { history, idempotencyKey, idempotencyWindow }: PublishOptions): Entry {
    const { event, data, isJson, isEnd } = message
    const time = Date.now()
    const bytes = Buffer.byteLength(event) + Buffer.byteLength(data)
    const entry = { offset: ++this.#offset, time, event, data, isJson, isEnd, bytes }
    this.#history.limit(history)
    if (isEnd) this.#end = entry
    else this.#history.append(entry)
    if (idempotencyKey !== undefined) {
      this.#receipts.set(idempotencyKey, { offset: entry.offset, expiresAt: time + idempotencyWindow })
    }
    return entry
  }

  read (after: number): Tail {
    this.#history.expire(Date.now())
    const entries: Entry[] = this.#history.after(after)
    if (this.#end !== undefined && this.#end.offset > after) entries.push(this.#end)
    return { ...this.position, floor: Math.max(after, this.#history.floor), entries, isEnded: this.isEnded }
  }

  /** @returns takes the listener off; says whether it was on */
  subscribe (listener: BackplaneListener): () => boolean {
    const subscription = { listener, after: this.#offset }
    this.#subscriptions.add(subscription)
    return () => this.#subscriptions.delete(subscription)
  }

  /** Tells those who were subscribed when the entry was published, and still are. */
  tell (entry: Entry): void {
    for (const { listener, after } of this.#subscriptions) {
      if (entry.offset > after) callBack(() => { listener.entry(this.epoch, entry) })
    }
  }

  /** Lets go of what is too old. */
  expire (now: number): void {
    this.#history.expire(now)
    for (const [key, { expiresAt }] of this.#receipts) {
      if (expiresAt <= now) this.#receipts.delete(key)
    }
  }

  /** Takes all listeners off. */
  close (): void {
    this.#subscriptions.clear()
  }
}

interface KeptEntry extends Entry {
  readonly bytes: number
}

interface Subscription {
  readonly listener: BackplaneListener
  /** It is told of what comes after this offset. */
  readonly after: number
}

/** That a message with an idempotency key was published. */
interface Receipt {
  readonly offset: number
  readonly expiresAt: number
}

const LETTERS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

function newEpoch (): string {
  return Array.from({ length: 6 }, () => LETTERS.charAt(randomInt(LETTERS.length))).join('')
}
