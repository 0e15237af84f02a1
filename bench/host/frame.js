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

module.exports = { HEADERS, frame }
