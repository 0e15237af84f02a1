import { setTimeout } from 'node:timers/promises'
import type { Backplane, BackplaneListener, Entry, HistoryLimits, Position, Tail } from '../backplane/types'
import { Alarm } from '../time'

const RETRY_MS = 1_000
// Of what arrives while something is read; when there is more, it is read as well.
const MOST_EARLY = 10_000

/** Where the messages of a channel go, in order and without a hole that was not told. */
export interface Downstream {
  /** Where the channel stands as its messages begin, or begin anew, after a hole that cannot be filled. */
  begin (tail: Tail): void
  /** The message after the one before. */
  entry (entry: Entry): void
  /** The message that there is no other any more. */
  end (at: Position): void
  /** What is missing cannot be read, now or later. */
  fail (error: unknown): void
}

/**
 * The messages of a channel as the backplane brings them, put in order: doubles are left out, and what is missing is
 * read. While the backplane cannot be read, it is asked again and again.
 */
export class Upstream implements BackplaneListener {
  /** Settles when the channel's messages have begun. */
  readonly begun: Promise<void>
  readonly #backplane: Backplane
  readonly #channel: string
  readonly #limits: HistoryLimits
  readonly #downstream: Downstream
  readonly #alarm = new Alarm()
  #unsubscribe: (() => Promise<void>) | undefined
  #top: Position = { epoch: '', offset: 0 }
  #isReading = true
  #isInterrupted = false
  #asked: Array<{ isWhole: boolean, resolve (tail: Tail): void, reject (error: unknown): void }> = []
  #early: Array<[epoch: string, entry: Entry]> = []
  #isStopped = false

  constructor (backplane: Backplane, channel: string, limits: HistoryLimits, downstream: Downstream) {
    this.#backplane = backplane
    this.#channel = channel
    this.#limits = limits
    this.#downstream = downstream
    this.begun = this.#begin()
    this.begun.catch(ignore)
  }

  entry (epoch: string, entry: Entry): void {
    if (!this.#isReading && this.#take(epoch, entry)) return
    if (this.#early.push([epoch, entry]) > MOST_EARLY) this.#early.shift()
    this.#catchUp()
  }

  interrupted (): void {
    this.#isInterrupted = true
    this.#catchUp()
  }

  /**
   * Reads what has come by now, as soon as it can be read, and brings what of it is new.
   *
   * @param isWhole whether all that is kept is read, and not only what is new
   * @throws FST_ERR_SSE_CHANNEL when there are too many channels
   * @throws FST_ERR_SSE_BACKPLANE when the backplane was closed, or this was stopped
   */
  read (isWhole: boolean): Promise<Tail> {
    return new Promise((resolve, reject) => {
      this.#asked.push({ isWhole, resolve, reject })
      this.#catchUp()
    })
  }

  stop (): void {
    this.#isStopped = true
    this.#alarm.clear()
    this.#unsubscribe?.().catch(ignore)
  }

  async #begin (): Promise<void> {
    const unsubscribe = await this.#patiently(() => this.#backplane.subscribe(this.#channel, this))
    if (this.#isStopped) return unsubscribe()
    this.#unsubscribe = unsubscribe
    const tail = await this.#readAfter(Number.MAX_SAFE_INTEGER)
    this.#anew(tail)
    this.#goOn(0)
  }

  /** Takes a message, if it is not one for which others have to be read. */
  #take (epoch: string, entry: Entry): boolean {
    if (epoch !== this.#top.epoch || entry.offset > this.#top.offset + 1) return false
    if (entry.offset > this.#top.offset) this.#bring(entry)
    return true
  }

  #catchUp (): void {
    if (this.#isReading) return
    this.#isReading = true
    this.#readOn().catch(error => { this.#fail(error) })
  }

  async #readOn (): Promise<void> {
    const asked = this.#asked.splice(0)
    const isOwn = this.#isInterrupted || this.#early.length > 0
    const known = this.#early.length
    this.#isInterrupted = false
    try {
      const tail = await this.#readNew(asked.some(({ isWhole }) => isWhole))
      for (const { resolve } of asked) resolve(tail)
    } catch (error) {
      for (const { reject } of asked) reject(error)
      if (isOwn) throw error
    }
    this.#goOn(known)
  }

  async #readNew (isWhole: boolean): Promise<Tail> {
    const { epoch, offset } = this.#top
    let tail = await this.#readAfter(isWhole ? 0 : offset)
    if (tail.epoch !== epoch) tail = await this.#readAfter(0)
    if (tail.epoch === epoch && tail.floor <= offset) {
      for (const entry of tail.entries) if (entry.offset > offset) this.#bring(entry)
      if (tail.isEnded) this.#downstream.end(tail)
    } else {
      this.#anew(tail)
    }
    return tail
  }

  #readAfter (offset: number): Promise<Tail> {
    return this.#patiently(() => this.#backplane.read(this.#channel, offset, this.#limits))
  }

  #anew (tail: Tail): void {
    this.#top = tail
    this.#downstream.begin(tail)
    if (tail.isEnded) this.#downstream.end(tail)
  }

  #bring (entry: Entry): void {
    this.#top = { epoch: this.#top.epoch, offset: entry.offset }
    if (entry.isEnd) this.#downstream.end(this.#top)
    else this.#downstream.entry(entry)
  }

  /**
   * Takes what came while something was read. What a later reading does not explain either is of an epoch that is over,
   * or of one that cannot be read yet: that is asked for once more, after a while.
   *
   * @param known how many had come before the reading
   */
  #goOn (known: number): void {
    this.#isReading = false
    const unexplained = this.#early.splice(0).flatMap(([epoch, entry], index) => this.#take(epoch, entry) ? [] : index)
    if (this.#isInterrupted || this.#asked.length > 0 || unexplained.some(index => index >= known)) this.#catchUp()
    else if (unexplained.length > 0) this.#alarm.setIn(RETRY_MS, () => { this.#catchUp() })
  }

  #fail (error: unknown): void {
    if (!this.#isStopped) this.#downstream.fail(error)
  }

  async #patiently<Result> (ask: () => Promise<Result>): Promise<Result> {
    for (;;) {
      try {
        return await ask()
      } catch (error) {
        if (this.#backplane.state === 'down' || !isAway(error)) throw error
        await setTimeout(RETRY_MS, undefined, { ref: false })
        if (this.#isStopped) throw error
      }
    }
  }
}

/** By its code: a backplane of the user's own makes its errors itself. */
function isAway (error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'FST_ERR_SSE_BACKPLANE'
}

function ignore (): void {}
