'use strict'

const { createHistogram } = require('node:perf_hooks')
const { Client } = require('./client')

/** The clients that read all that comes. */
class Crowd {
  /** Milliseconds from the publication of an event to its arrival; a millisecond more, since 0 cannot be counted. */
  delays = createHistogram()
  events = 0
  /** Rejects when one of them is closed, or is sent what it should not be. */
  failed
  #clients
  #every
  #arrivals = new Map()
  #look = () => {}

  /**
   * @param {number} count
   * @param {number} every of how many events the arrival at all of them can be waited for
   * @param {object} options of the clients
   */
  constructor (count, every, options) {
    this.#every = every
    this.#clients = Array.from({ length: count }, () => new Client(options, (offset, time) => { this.#count(offset, time) }))
  }

  async open () {
    await Promise.all(this.#clients.map(client => client.open()))
    this.failed = Promise.race(this.#clients.map(async ({ account, closed }) => {
      throw await closed ?? new Error(`A client was cut off after ${account.received} events`)
    }))
    // At the end all are.
    this.failed.catch(() => {})
  }

  /** Waits until all have an event, which is one of those that can be waited for. */
  async reached (offset) {
    const all = new Promise(resolve => {
      this.#look = () => { if (offset <= 0 || this.#arrivals.get(offset) === this.#clients.length) resolve() }
    })
    this.#look()
    await Promise.race([all, this.failed])
  }

  /** Gaps that were told to any of them. */
  get gaps () {
    return this.#clients.flatMap(({ account }) => account.gaps)
  }

  #count (offset, time) {
    this.events++
    this.delays.record(Math.max(0, Date.now() - time) + 1)
    if (offset % this.#every !== 0) return
    this.#arrivals.set(offset, (this.#arrivals.get(offset) ?? 0) + 1)
    this.#look()
  }
}

module.exports = { Crowd }
