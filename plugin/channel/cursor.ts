import type { Position } from '../backplane/types'
import type { Stats } from '../stats'
import { Block } from './block'
import { Item } from './item'
import { LONGEST_BLOCK, type Log } from './log'

/** How a reader is relieved for whom too much waits: of the oldest events, or of all but the newest of each name. */
export type Dropping = 'drop-oldest' | 'latest'

/** Where a reader begins. */
export interface Start {
  /** The ID of the last event that it has, as it said it. */
  readonly id: string
  /** The place it goes on from, in a stream over one channel. */
  readonly at: Position
  /** What it reads first: what it has missed, or what nobody else is to see. */
  readonly first: readonly Item[]
  /** The item of the log after which it goes on. */
  readonly after: Item
}

/** The place of one reader in a log. */
export class Cursor {
  readonly #log: Log
  readonly #name: string
  readonly #stats: Stats
  // What only this reader is to see, the next one last.
  #own: Item[]
  // Bytes of that, where it is what a slow reader was left with.
  #kept = 0
  #after: Item
  // Bytes of the log that had passed before the reader came.
  #excused: number
  #lastId: string

  /** @param name of the channel, for gaps */
  constructor (log: Log, name: string, { id, first, after }: Start, stats: Stats) {
    this.#log = log
    this.#name = name
    this.#stats = stats
    this.#own = first.toReversed()
    this.#after = after
    this.#excused = log.behind(after)
    this.#lastId = id
    stats.replayed(first.filter(isNoGap).length + log.tail.offset - after.offset)
  }

  /** Bytes that wait for the reader. What it had missed before it came is not among them. */
  get waiting (): number {
    return this.#kept + this.#log.behind(this.#after) - this.#excused
  }

  /** Whether the channel has ended, and all of it was read. */
  get isAtEnd (): boolean {
    return this.#own.length === 0 && this.#log.isClosed && this.#log.next(this.#after) === undefined
  }

  /** Reads on by one event. */
  item (): Item | undefined {
    const item = this.#own.pop() ?? this.#next()
    if (item !== undefined) this.#hasRead(item)
    return item
  }

  /** Reads on by as many events as go well together. */
  block (): Block | undefined {
    if (this.#own.length > 0) return this.#ownBlock()
    const block = this.#log.blockAfter(this.#after)
    if (block === undefined) return undefined
    this.#moveTo(block.last)
    this.#lastId = block.last.id
    for (const gap of block.gaps) this.#stats.gap(gap)
    return block
  }

  /** Lets go of events until not more than so many bytes wait, and says so by a gap. */
  drop (dropping: Dropping, bytes: number): void {
    const left = dropping === 'latest' ? this.#newestOfEach(bytes) : []
    let dropped = this.#own.filter(isNoGap).length - left.length
    this.#own = []
    this.#kept = 0
    for (let item = this.#nextOver(bytes); item !== undefined; item = this.#nextOver(bytes)) if (isNoGap(item)) dropped++
    const { id } = this.#after
    // What was left is older than where the log goes on: whoever is cut off in between is to come back for the rest.
    const gap = { channel: this.#name, reason: 'dropped' as const, requested: this.#lastId, resumedAt: id }
    this.#own = [...left, Item.gap(gap, this.#after, left.length > 0 ? this.#lastId : id)]
    this.#kept = this.#own.reduce((sum, { size }) => sum + size, 0)
    this.#stats.dropped(this.#name, dropped)
  }

  /** Reads all, and keeps the newest event of each name; of these too the newest, the last first, up to so many bytes. */
  #newestOfEach (bytes: number): Item[] {
    const newest = new Map<string, Item>()
    const items = this.#own.filter(isNoGap).reverse()
    for (let item = this.#next(); item !== undefined; item = this.#next()) if (isNoGap(item)) items.push(item)
    let size = 0
    for (const item of items.reverse()) {
      if (newest.has(item.event) || (size += item.size) > bytes) continue
      newest.set(item.event, item)
    }
    this.#own = items
    return [...newest.values()]
  }

  #next (): Item | undefined {
    const next = this.#log.next(this.#after)
    if (next !== undefined) this.#moveTo(next)
    return next
  }

  #nextOver (bytes: number): Item | undefined {
    return this.waiting > bytes ? this.#next() : undefined
  }

  #moveTo (item: Item): void {
    this.#excused = Math.max(0, this.#excused - (item.end - this.#after.end))
    this.#after = item
  }

  #ownBlock (): Block {
    let text = ''
    let events = 0
    for (let item = this.#own.pop(); item !== undefined; item = text.length < LONGEST_BLOCK ? this.#own.pop() : undefined) {
      this.#hasRead(item)
      text += item.text
      events++
    }
    return new Block(text, events, [], this.#after)
  }

  #hasRead ({ id, gap, size }: Item): void {
    this.#lastId = id
    this.#kept = Math.max(0, this.#kept - size)
    if (gap !== undefined) this.#stats.gap(gap)
  }
}

function isNoGap ({ gap }: Item): boolean {
  return gap === undefined
}
