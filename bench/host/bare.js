'use strict'

// A response driven by hand: what a handler without any library does.

const { once } = require('node:events')
const { HEADERS, frame } = require('./frame')

/** Drains a source into a response, and heeds backpressure. */
async function drain (source, response) {
  response.writeHead(200, HEADERS)
  for await (const event of source) {
    if (!response.write(frame(event))) await once(response, 'drain')
  }
  response.end()
}

/** Writes to a response whatever is pushed. */
function forward (push, response) {
  response.writeHead(200, HEADERS)
  response.on('close', push(event => { response.write(frame(event)) }))
}

module.exports = { drain, forward }
