'use strict'

const { Connection } = require('./connection')
const { Tally } = require('./tally')

/** Connections that are opened, asked and closed together. */
class Connections {
  #connections = []

  constructor (count = 0, options = {}) {
    this.add(count, options)
  }

  /** @param {number} [first] the first event that they will receive */
  add (count, { first, ...options }) {
    for (let n = 0; n < count; n++) this.#connections.push(new Connection({ ...options, tally: new Tally(first) }))
  }

  /** Every n-th of them, and all others. */
  split (nth) {
    const group = isIn => {
      const connections = new Connections()
      connections.#connections = this.#connections.filter((_, index) => isIn(index))
      return connections
    }
    return [group(index => index % nth === 0), group(index => index % nth > 0)]
  }

  received (events) { return this.#all(connection => connection.received(events)) }
  commented () { return this.#all(connection => connection.commented()) }
  ended (events) { return this.#all(connection => connection.ended(events)) }
  close () { return this.#all(connection => connection.close()) }
  hold () { for (const connection of this.#connections) connection.hold() }
  resume () { for (const connection of this.#connections) connection.resume() }
  time () { for (const connection of this.#connections) connection.time() }

  /**
   * How many milliseconds the events took that have arrived since `time` was called.
   *
   * @param {number[]} times when each of them was published
   */
  latencies (times) {
    return this.#connections.flatMap(({ arrivals }) => arrivals.map((arrival, n) => arrival - times[n]))
  }

  #all (ask) { return Promise.all(this.#connections.map(ask)) }
}

module.exports = { Connections }
