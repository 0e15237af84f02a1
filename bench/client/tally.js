'use strict'

const { stamp } = require('../event')

/** What a client has received on one connection, checked as it comes. */
class Tally {
  events = 0
  comments = 0
  #width

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

module.exports = { Tally }
