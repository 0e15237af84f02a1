'use strict'

// What a server streams, the same for every contestant: sources of events, behind two gates that the benchmark opens.
// The first holds the events back until all connections are there, the second keeps the responses open after the last
// event; between them is what is measured.

const { once } = require('node:events')
const { setImmediate, setTimeout } = require('node:timers/promises')
const { tick, medium, large } = require('../event')
const { now } = require('./clock')

class Gate {
  isOpen = false
  #pass
  passed = new Promise(resolve => { this.#pass = resolve })

  open () {
    this.isOpen = true
    this.#pass()
  }
}

/** Counts, and tells when a number is reached. */
class Counter {
  #count = 0
  #goal = Infinity
  #reached

  add () {
    if (++this.#count >= this.#goal) this.#reached()
  }

  reach (goal) {
    return new Promise(resolve => {
      if (this.#count >= goal) return resolve()
      this.#goal = goal
      this.#reached = resolve
    })
  }
}

class Workload {
  #source
  #count
  #interval
  #begin = new Gate()
  #finish = new Gate()
  /** Sources that were opened. */
  opened = new Counter()
  /** Sources that have given their last event. */
  drained = new Counter()

  /**
   * @param {object} options
   * @param {'burst' | 'sync' | 'signal' | 'paced'} options.source which of the sources below
   * @param {number} options.count events of each stream
   * @param {number} [options.interval] milliseconds before each event of `paced`
   */
  constructor ({ source, count, interval }) {
    this.#source = source
    this.#count = count
    this.#interval = interval
  }

  begin () { this.#begin.open() }
  finish () { this.#finish.open() }

  /** The source of one stream: an iterable, but for `sync` the promise of one. */
  source (stream) {
    return this[this.#source](stream)
  }

  /** Never waits between two events. */
  async * burst () {
    this.opened.add()
    await this.#begin.passed
    for (let n = 0; n < this.#count; n++) yield tick(n)
    this.drained.add()
    await this.#finish.passed
  }

  /** A sync iterable. It ends with its last event, since it cannot wait. */
  async sync () {
    this.opened.add()
    await this.#begin.passed
    return this.#ticks()
  }

  * #ticks () {
    for (let n = 0; n < this.#count; n++) yield tick(n)
    this.drained.add()
  }

  /** Waits for the end of its stream in place of the second gate, as a source should that holds something. */
  async * signal ({ signal }) {
    this.opened.add()
    await this.#begin.passed
    for (let n = 0; n < this.#count; n++) yield tick(n)
    this.drained.add()
    if (!this.#finish.isOpen) await once(signal, 'abort')
  }

  /** Waits before each event. */
  async * paced () {
    this.opened.add()
    await this.#begin.passed
    for (let n = 0; n < this.#count; n++) {
      await setTimeout(this.#interval)
      yield tick(n)
    }
    this.drained.add()
    await this.#finish.passed
  }
}

/** Pushes events to whoever listens, and does not care how fast they are. */
class Producer {
  #listeners = new Set()
  opened = new Counter()

  /** Gives back a function that ends it. */
  subscribe (listener) {
    this.#listeners.add(listener)
    this.opened.add()
    return () => { this.#listeners.delete(listener) }
  }

  /** Pushes events in small batches with a turn of the event loop in between, and calls back after each of `marks`. */
  async produce (count, marks, mark) {
    for (let n = 0; n < count; n++) {
      const event = large(n)
      for (const listener of this.#listeners) listener(event)
      if (n % 64 === 63) await setImmediate()
      if ((n + 1) % Math.ceil(count / marks) === 0) await mark()
    }
  }
}

/** Hands events to all who have joined: by what the server has for that, or else one after the other. */
class Broadcaster {
  #members = new Set()
  #broadcast = event => { for (const member of this.#members) member(event) }
  joined = new Counter()

  /** Takes the server's own way, which needs no list of who has joined. */
  by (broadcast) {
    this.#broadcast = broadcast
  }

  /** Gives back a function that leaves. */
  join (member = () => {}) {
    this.#members.add(member)
    this.joined.add()
    return () => { this.#members.delete(member) }
  }

  /** Nobody is there any more. */
  settle () {
    this.joined = new Counter()
  }

  /** All in one turn of the event loop. */
  publish (first, count) {
    for (let n = first; n < first + count; n++) this.#broadcast(medium(n))
  }

  /** One each so many milliseconds, as by a clock. Gives back when each was published, in milliseconds of clock.js. */
  async pace (first, count, interval) {
    const started = now()
    const times = []
    for (let n = 0; n < count; n++) {
      await setTimeout(Math.max(0, started + n * interval - now()))
      times.push(now())
      this.#broadcast(medium(first + n))
    }
    return times
  }

  /** As fast as they are confirmed, with some on their way at a time. */
  async pump (first, count, inFlight) {
    let next = first
    const lane = async () => {
      while (next < first + count) await this.#broadcast(medium(next++))
    }
    await Promise.all(Array.from({ length: inFlight }, lane))
  }
}

module.exports = { Broadcaster, Counter, Producer, Workload }
