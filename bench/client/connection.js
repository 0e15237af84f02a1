'use strict'

// One connection of a client that reads events, and a group of them. It runs on raw sockets that all read into one
// buffer, since it must cost less than any server.

const { createConnection } = require('node:net')
const { EventStreamReader } = require('./event-stream-reader')
const { WebSocketReader } = require('./websocket-reader')

const BUFFER = Buffer.alloc(64 * 1024)
const READERS = { 'event-stream': EventStreamReader, websocket: WebSocketReader }

class Connection {
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
   * @param {'event-stream' | 'websocket'} [options.protocol]
   * @param {number} [options.pause] milliseconds to wait after each read, for a slow reader
   */
  constructor ({ port, path = '/events', protocol = 'event-stream', pause }) {
    const reader = this.#reader = new READERS[protocol]()
    this.#pause = pause
    const callback = (length, buffer) => {
      try {
        reader.read(buffer, length)
      } catch (error) {
        this.#mismatch = error
        this.#socket.destroy()
      }
      if (this.#waiting.length > 0) this.#look()
      if (this.#pause === undefined) return true
      setTimeout(() => this.#socket.resume(), this.#pause)
      return false
    }
    this.#socket = createConnection({ host: '127.0.0.1', port, onread: { buffer: BUFFER, callback } })
    this.#socket.write(reader.request(path))
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

/** Connections that are opened, asked and closed together. */
class Connections {
  #connections

  constructor (count, options) {
    this.#connections = Array.from({ length: count }, () => new Connection(options))
  }

  /** @param {() => void} [arrived] called for each connection as soon as it has them */
  received (events, arrived) {
    return this.#all(async connection => {
      await connection.received(events)
      arrived?.()
    })
  }

  commented () { return this.#all(connection => connection.commented()) }
  ended (events) { return this.#all(connection => connection.ended(events)) }
  close () { return this.#all(connection => connection.close()) }

  #all (ask) { return Promise.all(this.#connections.map(ask)) }
}

module.exports = { Connection, Connections }
