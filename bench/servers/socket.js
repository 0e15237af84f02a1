'use strict'

// The least that Node can do for a fan-out: one chunk, framed once, written to every socket.

const { createServer } = require('node:http')
const { HEADERS, frame } = require('../host/frame')
const { listen } = require('../host/listen')

module.exports = function ({ broadcaster }) {
  const sockets = new Set()
  broadcaster.by(event => {
    const text = frame(event)
    const chunk = Buffer.from(`${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`)
    for (const socket of sockets) socket.write(chunk)
  })

  return listen(createServer((request, response) => {
    response.writeHead(200, HEADERS).flushHeaders()
    sockets.add(response.socket)
    response.on('close', () => { sockets.delete(response.socket) })
    broadcaster.join()
  }))
}
