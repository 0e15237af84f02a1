'use strict'

// Reads the frames of a WebSocket, as little as it takes: each frame of text is an event (RFC 6455 5.2).

const { Head } = require('./head')

const TEXT = 0x81
const CLOSE = 0x88

class WebSocketReader {
  tally
  ended = false

  #head = new Head()
  // What has arrived of a frame that is not whole yet.
  #rest = Buffer.alloc(0)

  constructor (tally) {
    this.tally = tally
  }

  request (path) {
    return `GET ${path} HTTP/1.1\r\nhost: bench\r\nconnection: upgrade\r\nupgrade: websocket\r\n` +
      `sec-websocket-version: 13\r\nsec-websocket-key: ${Buffer.from('the key of bench').toString('base64')}\r\n\r\n`
  }

  /** Takes a piece of the response. The buffer is not kept. */
  read (buffer, length) {
    let at = this.#head.isWhole ? 0 : this.#readHead(buffer, length)
    if (this.#rest.length > 0) {
      buffer = Buffer.concat([this.#rest, buffer.subarray(0, length)])
      length = buffer.length
      at = 0
    }
    at = this.#readFrames(buffer, at, length)
    this.#rest = Buffer.from(buffer.subarray(at, length))
  }

  /** Whether the text that begins there is an event. */
  isEvent () {
    return true
  }

  #readHead (buffer, length) {
    const end = this.#head.read(buffer, length)
    const { isWhole, text } = this.#head
    if (isWhole && !text.startsWith('HTTP/1.1 101 ')) throw new Error(`Not the head of a WebSocket: ${text}`)
    return end
  }

  /** Gives back where the first frame begins that is not whole. */
  #readFrames (buffer, at, length) {
    const { tally } = this
    let from = -1
    let to = -1
    while (length - at >= 2) {
      const short = buffer[at + 1]
      if (short > 126) throw new Error('A frame of a length that no event has')
      const data = short < 126 ? at + 2 : at + 4
      if (data > length) break
      const end = data + (short < 126 ? short : buffer.readUInt16BE(at + 2))
      if (end > length) break
      if (buffer[at] === TEXT) {
        if (!this.isEvent(buffer, data)) {
          at = end
          continue
        }
        tally.size(end - data)
        tally.events++
        from = data
        to = end
      } else if (buffer[at] === CLOSE) {
        this.ended = true
      } else {
        throw new Error(`A frame that no event has: ${buffer[at]}`)
      }
      at = end
    }
    if (from >= 0) tally.check(buffer.latin1Slice(from, to))
    return at
  }
}

module.exports = { WebSocketReader }
