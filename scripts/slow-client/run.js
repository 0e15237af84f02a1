'use strict'

const { Client } = require('./client')
const { Crowd } = require('./crowd')
const { DATA_BYTES } = require('./events')
const { ServerProcess } = require('./server-process')
const { within } = require('./within')

const MIB = 1024 * 1024
// Events that are published at a time, and how many of them a client of the crowd may be behind.
const AT_ONCE = 4
const WINDOW = 2 * AT_ONCE
// More than a channel keeps for who comes back: memory that is in use whatever the clients do.
const WARM_UP_BYTES = 6 * MIB
// More than a system takes for a client that reads nothing; the rest has to wait in the server.
const MOST_TAKEN_BYTES = 64 * MIB
const SAMPLED_EVERY_BYTES = 2 * MIB

/**
 * Publishes to a crowd of clients, and to one more that is stalled, and gives what was seen.
 *
 * @param {object} scenario one of scenarios.js
 * @param {object} size
 * @param {number} size.clients with the stalled one
 * @param {number} size.megabytes that are published at least while it is stalled
 */
async function run (scenario, { clients, megabytes }) {
  const server = new ServerProcess(scenario.plugin)
  try {
    return await new Run(server, scenario, await server.ask('port')).all(clients, megabytes * 1e6)
  } finally {
    await server.stop()
  }
}

class Run {
  #server
  #scenario
  #port
  #crowd
  #stalled
  #stalledArrived = () => {}
  #published = 0
  #peak = { heap: 0, rss: 0 }
  // Why the server has cut the stalled client off.
  #cut
  #isCut
  #isBack

  constructor (server, scenario, port) {
    this.#server = server
    this.#scenario = scenario
    this.#port = port
  }

  async all (clients, bytes) {
    const crowd = this.#crowd = new Crowd(clients - 1, AT_ONCE, { port: this.#port, last: 0 })
    await crowd.open()
    await this.#publish(() => this.#bytesAfter(0) >= WARM_UP_BYTES)
    const before = await this.#server.ask('memory')
    const [first, delivered, at] = [this.#published, crowd.events, performance.now()]
    crowd.delays.reset()

    await this.#open()
    await this.#publishUntilSlow(bytes)
    const seconds = (performance.now() - at) / 1000
    await this.#comeBack()
    await this.#publish(() => true)
    await within('the stalled client to have everything', this.#stalledHas(this.#published))

    const { dropped, streams: { closed } } = await this.#server.ask('stats')
    const { received, missing, gaps } = this.#stalled.account
    return {
      scenario: this.#scenario.name,
      clients,
      published: this.#published - first,
      seconds,
      others: {
        delivered: crowd.events - delivered,
        gaps: crowd.gaps.length,
        delay: { median: crowd.delays.percentile(50) - 1, worst: crowd.delays.max - 1 }
      },
      memory: { before, peak: this.#peak, after: await this.#server.ask('memory') },
      stalled: { received, missing, gaps, cut: this.#cut },
      dropped,
      closed
    }
  }

  /** Publishes until it is enough, no faster than the crowd takes it, and waits until the crowd has all of it. */
  async #publish (isEnough, between = () => {}) {
    do {
      this.#published = await this.#server.ask('publish', AT_ONCE)
      await this.#crowdHas(this.#published - WINDOW)
      await between()
    } while (!await isEnough())
    await this.#crowdHas(this.#published)
  }

  async #publishUntilSlow (bytes) {
    const first = this.#published
    let sampled = -SAMPLED_EVERY_BYTES
    await this.#publish(async () => {
      const published = this.#bytesAfter(first)
      if (published > bytes + MOST_TAKEN_BYTES) throw new Error('The stalled client was never too slow')
      return published >= bytes && await this.#isSlow()
    }, async () => {
      if (this.#bytesAfter(first) - sampled < SAMPLED_EVERY_BYTES) return
      sampled = this.#bytesAfter(first)
      await this.#sample()
    })
    await this.#sample()
  }

  async #open () {
    const { isStalled, plugin } = this.#scenario
    const options = { port: this.#port, path: '/stalled', last: this.#published, isNewestKept: plugin.slow === 'latest' }
    this.#stalled = new Client(options, () => { this.#stalledArrived() })
    await this.#stalled.open()
    if (isStalled) this.#stalled.stall()
    this.#isCut = this.#server.ask('cut').then(reason => { this.#cut = reason })
    if (this.#scenario.wakes === 'when it is cut off') this.#isBack = this.#isCut.then(() => this.#reconnect())
    // Whoever waits for it sees why it failed.
    Promise.all([this.#isCut, this.#isBack]).catch(() => {})
  }

  async #isSlow () {
    if (!this.#scenario.isStalled || this.#cut !== undefined) return true
    return (await this.#server.ask('stats')).dropped > 0
  }

  /** The stalled client reads on, and connects anew where it was cut off. */
  async #comeBack () {
    const { isStalled, cut } = this.#scenario
    if (!isStalled) return
    if (cut !== undefined) await within('the stalled client to be cut off', this.#isCut)
    await within('the stalled client to come back', this.#isBack ?? this.#reconnect())
  }

  async #reconnect () {
    this.#stalled.wake()
    if (this.#cut === undefined) return
    const error = await this.#stalled.closed
    if (error !== undefined) throw error
    await this.#stalled.open()
  }

  #crowdHas (offset) {
    return within(`all others to have event ${offset}`, this.#crowd.reached(offset))
  }

  #stalledHas (offset) {
    return new Promise((resolve, reject) => {
      this.#stalledArrived = () => { if (this.#stalled.account.last === offset) resolve() }
      this.#stalledArrived()
      this.#stalled.closed.then(error => { reject(error ?? new Error('The stalled client was cut off once more')) })
    })
  }

  #bytesAfter (offset) {
    return (this.#published - offset) * DATA_BYTES
  }

  async #sample () {
    const { heap, rss } = await this.#server.ask('memory')
    this.#peak = { heap: Math.max(heap, this.#peak.heap), rss: Math.max(rss, this.#peak.rss) }
  }
}

module.exports = { run }
