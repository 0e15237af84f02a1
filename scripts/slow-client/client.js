'use strict'

const { connect } = require('node:net')
const { Account } = require('./account')
const { Reader } = require('./reader')

// All read into the same memory, since all of it is looked at before the next is read.
const BUFFER = Buffer.alloc(256 * 1024)

/** A client that is told to come back, and then says which event it has last. */
class Client {
  account
  /** Settles when the connection is closed, with what was wrong, if anything was. */
  closed
  #port
  #path
  #socket
  #arrived

  /**
   * @param {object} options
   * @param {number} options.port
   * @param {string} [options.path]
   * @param {number} options.last the offset of the newest event there is
   * @param {boolean} [options.isNewestKept] whether the newest event of each name is kept for it when it is slow
   * @param {(offset: number, time: number) => void} arrived called for each event, with the time of its publication
   */
  constructor ({ port, path = '/', last, isNewestKept = false }, arrived) {
    this.#port = port
    this.#path = path
    this.#arrived = arrived
    this.account = new Account(last, isNewestKept)
  }

  /** Connects, and resolves when the stream is open. */
  open () {
    const { lastId } = this.account
    return new Promise((resolve, reject) => {
      this.#connect(resolve)
      this.closed.then(error => { reject(error ?? new Error('A connection was closed before its stream was open')) })
      const headers = ['host: 127.0.0.1', 'accept: text/event-stream', ...lastId === undefined ? [] : [`last-event-id: ${lastId}`]]
      this.#socket.write(`GET ${this.#path} HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n`)
    })
  }

  /** Reads nothing until it wakes. */
  stall () {
    this.#socket.pause()
  }

  wake () {
    this.#socket.resume()
  }

  #connect (opened) {
    const { account } = this
    const reader = new Reader({
      opened,
      event: (id, time) => { this.#arrived(account.event(id), time) },
      gap: (id, gap) => { account.gap(id, gap) }
    })
    let failure
    const callback = (length, buffer) => {
      try {
        if (failure === undefined) reader.read(buffer.subarray(0, length))
      } catch (error) {
        failure = error
        this.#socket.destroy()
      }
      return true
    }
    this.#socket = connect({ host: '127.0.0.1', port: this.#port, onread: { buffer: BUFFER, callback } })
    // A server that cuts a client off resets the connection.
    this.#socket.on('error', error => { if (error.code !== 'ECONNRESET') failure ??= error })
    this.closed = new Promise(resolve => { this.#socket.on('close', () => { resolve(failure) }) })
  }
}

module.exports = { Client }
