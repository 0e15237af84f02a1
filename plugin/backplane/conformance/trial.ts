import assert from 'node:assert/strict'
import { setTimeout } from 'node:timers/promises'
import type { Backplane, BackplaneListener, Entry, HistoryLimits, Message, Position, PublishOptions, Tail } from '../types'

const POLL_INTERVAL = 5

/** What a backplane does, and how to try it. */
export type Case = readonly [title: string, run: (trial: Trial) => Promise<void>]

/** Limits that no case comes near to. */
export const PLENTY: HistoryLimits = { size: 100_000, maxAge: 3_600_000, maxBytes: 2 ** 26, isLatest: false }

export const LATEST: HistoryLimits = { ...PLENTY, isLatest: true }

/** The whole numbers from the one to the other. */
export function range (first: number, last: number): number[] {
  return Array.from({ length: Math.max(0, last + 1 - first) }, (_, index) => first + index)
}

/** What a tail holds besides the end of the channel, which need not be kept. */
export function eventsOf ({ entries }: Tail): Entry[] {
  return entries.filter(({ isEnd }) => !isEnd).map(entryOf)
}

export function dataOf (entries: readonly Entry[]): string[] {
  return entries.map(({ data }) => data)
}

// A backplane may have fields of its own in an entry.
function entryOf ({ offset, time, event, data, isJson, isEnd }: Entry): Entry {
  return { offset, time, event, data, isJson, isEnd }
}

/** A listener that writes down what it hears. */
export class Ear implements BackplaneListener {
  readonly entries: Entry[] = []
  readonly epochs = new Set<string>()
  interruptions = 0
  readonly #onEntry: ((entry: Entry) => void) | undefined

  constructor (onEntry?: (entry: Entry) => void) {
    this.#onEntry = onEntry
  }

  entry (epoch: string, entry: Entry): void {
    this.epochs.add(epoch)
    this.entries.push(entryOf(entry))
    this.#onEntry?.(entry)
  }

  interrupted (): void {
    this.interruptions++
  }

  get offsets (): number[] {
    return this.entries.map(({ offset }) => offset)
  }
}

/** What a trial has from its suite. */
export interface Means {
  open (): Promise<Backplane>
  /** How long the backplane may take, in milliseconds. */
  readonly timeout: number
}

/** A channel of a backplane on trial. */
export class Trial {
  readonly backplane: Backplane
  readonly channel: string
  readonly #means: Means

  constructor (backplane: Backplane, channel: string, means: Means) {
    this.backplane = backplane
    this.channel = channel
    this.#means = means
  }

  /** The same channel in another instance of the backplane. */
  async elsewhere (): Promise<Trial> {
    return new Trial(await this.#means.open(), this.channel, this.#means)
  }

  /** Another channel of the same backplane. */
  beside (channel: string): Trial {
    return new Trial(this.backplane, channel, this.#means)
  }

  publish (message: Partial<Message>, options: Partial<PublishOptions> = {}): Promise<Position> {
    return this.backplane.publish(this.channel,
      { event: '', data: '', isJson: false, isEnd: false, ...message },
      { history: PLENTY, idempotencyKey: undefined, idempotencyWindow: 60_000, ...options })
  }

  /** Publishes events with these data, one after the other. */
  async publishAll (data: ReadonlyArray<string | number>, history = PLENTY): Promise<void> {
    for (const each of data) await this.publish({ data: String(each) }, { history })
  }

  end (history = PLENTY): Promise<Position> {
    return this.publish({ isEnd: true }, { history })
  }

  position (): Promise<Position> {
    return this.backplane.position(this.channel)
  }

  /** Reads what is kept, and checks what holds for all that can be read. */
  async read (after = 0, history = PLENTY): Promise<Tail> {
    const tail = await this.backplane.read(this.channel, after, history)
    const events = eventsOf(tail)
    const offsets = events.map(({ offset }) => offset)
    assert.ok(tail.floor >= after, `the floor, ${tail.floor}, must not be below the offset that was asked for, ${after}`)
    if (history.isLatest) {
      const places = range(tail.floor + 1, tail.offset).filter(offset => offsets.includes(offset))
      assert.deepEqual(offsets, places, 'the newest events must come in their order, none of them from before the floor')
      assert.equal(new Set(events.map(({ event }) => event)).size, events.length, 'of each event name there must be only one')
    } else {
      const last = tail.isEnded ? tail.offset - 1 : tail.offset
      assert.deepEqual(offsets, range(tail.floor + 1, last), 'the events must be all that follow the floor')
    }
    return tail
  }

  async listen (ear = new Ear()): Promise<Ear> {
    await this.backplane.subscribe(this.channel, ear)
    return ear
  }

  /** Waits until a listener has heard so many messages. */
  async untilHeard (ear: Ear, count: number): Promise<void> {
    await this.until(`${count} messages are heard`, () => ear.entries.length >= count,
      () => `; heard were ${ear.entries.length}, with ${ear.interruptions} interruptions`)
  }

  /** Waits until something is so. */
  async until (what: string, isSo: () => boolean | Promise<boolean>, seen = () => ''): Promise<void> {
    const deadline = Date.now() + this.#means.timeout
    while (!await isSo()) {
      assert.ok(Date.now() < deadline, `waited ${this.#means.timeout} ms until ${what}${seen()}`)
      await setTimeout(POLL_INTERVAL)
    }
  }

  /** Waits for a promise, but not for ever. */
  async inTime<Value> (promise: Promise<Value>): Promise<Value> {
    let isSettled = false
    const settled = promise.finally(() => { isSettled = true })
    await Promise.race([settled, this.until('it is done or refused', () => isSettled)])
    return settled
  }

  /** Sees that something is refused with an error of this code, and in time. */
  async refused (promise: Promise<unknown>, code: string): Promise<void> {
    await this.inTime(assert.rejects(promise, { code }))
  }
}
