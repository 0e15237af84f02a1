'use strict'

const { createAdaptorServer } = require('@hono/node-server')
const { Hono } = require('hono')
const { streamSSE } = require('hono/streaming')
const { listen } = require('../host/listen')

module.exports = async function ({ source, push }) {
  const app = new Hono()

  app.get('/events', context => streamSSE(context, async stream => {
    for await (const event of source()) await stream.writeSSE(event)
  }))

  app.get('/pushed', context => streamSSE(context, stream => new Promise(resolve => {
    const stop = push(event => { stream.writeSSE(event) })
    stream.onAbort(() => { stop(); resolve() })
  })))

  app.get('/one', context => context.text('one'))

  return listen(createAdaptorServer({ fetch: app.fetch }))
}
