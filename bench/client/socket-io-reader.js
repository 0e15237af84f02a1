'use strict'

// Reads what socket.io sends over a WebSocket, from the handshake on, and answers what has to be answered: each packet
// is a frame of text that begins with its type in Engine.IO and, for a message, with that in Socket.IO.

const { WebSocketReader } = require('./websocket-reader')

const OPEN = '0'
const PING = '2'
const MESSAGE = '4'
const CONNECT = '0'
const EVENT = '2'

class SocketIoReader extends WebSocketReader {
  /** Frames that are to be sent to the server. */
  answers = []

  isEvent (buffer, at) {
    const [type, kind] = buffer.latin1Slice(at, at + 2)
    if (type === MESSAGE && kind === EVENT) return true
    if (type === OPEN) this.answers.push(frame(MESSAGE + CONNECT))
    else if (type === PING) this.answers.push(frame('3'))
    else if (type !== MESSAGE || kind !== CONNECT) throw new Error(`A packet that is not expected: ${type}${kind}`)
    return false
  }
}

/** What clients send is masked, here with zeros. */
function frame (text) {
  return Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0, ...Buffer.from(text)])
}

module.exports = { SocketIoReader }
