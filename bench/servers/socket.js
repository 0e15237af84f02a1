'use strict'

// The least that Node can do for a fan-out: one chunk, framed once, written to every socket.

const { createServer } = require('node:http')
const { HEADERS, chunk } = require('../host/frame')
const { listen } = require('../host/listen')

module.exports = function ({ broadcaster }) {
  const sockets = new Set()
  broadcaster.by(event => {
    const piece = Buffer.from(chunk(event))
    for (const socket of sockets) socket.write(piece)
  })

  return listen(createServer((request, response) => {
    response.writeHead(200, HEADERS).flushHeaders()
    sockets.add(response.socket)
    response.on('close', () => { sockets.delete(response.socket) })
    broadcaster.join()
  }))
}
