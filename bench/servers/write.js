'use strict'

// `res.write` in a loop, on node:http without a framework.

const { createServer } = require('node:http')
const { drain, forward } = require('../host/bare')
const { HEADERS, frame } = require('../host/frame')
const { listen } = require('../host/listen')

module.exports = function ({ source, push, broadcaster }) {
  const responses = new Set()
  broadcaster.by(event => {
    const text = frame(event)
    for (const response of responses) response.write(text)
  })

  return listen(createServer((request, response) => {
    switch (request.url) {
      case '/events': return drain(source(), response)
      case '/pushed': return forward(push, response)
      case '/channel': return join(response)
      default: response.end('one')
    }
  }))

  function join (response) {
    response.writeHead(200, HEADERS).flushHeaders()
    responses.add(response)
    response.on('close', () => { responses.delete(response) })
    broadcaster.join()
  }
}
