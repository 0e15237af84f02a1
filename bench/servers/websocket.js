'use strict'

// The same events as JSON over a WebSocket. It has no `drain`: over the mark the callback of a send is waited for.

const websocketPlugin = require('@fastify/websocket')
const { onFastify } = require('../host/fastify')

const HIGH_WATER_MARK = 64 * 1024

module.exports = onFastify(async (app, { source, push, broadcaster }) => {
  await app.register(websocketPlugin)

  app.get('/events', { websocket: true }, async socket => {
    for await (const event of source()) {
      const text = JSON.stringify(event)
      if (socket.bufferedAmount < HIGH_WATER_MARK) socket.send(text)
      else await new Promise(resolve => { socket.send(text, resolve) })
    }
    socket.close()
  })

  app.get('/pushed', { websocket: true }, socket => {
    socket.on('close', push(event => { socket.send(JSON.stringify(event)) }))
  })

  app.get('/channel', { websocket: true }, socket => {
    socket.on('close', broadcaster.join(event => { socket.send(JSON.stringify(event)) }))
  })
})
