/** What a history needs to know of each thing that it keeps. */
export interface HistoryItem {
  readonly offset: number
  /** In milliseconds since 1970. */
  readonly time: number
  readonly event: string
  readonly bytes: number
}

/** Items in the order of their offsets: what comes is the newest, what goes is the oldest. */
export interface HistoryOrder<Item> {
  readonly size: number
  readonly oldest: Item | undefined
  /** Gives back the item that this one takes the place of. */
  push (item: Item): Item | undefined
  shift (): void
  /** Oldest first. */
  after (offset: number, count: number): Item[]
}

/** Every item, with contiguous offsets: a queue of two stacks, which holds nothing of what has gone. */
export class EveryItem<Item extends HistoryItem> implements HistoryOrder<Item> {
  #newer: Item[] = []
  // Newest first, so that the oldest is at the end, where an array gives its elements away for nothing.
  #older: Item[] = []

  get size (): number {
    return this.#older.length + this.#newer.length
  }

  get oldest (): Item | undefined {
    return this.#older.at(-1) ?? this.#newer[0]
  }

  push (item: Item): undefined {
    this.#newer.push(item)
  }

  shift (): void {
    if (this.#older.length === 0) {
      this.#older = this.#newer.reverse()
      this.#newer = []
    }
    this.#older.pop()
  }

  after (offset: number, count: number): Item[] {
    const first = this.oldest?.offset ?? 0
    const start = Math.max(0, offset + 1 - first)
    const end = start + count
    const older = this.#older.length
    return this.#older.slice(Math.max(0, older - end), Math.max(0, older - start)).reverse()
      .concat(this.#newer.slice(Math.max(0, start - older), Math.max(0, end - older)))
  }
}

/** The newest item of each event name: a linked list, since they go from everywhere in it. */
export class LatestItems<Item extends HistoryItem> implements HistoryOrder<Item> {
  readonly #byEvent = new Map<string, Link<Item>>()
  #first: Link<Item> | undefined
  #last: Link<Item> | undefined

  get size (): number {
    return this.#byEvent.size
  }

  get oldest (): Item | undefined {
    return this.#first?.item
  }

  push (item: Item): Item | undefined {
    const replaced = this.#byEvent.get(item.event)
    if (replaced !== undefined) this.#remove(replaced)
    const link = { item, older: this.#last, newer: undefined }
    if (this.#last === undefined) this.#first = link
    else this.#last.newer = link
    this.#last = link
    this.#byEvent.set(item.event, link)
    return replaced?.item
  }

  shift (): void {
    if (this.#first !== undefined) this.#remove(this.#first)
  }

  after (offset: number, count: number): Item[] {
    const items: Item[] = []
    for (let link = this.#last; link !== undefined && link.item.offset > offset; link = link.older) items.push(link.item)
    return items.reverse().slice(0, count)
  }

  #remove ({ item, older, newer }: Link<Item>): void {
    this.#byEvent.delete(item.event)
    if (older === undefined) this.#first = newer
    else older.newer = newer
    if (newer === undefined) this.#last = older
    else newer.older = older
  }
}

interface Link<Item> {
  readonly item: Item
  older: Link<Item> | undefined
  newer: Link<Item> | undefined
}
