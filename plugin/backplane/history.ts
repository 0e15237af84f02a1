import { EveryItem, LatestItems, type HistoryItem, type HistoryOrder } from './history-order'
import type { HistoryLimits } from './types'

/**
 * The kept past of one channel. What is over a limit goes, the oldest first, so that what is left has no hole; an item
 * that is larger than `maxBytes` on its own leaves nothing.
 */
export class History<Item extends HistoryItem> {
  #limits: HistoryLimits
  #order: HistoryOrder<Item>
  #bytes = 0
  #floor: number
  #newest: number

  /** @param floor the offset after which it begins */
  constructor (limits: HistoryLimits, floor = 0) {
    this.#limits = limits
    this.#order = orderOf(limits)
    this.#floor = floor
    this.#newest = floor
  }

  /** Items. */
  get size (): number {
    return this.#order.size
  }

  get bytes (): number {
    return this.#bytes
  }

  /** The offset behind which nothing is missing, or, where only the newest of each name is kept, nothing that counts. */
  get floor (): number {
    return this.#floor
  }

  /** When the first item is too old, in milliseconds since 1970; `Infinity` if none ever is. */
  get expiresAt (): number {
    return (this.#order.oldest?.time ?? Infinity) + this.#limits.maxAge
  }

  /** Goes by other limits from now on. */
  limit (limits: HistoryLimits): void {
    const { isLatest } = this.#limits
    this.#limits = limits
    if (limits.isLatest !== isLatest) {
      const items = this.after(0)
      this.#restart(this.#floor)
      for (const item of items) this.#push(item)
    }
    this.#trim()
  }

  /** Keeps an item. One that does not follow the one before is a new beginning, unless only the newest are kept. */
  append (item: Item): void {
    this.#push(item)
    this.#trim()
  }

  /** At most `count` of the items after an offset, oldest first. */
  after (offset: number, count = Infinity): Item[] {
    return this.#order.after(offset, count)
  }

  /** Lets go of what is too old. */
  expire (now: number): void {
    this.#evictWhile(({ time }) => now - time >= this.#limits.maxAge)
  }

  #push (item: Item): void {
    if (item.offset !== this.#newest + 1 && !this.#limits.isLatest) this.#restart(item.offset - 1)
    this.#newest = item.offset
    const replaced = this.#order.push(item)
    this.#bytes += item.bytes - (replaced?.bytes ?? 0)
  }

  #trim (): void {
    this.#evictWhile(() => this.size > this.#limits.size || this.#bytes > this.#limits.maxBytes)
  }

  #evictWhile (isOver: (oldest: Item) => boolean): void {
    for (let { oldest } = this.#order; oldest !== undefined && isOver(oldest); { oldest } = this.#order) {
      this.#order.shift()
      this.#bytes -= oldest.bytes
      this.#floor = oldest.offset
    }
  }

  #restart (floor: number): void {
    this.#order = orderOf(this.#limits)
    this.#bytes = 0
    this.#floor = floor
    this.#newest = floor
  }
}

function orderOf<Item extends HistoryItem> ({ isLatest }: HistoryLimits): HistoryOrder<Item> {
  return isLatest ? new LatestItems() : new EveryItem()
}
