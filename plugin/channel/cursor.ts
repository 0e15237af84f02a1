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
  /** What it reads first: what it has missed, or what nobody else is to see. May be made only as it is read. */
  readonly first: Iterable<Item>
  /** The item of the log after which it goes on. */
  readonly after: Item
}

/** The place of one reader in a log. */
export class Cursor {
  readonly #log: Log
  readonly #name: string
  readonly #stats: Stats
  #first: Iterator<Item> | undefined
  // What a slow reader was left with, the next one last.
  #left: Item[] = []
  // Bytes of that.
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
    this.#first = first[Symbol.iterator]()
    this.#after = after
    this.#excused = log.behind(after)
    this.#lastId = id
    stats.replayed(log.tail.offset - after.offset)
  }

  /** Bytes that wait for the reader. What it had missed before it came is not among them. */
  get waiting (): number {
    return this.#kept + this.#log.behind(this.#after) - this.#excused
  }

  /** Whether all that there is was read. */
  get isEmpty (): boolean {
    return this.#first === undefined && this.#left.length === 0 && this.#log.next(this.#after) === undefined
  }

  /** Whether the channel has ended, and all of it was read. To be asked when there was nothing to read. */
  get isAtEnd (): boolean {
    return this.#log.isClosed && this.isEmpty
  }

  /** Reads on by one event. */
  item (): Item | undefined {
    const item = this.#nextOwn() ?? this.#next()
    if (item !== undefined) this.#hasRead(item)
    return item
  }

  /** Reads on by as many events as go well together. */
  block (): Block | undefined {
    const own = this.#nextOwn()
    if (own !== undefined) return this.#ownBlock(own)
    const block = this.#log.blockAfter(this.#after)
    if (block === undefined) return undefined
    this.#moveTo(block.last)
    this.#lastId = block.last.id
    for (const gap of block.gaps) this.#stats.gap(gap)
    return block
  }

  /** Lets go of events until not more than so many bytes wait, and says so by a gap. */
  drop (dropping: Dropping, bytes: number): void {
    const items: Item[] = []
    for (let item = this.#nextOwn(); item !== undefined; item = this.#nextOwn()) items.push(item)
    this.#kept = 0
    const upTo = dropping === 'latest' ? -Infinity : bytes
    for (let item = this.#nextOver(upTo); item !== undefined; item = this.#nextOver(upTo)) items.push(item)
    const events = items.filter(isNoGap)
    const left = dropping === 'latest' ? newestOfEach(events, bytes) : []
    const { id } = this.#after
    // What was left is older than where the log goes on: whoever is cut off in between is to come back for the rest.
    const gap = { channel: this.#name, reason: 'dropped' as const, requested: this.#lastId, resumedAt: id }
    this.#left = [...left, Item.gap(gap, this.#after, left.length > 0 ? this.#lastId : id)]
    this.#kept = this.#left.reduce((sum, { size }) => sum + size, 0)
    this.#stats.dropped(this.#name, events.length - left.length)
  }

  /** What only this reader is to see. */
  #nextOwn (): Item | undefined {
    const left = this.#left.pop()
    if (left !== undefined || this.#first === undefined) return left
    const { value } = this.#first.next()
    if (value === undefined) this.#first = undefined
    else if (isNoGap(value)) this.#stats.replayed(1)
    return value
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

  #ownBlock (first: Item): Block {
    let text = ''
    let events = 0
    for (let item: Item | undefined = first; item !== undefined; item = text.length < LONGEST_BLOCK ? this.#nextOwn() : undefined) {
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

/** The newest event of each name; of these too the newest, the last first, up to so many bytes. */
function newestOfEach (events: readonly Item[], bytes: number): Item[] {
  const newest = new Map<string, Item>()
  let size = 0
  for (const event of events.toReversed()) {
    if (newest.has(event.event) || (size += event.size) > bytes) continue
    newest.set(event.event, event)
  }
  return [...newest.values()]
}

function isNoGap ({ gap }: Item): boolean {
  return gap === undefined
}
