'use strict'

// The floor: a loop that throws the events away, so that what is measured is the source alone.

const { onFastify } = require('../host/fastify')
const { HEADERS } = require('../host/frame')

module.exports = onFastify(async (app, { source }) => {
  app.get('/events', async (request, reply) => {
    reply.hijack()
    reply.raw.writeHead(200, HEADERS).flushHeaders()
    await discard(await source())
    reply.raw.end()
  })
})

async function discard (events) {
  let last
  if (Symbol.asyncIterator in events) for await (const event of events) last = event
  else for (const event of events) last = event
  return last
}
