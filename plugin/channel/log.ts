import { afterTurn, turnIsOver } from '../turn'
import { Block } from './block'
import type { Item } from './item'

// Blocks end where the offset is a multiple of this, so that readers who come from different places soon share theirs.
const ALIGNED_TO = 128
/** About how much goes out at once. */
export const LONGEST_BLOCK = 32 * 1024
// As many as a crowd of readers, who come back from different places, read at a time.
const KEPT_BLOCKS = 16

/** Who reads a log. */
export interface Reader {
  /** There is something new. */
  advance (): void
  /** Nothing will come any more: the events cannot be had. */
  fail (error: unknown): void
}

/**
 * The events of a channel as its readers see them: a linked list, in which each reader has a place of its own, so that
 * one who is slow holds only what he has not read, and nothing is queued twice. What comes in one turn of the event
 * loop is told to the readers at once.
 */
export class Log {
  readonly #readers = new Set<Reader>()
  readonly #blocks = new Map<Item, Block>()
  #tail: Item
  #isClosed = false
  #news: 'none' | 'due' | 'telling' | 'telling, more due' = 'none'

  constructor (start: Item) {
    this.#tail = start
  }

  /** The newest event: who begins here reads what comes from now on. */
  get tail (): Item {
    return this.#tail
  }

  append (item: Item): void {
    item.end = this.#tail.end + item.size
    this.#tail.next = item
    this.#tail = item
    this.#announce()
  }

  /** Nothing will come after the newest event. */
  close (): void {
    this.#isClosed = true
    this.#announce()
  }

  get isClosed (): boolean {
    return this.#isClosed
  }

  #announce (): void {
    if (this.#news === 'telling') this.#news = 'telling, more due'
    else if (this.#news === 'none' && this.#readers.size > 0) this.#tellLater()
  }

  add (reader: Reader): void {
    this.#readers.add(reader)
  }

  remove (reader: Reader): void {
    this.#readers.delete(reader)
  }

  fail (error: unknown): void {
    for (const reader of this.#readers) reader.fail(error)
  }

  /** Bytes of the text after an item. */
  behind (item: Item): number {
    return this.#tail.end - item.end
  }

  /** The event after an item. */
  next (item: Item): Item | undefined {
    let { next } = item
    // Where somebody once began nothing is to be read.
    while (next?.text === '') next = next.next
    return next
  }

  /** What comes after an item, up to some length, joined once for all who are there. */
  blockAfter (item: Item): Block | undefined {
    const first = this.next(item)
    if (first === undefined) return undefined
    let block = this.#blocks.get(first)
    if (block === undefined) this.#keep(first, block = this.#join(first))
    return block
  }

  #join (first: Item): Block {
    let { text } = first
    let events = 1
    let last = first
    const gaps = first.gap === undefined ? [] : [first.gap]
    for (let item = this.next(first); item !== undefined && last.offset % ALIGNED_TO !== 0; item = this.next(item)) {
      if (text.length + item.text.length > LONGEST_BLOCK) break
      text += item.text
      events++
      last = item
      if (item.gap !== undefined) gaps.push(item.gap)
    }
    return new Block(text, events, gaps, last)
  }

  #keep (first: Item, block: Block): void {
    this.#blocks.set(first, block)
    const [oldest] = this.#blocks.keys()
    if (oldest !== undefined && this.#blocks.size > KEPT_BLOCKS) this.#blocks.delete(oldest)
  }

  #tellLater (): void {
    this.#news = 'due'
    setImmediate(() => {
      this.#news = 'telling'
      this.#tell(this.#readers.values())
    })
  }

  /** In slices, so that many readers do not keep the event loop for themselves. */
  #tell (readers: Iterator<Reader>): void {
    for (let next = readers.next(); next.done !== true; next = readers.next()) {
      next.value.advance()
      if (turnIsOver()) return afterTurn(() => { this.#tell(readers) })
    }
    if (this.#news === 'telling, more due') this.#tellLater()
    else this.#news = 'none'
  }
}
