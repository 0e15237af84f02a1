/** Counts whether each tick comes once, and each note. */
export class Sequence {
  received = 0
  missing = 0
  doubled = 0
  gaps = 0
  // By the clock, which counts from 1 again when the whole cluster was started anew.
  #last = new Map()
  #keys = new Set()

  /** @returns whether the tick is a new one */
  tick ({ clock, number }) {
    this.received++
    const last = this.#last.get(clock)
    if (number <= last) {
      this.doubled++
      return false
    }
    if (last !== undefined) this.missing += number - last - 1
    this.#last.set(clock, number)
    return true
  }

  /** @returns whether the note is a new one */
  note ({ key }) {
    if (this.#keys.has(key)) {
      this.doubled++
      return false
    }
    this.#keys.add(key)
    return true
  }

  /** The server has said that something is missing, or that it has no history any more. */
  gap () {
    this.gaps++
    this.#last.clear()
  }
}
