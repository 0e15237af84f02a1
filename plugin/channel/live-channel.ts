import { History } from '../backplane/history'
import type { Backplane, Entry, HistoryLimits, Position, Tail } from '../backplane/types'
import type { Start } from './cursor'
import type { GapReason } from './gap'
import { Item } from './item'
import { Log } from './log'
import { fromId, LONGEST_ID, toId } from './position'
import { Upstream, type Downstream } from './upstream'

/** Where a reader wants to begin: with what comes now, with the oldest event that is kept, or after the one with an ID. */
export type From = 'latest' | 'earliest' | { readonly id: string }

/** Hears of each event of a channel as it comes, before those who read its log. */
export interface Follower {
  item (item: Item): void
  /** @param at where the channel ended */
  closed (at: Position): void
  failed (error: unknown): void
}

/** What can be read: a channel, or several that were made one. */
export interface Flow {
  readonly name: string
  readonly log: Log
  /**
   * Finds the place where a reader begins.
   *
   * @throws FST_ERR_SSE_CHANNEL when there are too many channels
   * @throws FST_ERR_SSE_BACKPLANE when the backplane was closed
   */
  start (from: From): Promise<Start>
}

/** Where a reader of one channel begins. */
export interface ChannelStart extends Start {
  readonly first: readonly Item[]
}

/**
 * A channel that somebody in this process reads: its events in one log, without a hole or with a gap that tells of it,
 * and a copy of the history, which is read once for all who come back.
 */
export class LiveChannel implements Flow, Downstream {
  readonly name: string
  readonly log = new Log(Item.start({ epoch: '', offset: 0 }))
  readonly followers = new Set<Follower>()
  readonly #limits: HistoryLimits
  readonly #upstream: Upstream
  /** Events that have come. */
  events = 0
  #history: History<Item>
  #backfilling: Promise<void> | undefined
  #epoch: Epoch = { epoch: '' }
  #beganAt = 0
  // An epoch that was found to be none of this channel's.
  #strange = ''

  constructor (name: string, backplane: Backplane, limits: HistoryLimits) {
    this.name = name
    this.#limits = limits
    this.#history = new History(limits)
    this.#upstream = new Upstream(backplane, name, limits, this)
  }

