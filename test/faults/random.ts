/** Numbers that look random, and are the same each time for the same seed: mulberry32. */
export class Random {
  #state: number

  constructor (seed: number) {
    this.#state = seed >>> 0
  }

  /** From 0 to below 1. */
  next (): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(this.#state ^ this.#state >>> 15, this.#state | 1)
    mixed = (mixed + Math.imul(mixed ^ mixed >>> 7, mixed | 61)) ^ mixed
    return ((mixed ^ mixed >>> 14) >>> 0) / 2 ** 32
  }

  /** An integer, the bounds included. */
  integer (min: number, max: number): number {
    return min + Math.floor(this.next() * (max - min + 1))
  }

  pick<One> (all: readonly One[]): One {
    const one = all[this.integer(0, all.length - 1)]
    if (one === undefined) throw new Error('there is nothing to pick from')
    return one
  }

  shuffle<One> (all: readonly One[]): One[] {
    const keyed = all.map(one => ({ one, key: this.next() }))
    return keyed.toSorted((a, b) => a.key - b.key).map(({ one }) => one)
  }
}
