'use strict'

// Reads event streams from the bytes of responses: as little as it takes to be sure of each event's ID and size, since
// one process reads for all clients.

const { DATA_BYTES, TIME_DIGITS } = require('./events')

const HEAD = /^HTTP\/1\.1 200 OK\r\n(?:.+\r\n)*?content-type: text\/event-stream\r\n(?:.+\r\n)*?transfer-encoding: chunked\r\n(?:.+\r\n)*?\r\n/i
const SIZE = /^([\da-f]+)\r\n/
const EVENT = new RegExp(`^id: (\\w+-\\d+)\nevent: (?!gap)\\w+\ndata: (\\d{${TIME_DIGITS}})`)
const GAP = /^id: (\w+-\d+)\nevent: gap\ndata: (.*)\n\n/
const COMMENT = /^:.*\n/

// More than a head, and the beginning of an event, are long.
const LOOKED_AT = 1024
// After a chunk, and after the data of an event.
const LINE_BREAKS = 2

class Reader {
  #handlers
  #isHeadRead = false
  // Of the chunk that is being read, with the line break after it.
  #left = 0
  // Of the event that is being read, whose beginning was understood.
  #skip = 0
  #event
  // What could not be understood yet.
  #unframed = Buffer.alloc(0)
  #body = Buffer.alloc(0)

  /**
   * @param {object} handlers
   * @param {() => void} handlers.opened
   * @param {(id: string, time: number) => void} handlers.event called when all of it has arrived
   * @param {(id: string, gap: object) => void} handlers.gap
   */
  constructor (handlers) {
    this.#handlers = handlers
  }

  /** Takes a piece of the response. It is not kept. */
  read (piece) {
    let bytes = this.#unframed.length === 0 ? piece : Buffer.concat([this.#unframed, piece])
    if (!this.#isHeadRead) {
      const [head] = HEAD.exec(bytes.toString('latin1', 0, LOOKED_AT)) ?? []
      if (head === undefined) return this.#keepUnframed(bytes, 'the head of an event stream')
      bytes = bytes.subarray(head.length)
      this.#isHeadRead = true
      this.#handlers.opened()
    }
    while (bytes.length > 0) {
      if (this.#left === 0) {
        const [line, size] = SIZE.exec(bytes.toString('latin1', 0, 20)) ?? []
        if (line === undefined) return this.#keepUnframed(bytes, 'the size of a chunk')
        this.#left = Number.parseInt(size, 16) + LINE_BREAKS
        bytes = bytes.subarray(line.length)
      }
      const taken = Math.min(this.#left, bytes.length)
      this.#readBody(bytes.subarray(0, Math.min(taken, Math.max(0, this.#left - LINE_BREAKS))))
      this.#left -= taken
      bytes = bytes.subarray(taken)
    }
    this.#unframed = bytes
  }

  #readBody (bytes) {
    if (this.#body.length > 0) bytes = Buffer.concat([this.#body, bytes])
    while (bytes.length > 0) {
      if (this.#skip === 0 && !(bytes = this.#begin(bytes))) return
      const skipped = Math.min(this.#skip, bytes.length)
      this.#skip -= skipped
      bytes = bytes.subarray(skipped)
      if (this.#event !== undefined && this.#skip === 0) this.#end()
    }
    this.#body = bytes
  }

  /** Reads the beginning of an event, or all of what is small; gives what comes after it, or nothing when it is cut off. */
  #begin (bytes) {
    const text = bytes.toString('latin1', 0, LOOKED_AT)
    const [beginning, id, time] = EVENT.exec(text) ?? []
    if (beginning !== undefined) {
      this.#event = { id, time: Number(time) }
      this.#skip = DATA_BYTES - TIME_DIGITS + LINE_BREAKS
      return bytes.subarray(beginning.length)
    }
    const [gap, at, data] = GAP.exec(text) ?? []
    if (gap !== undefined) this.#handlers.gap(at, JSON.parse(data))
    const small = gap ?? COMMENT.exec(text)?.[0]
    if (small !== undefined) return bytes.subarray(small.length)
    if (bytes.length >= LOOKED_AT) throw new Error(`Not an event: ${text}`)
    this.#body = Buffer.from(bytes)
    return undefined
  }

  #end () {
    const { id, time } = this.#event
    this.#event = undefined
    this.#handlers.event(id, time)
  }

  #keepUnframed (bytes, wanted) {
    if (bytes.length >= LOOKED_AT) throw new Error(`Not ${wanted}: ${bytes.toString('latin1', 0, LOOKED_AT)}`)
    this.#unframed = Buffer.from(bytes)
  }
}

module.exports = { Reader }