  async start (from: From): Promise<ChannelStart> {
    await this.#upstream.begun
    if (from === 'latest') return { id: this.log.tail.id, at: this.log.tail, first: [], after: this.log.tail }
    const position = from === 'earliest' ? undefined : fromId(from.id)
    if (position !== undefined && this.#isNews(position)) await this.#meet(position)
    if (from === 'earliest' || (position !== undefined && !this.#isAtHand(position))) await this.#backfillOnce()
    this.expire(Date.now())
    return from === 'earliest' ? this.#startAfter(this.#history.floor) : this.#resume(from.id, position)
  }

  /** Lets go of what is too old. */
  expire (now: number): void {
    this.#history.expire(now)
  }

  stop (): void {
    this.#upstream.stop()
  }

  begin (tail: Tail): void {
    const { tail: last } = this.log
    let at: Position = { epoch: tail.epoch, offset: tail.offset }
    if (last.epoch !== '') {
      const { position, reason } = carryOver(last, tail.floor, tail)
      at = position
      if (reason !== undefined) this.#append(this.#gap(reason, last.id, at))
    }
    this.#epoch = tail
    this.#beganAt = at.offset
    this.#history = new History(this.#limits, at.offset)
    this.#backfilling = undefined
    this.log.append(Item.start(at))
    for (const entry of tail.entries) if (entry.offset > at.offset && !entry.isEnd) this.entry(entry)
  }

  entry (entry: Entry): void {
    const item = new Item(this.#epoch.epoch, entry)
    this.events++
    this.#history.append(item)
    this.#append(item)
  }

  end ({ epoch, offset }: Position): void {
    const at = { epoch, offset }
    this.log.append(Item.start(at))
    this.log.close()
    for (const follower of this.followers) follower.closed(at)
  }

  fail (error: unknown): void {
    this.log.fail(error)
    for (const follower of this.followers) follower.failed(error)
  }

  #append (item: Item): void {
    this.log.append(item)
    for (const follower of this.followers) follower.item(item)
  }

  /** Whether another process may know more of a position than this one does by now. */
  #isNews ({ epoch, offset }: Position): boolean {
    if (epoch === this.#epoch.epoch) return offset > this.log.tail.offset
    return epoch !== this.#strange && this.#epoch.continues?.some(one => one.epoch === epoch) !== true
  }

  async #meet ({ epoch }: Position): Promise<void> {
    await this.#upstream.read(false)
    this.#strange = epoch
  }

  #isAtHand ({ epoch, offset }: Position): boolean {
    return epoch === this.#epoch.epoch && offset >= this.#history.floor
  }

  /** For all who come back; if it fails, for those who have come by then. */
  async #backfillOnce (): Promise<void> {
    this.#backfilling ??= this.#backfill().catch(error => {
      this.#backfilling = undefined
      throw error
    })
    await this.#backfilling
  }

  /** Puts what the backplane has kept before what this process has seen. */
  async #backfill (): Promise<void> {
    const tail = await this.#upstream.read(true)
    // What this process has let go of already is newer than all that would come before it.
    if (this.#history.floor > this.#beganAt) return
    const seen = this.#history.after(0)
    // Where nothing is kept here, nothing has come since the channel began: the log ends with its start.
    let next = seen[0] ?? this.log.tail
    const upTo = seen[0]?.offset ?? next.offset + 1
    const older = tail.entries.filter(({ offset, isEnd }) => offset < upTo && !isEnd).map(entry => new Item(tail.epoch, entry))
    for (const item of older.toReversed()) {
      item.next = next
      item.end = next.end - next.size
      next = item
    }
    this.#history = new History(this.#limits, tail.floor)
    for (const item of [...older, ...seen]) this.#history.append(item)
  }

  #resume (id: string, position: Position | undefined): ChannelStart {
    const { tail } = this.log
    if (position === undefined) return this.#startWithGap('unknown', id, tail.offset)
    const { position: { offset }, reason } = carryOver(position, this.#history.floor, this.#epoch)
    if (reason !== undefined) return this.#startWithGap(reason, id, offset)
    if (offset > tail.offset) return this.#startWithGap('ahead', id, tail.offset)
    return this.#startAfter(offset)
  }

  #startWithGap (reason: GapReason, id: string, offset: number): ChannelStart {
    const requested = id.slice(0, LONGEST_ID)
    const start = this.#startAfter(offset)
    return { ...start, id: requested, first: [this.#gap(reason, requested, start.at), ...start.first] }
  }

  #startAfter (offset: number): ChannelStart {
    const at = { epoch: this.#epoch.epoch, offset }
    const [item] = this.#limits.isLatest ? [] : this.#history.after(offset - 1, 1)
    return {
      id: toId(at),
      at,
      first: this.#limits.isLatest ? this.#history.after(offset) : [],
      after: item === undefined ? this.log.tail : item.offset === offset ? item : startBefore(item)
    }
  }

  #gap (reason: GapReason, requested: string, at: Position): Item {
    return Item.gap({ channel: this.name, reason, requested, resumedAt: toId(at) }, at, toId(at))
  }
}

/** A place after which an item is the next. */
function startBefore (item: Item): Item {
  const start = Item.start({ epoch: item.epoch, offset: item.offset - 1 })
  start.end = item.end - item.size
  start.next = item
  return start
}

/** Where a position is in an epoch; with a reason when events between are missing. */
function carryOver ({ epoch, offset }: Position, floor: number, here: Epoch): { position: Position, reason: GapReason | undefined } {
  const shared = epoch === here.epoch ? Infinity : here.continues?.find(one => one.epoch === epoch)?.offset ?? -1
  const reason = offset > shared ? 'epoch' : offset < floor ? 'evicted' : undefined
  return { position: { epoch: here.epoch, offset: Math.max(floor, Math.min(offset, shared)) }, reason }
}

/** An epoch, and those that it continues. */
type Epoch = Pick<Tail, 'epoch' | 'continues'>
