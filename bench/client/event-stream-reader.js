'use strict'

// Reads an event stream from the bytes of a response: as little as it takes to count its events and to be sure of
// them, so that the server is what limits the speed. Each event is counted by its line of data, the length of the line
// is compared with that of the first, and of each piece that arrives the last event's content is compared.

const { Head } = require('./head')

const HEAD = [/^HTTP\/1\.1 200 /, /^content-type: text\/event-stream\b/im]
const CHUNKED = /^transfer-encoding: chunked$/im

const LF = 10
const CR = 13
const DIGIT_0 = 48
const DIGIT_9 = 57
const COLON = 58
const LETTER_A = 97
const LETTER_D = 100

class EventStreamReader {
  tally
  ended = false

  #head = new Head()
  // The chunk that is being read: what is left of it, or its size as far as it has arrived.
  #left = 0
  #size = 0
  #digits = 0
  #last = false
  // The line that is being read.
  #column = 0
  #isData = false
  #hasData = false
  // Where the data of the last whole event is in the piece that is being read; -1 if it is not, or not in one.
  #from = -1
  #to = -1
  #isChunked

  /** @param {boolean} [isChunked] whether the body comes in chunks, and not as it is until the connection is closed */
  constructor (tally, isChunked = true) {
    this.tally = tally
    this.#isChunked = isChunked
    if (!isChunked) this.#left = Infinity
  }

  request (path, lastEventId) {
    const resumption = lastEventId === undefined ? '' : `last-event-id: ${lastEventId}\r\n`
    return `GET ${path} HTTP/1.1\r\nhost: bench\r\naccept: text/event-stream\r\n${resumption}\r\n`
  }

  /** Takes a piece of the response. The buffer is not kept. */
  read (buffer, length) {
    this.#from = -1
    let at = this.#head.isWhole ? 0 : this.#readHead(buffer, length)
    while (at < length) {
      if (this.#left === 0) {
        at = this.#readSize(buffer, at, length)
      } else {
        const end = Math.min(length, at + this.#left)
        this.#readBody(buffer, at, end)
        this.#left -= end - at
        at = end
      }
    }
    if (this.#from >= 0) this.tally.check(buffer.latin1Slice(this.#from, this.#to))
  }

  #readHead (buffer, length) {
    const end = this.#head.read(buffer, length)
    const { isWhole, text } = this.#head
    if (isWhole && !(HEAD.every(line => line.test(text)) && CHUNKED.test(text) === this.#isChunked)) throw new Error(`Not the head of an event stream: ${text}\n${buffer.latin1Slice(end, length)}`)
    return end
  }

  /** Reads on in the line with the size of a chunk, or in the line break before it. */
  #readSize (buffer, at, length) {
    for (; at < length; at++) {
      const byte = buffer[at]
      if (byte === LF) {
        if (this.#digits === 0) {
          this.ended = this.#last
        } else {
          this.#left = this.#size
          this.#last = this.#size === 0
          this.#size = this.#digits = 0
          return at + 1
        }
      } else if (byte !== CR) {
        this.#size = this.#size * 16 + (byte <= DIGIT_9 ? byte - DIGIT_0 : (byte | 32) - LETTER_A + 10)
        this.#digits++
      }
    }
    return at
  }

  #readBody (buffer, at, end) {
    const { tally } = this
    let column = this.#column
    let isData = this.#isData
    let hasData = this.#hasData
    let from = -1
    let to = -1
    for (let i = at; i < end; i++) {
      const byte = buffer[i]
      if (byte !== LF) {
        if (column === 0) {
          isData = byte === LETTER_D
          if (isData) from = i
          else if (byte === COLON) tally.comments++
        }
        column++
      } else if (column > 0) {
        if (isData) {
          tally.size(column)
          hasData = true
          to = i
        }
        column = 0
      } else if (hasData) {
        tally.events++
        hasData = false
        this.#from = from
        this.#to = to
      }
    }
    this.#column = column
    this.#isData = isData
    this.#hasData = hasData
  }
}

module.exports = { EventStreamReader }
