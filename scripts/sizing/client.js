'use strict'

const { fork } = require('node:child_process')
const { once } = require('node:events')
const { connect } = require('node:net')
const { join } = require('node:path')

/** Starts a server in a process of its own. */
async function startServer (...args) {
  const child = fork(join(__dirname, 'server.js'), args.map(String), { execArgv: ['--expose-gc'] })
  const [port] = await once(child, 'message')
  const ask = async act => {
    child.send(act)
    return (await once(child, 'message'))[0]
  }
  return { port, ask, end: () => child.disconnect() }
}

/** Opens streams, some at a time, and counts how often the data of an event has come on all of them together. */
async function openStreams (port, count, lastEventId) {
  const streams = { sockets: [], events: 0, lastId: '', onEvent: () => {} }
  const header = lastEventId === undefined ? '' : `Last-Event-ID: ${lastEventId}\r\n`
  for (let opened = 0; opened < count; opened += 250) {
    await Promise.all(Array.from({ length: Math.min(250, count - opened) }, async () => {
      const socket = connect(port, '127.0.0.1')
      socket.setEncoding('latin1').on('error', () => {})
      socket.write(`GET /feed HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n${header}\r\n`)
      const isOpen = once(socket, 'data')
      socket.on('data', chunk => {
        streams.events += chunk.split('\ndata: ').length - 1
        streams.lastId = /^id: (.*)$/m.exec(chunk)?.[1] ?? streams.lastId
        streams.onEvent()
      })
      streams.sockets.push(socket)
      await isOpen
    }))
  }
  streams.until = events => new Promise(resolve => {
    streams.onEvent = () => { if (streams.events >= events) resolve() }
    streams.onEvent()
  })
  return streams
}

module.exports = { startServer, openStreams }
