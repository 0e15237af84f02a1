'use strict'

const { numberOf, stamp } = require('../event')

/** What a client has received on one connection, checked as it comes. */
class Tally {
  /** What has been received, and those that came before the first that is expected. */
  events
  comments = 0
  #width

  /** @param {number} [first] the number of the first event that is expected */
  constructor (first = 0) {
    this.events = first
  }

  /** Takes the length of an event's data; it is the same in all events of a stream. */
  size (width) {
    this.#width ??= width
    if (width !== this.#width) throw new Error(`Event ${this.events} has ${width} bytes of data, those before had ${this.#width}`)
  }

  /** Takes the data of the newest event. */
  check (data) {
    const expected = stamp(this.events - 1)
    if (!data.includes(expected)) throw new Error(`Event ${this.events - 1} is not that of ${expected}: ${data.slice(0, 80)}`)
  }
}

/** Of events from several publishers at once: those of each come in their order, whatever comes in between. */
class MixedTally extends Tally {
  #each
  #newest = new Map()

  /** @param {number} each how many there are of each publisher: the first has those from 0, the next those after them */
  constructor (each) {
    super()
    this.#each = each
  }

  check (data) {
    const number = numberOf(data)
    const publisher = Math.floor(number / this.#each)
    const before = this.#newest.get(publisher) ?? publisher * this.#each - 1
    if (!(number > before)) throw new Error(`Event ${number} has come after event ${before}: ${data.slice(0, 80)}`)
    this.#newest.set(publisher, number)
  }
}

module.exports = { MixedTally, Tally }
