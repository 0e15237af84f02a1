'use strict'

const { NAMES } = require('./events')

/**
 * What a client has received of a channel, from one event on: it fails for anything that comes twice, out of order or
 * after a hole of which no gap event has told exactly.
 */
class Account {
  /** Events that have come, and those that gaps said are missing. */
  received = 0
  missing = 0
  /** The reasons of the gaps. */
  gaps = []
  #last
  #lastId
  #isNewestKept
  // Offsets that have to come next: what a slow client was left with.
  #kept = []

  /**
   * @param {number} last the offset after which it begins
   * @param {boolean} isNewestKept whether the newest event of each name is kept for who is slow
   */
  constructor (last, isNewestKept) {
    this.#last = last
    this.#isNewestKept = isNewestKept
  }

  /** The offset up to which it has everything, or knows that it is missing. */
  get last () { return this.#kept.length > 0 ? this.#kept[0] - 1 : this.#last }

  /** The ID of the last event. */
  get lastId () { return this.#lastId }

  /** Takes an event, and gives its offset. */
  event (id) {
    const offset = this.#offsetOf(id)
    const expected = this.#kept.shift() ?? this.#last + 1
    if (offset !== expected) throw new Error(`Event ${offset} has come in the place of ${expected}`)
    this.#last = Math.max(this.#last, offset)
    this.#lastId = id
    this.received++
    return offset
  }

  gap (id, { channel, reason, requested, resumedAt }) {
    if (channel !== 'news' || requested !== this.#lastId) throw new Error(`A gap of ${channel} after ${requested}, and not after ${this.#lastId}`)
    const at = this.#offsetOf(resumedAt)
    const isKept = reason === 'dropped' && this.#isNewestKept
    if (at <= this.#last || this.#kept.length > 0) throw new Error(`A gap up to ${resumedAt} after ${this.#last}`)
    if (id !== (isKept ? this.#lastId : resumedAt)) throw new Error(`A gap up to ${resumedAt} with the ID ${id}`)
    // The names come in turn, so that the newest event of each is one of the last.
    if (isKept) this.#kept = NAMES.map((_, index) => at - NAMES.length + 1 + index).filter(offset => offset > this.#last)
    this.missing += at - this.#last - this.#kept.length
    this.gaps.push(reason)
    this.#last = at
    this.#lastId = id
  }

  #offsetOf (id) {
    const [epoch, offset] = id.split('-')
    if (this.#lastId !== undefined && !this.#lastId.startsWith(`${epoch}-`)) throw new Error(`The ID ${id} after ${this.#lastId}`)
    return Number(offset)
  }
}

module.exports = { Account }
