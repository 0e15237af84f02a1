'use strict'

// `res.write` in a loop, on node:http without a framework.

const { createServer } = require('node:http')
const { drain, forward } = require('../host/bare')
const { listen } = require('../host/listen')

module.exports = function ({ source, push }) {
  return listen(createServer((request, response) => {
    switch (request.url) {
      case '/events': return drain(source(), response)
      case '/pushed': return forward(push, response)
      default: response.end('one')
    }
  }))
}
