'use strict'

// What the contestants without a library write.

const HEADERS = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-cache, no-store, no-transform',
  'x-accel-buffering': 'no'
}

function frame ({ event, data }) {
  return `event: ${event}\ndata: ${data}\n\n`
}

/** A frame as a chunk of a body (RFC 9112 7.1). */
function chunk (event) {
  const text = frame(event)
  return `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`
}

module.exports = { HEADERS, chunk, frame }
