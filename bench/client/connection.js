'use strict'

// One connection of a client that reads events. It is a raw socket, and all read into one buffer, since it must cost less
// than any server.

const { createConnection } = require('node:net')
const { now } = require('../host/clock')
const { EventStreamReader } = require('./event-stream-reader')
const { SocketIoReader } = require('./socket-io-reader')
const { Tally } = require('./tally')
const { WebSocketReader } = require('./websocket-reader')

const BUFFER = Buffer.alloc(64 * 1024)
const READERS = {
  'event-stream': tally => new EventStreamReader(tally),
  'event-stream until the close': tally => new EventStreamReader(tally, false),
  websocket: tally => new WebSocketReader(tally),
  'socket.io': tally => new SocketIoReader(tally)
}

class Connection {
  /** When each event has arrived, in milliseconds of host/clock.js, since `time` was called. */
  arrivals = []
  #timedFrom = Infinity
  #socket
  #reader
  #pause
  #isClosed = false
  #mismatch
  #error
  #waiting = []

  /**
   * @param {object} options
   * @param {number} options.port
   * @param {string} [options.path]
   * @param {keyof READERS} [options.protocol]
   * @param {Tally} [options.tally] what is expected; all events from the first, in order, when it is not given
   * @param {string} [options.lastEventId] of a client that comes back
   * @param {number} [options.pause] milliseconds to wait after each read, for a slow reader
   */
  constructor ({ port, path = '/events', protocol = 'event-stream', tally = new Tally(), lastEventId, pause }) {
    const reader = this.#reader = READERS[protocol](tally)
    this.#pause = pause
    const callback = (length, buffer) => {
      try {
        reader.read(buffer, length)
      } catch (error) {
        this.#mismatch = error
        this.#socket.destroy()
      }
      this.#note()
      while (reader.answers?.length > 0) this.#socket.write(reader.answers.shift())
      if (this.#waiting.length > 0) this.#look()
      if (this.#pause === undefined) return true
      setTimeout(() => this.#socket.resume(), this.#pause)
      return false
    }
    this.#socket = createConnection({ host: '127.0.0.1', port, onread: { buffer: BUFFER, callback } })
    this.#socket.write(reader.request(path, lastEventId))
    this.#socket.on('error', error => { this.#error = error })
    this.#socket.on('close', () => {
      this.#isClosed = true
      this.#look()
    })
  }

  get events () { return this.#reader.tally.events }
  get isClosed () { return this.#isClosed }

  /** Resolves when so many events have arrived; there must not be more. */
  async received (events) {
    await this.#until(`${events} events`, ({ tally }) => tally.events >= events)
    this.#expect(events)
  }

  /** Reads on at full speed, and resolves when so many events have arrived or the server has closed the connection. */
  readOn (events) {
    this.#pause = undefined
    return this.#until(`${events} events or the close`, ({ tally }) => tally.events >= events || this.#isClosed)
  }

  /** Leaves what arrives unread, until `resume`. */
  hold () { this.#socket.pause() }
  resume () { this.#socket.resume() }

  /** Notes from now on when events arrive. */
  time () {
    this.#timedFrom = this.events
    this.arrivals = []
  }

  /** Resolves when a comment has arrived. */
  commented () {
    return this.#until('a comment', ({ tally }) => tally.comments > 0)
  }

  /** Resolves when the response has come to its proper end, with so many events. */
  async ended (events) {
    await this.#until('the end', ({ ended }) => ended)
    this.#expect(events)
  }

  /** Resolves when the connection is closed. */
  close () {
    this.#socket.destroy()
    return this.#until('the close', () => this.#isClosed)
  }

  #note () {
    const count = this.events - this.#timedFrom
    if (count <= this.arrivals.length) return
    const time = now()
    while (this.arrivals.length < count) this.arrivals.push(time)
  }

  #expect (events) {
    if (this.events !== events) throw new Error(`${this.events} events have arrived, and ${events} were sent`)
  }

  #until (what, isSo) {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ what, isSo, resolve, reject })
      this.#look()
    })
  }

  #look () {
    this.#waiting = this.#waiting.filter(({ what, isSo, resolve, reject }) => {
      if (this.#mismatch !== undefined) reject(this.#mismatch)
      else if (isSo(this.#reader)) resolve()
      else if (this.#isClosed) reject(new Error(`The connection was closed before ${what}, after ${this.events} events`, { cause: this.#error }))
      else return true
      return false
    })
  }
}

module.exports = { Connection }
