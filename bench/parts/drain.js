'use strict'

const { Connections } = require('../client/connections')

/**
 * Has a server stream `events` events on each of some connections, and checks that all of them arrive and that the
 * responses end. What is measured begins when all connections are there and ends when the last event has arrived.
 *
 * @returns {Promise<number>} microseconds of the server's CPU time for an event
 */
async function drain ({ server, contestant }, { connections, events, source, interval }) {
  await server.ask('prepare', { source: contestant.source ?? source, count: events, interval })
  const clients = new Connections(connections, { port: server.port, protocol: contestant.protocol })
  const arriving = contestant.silent ? 0 : events
  await server.ask('opened', connections)

  const before = await server.ask('begin')
  await Promise.all([server.ask('drained', connections), clients.received(arriving)])
  const after = await server.ask('cpu')

  await server.ask('finish')
  await clients.ended(arriving)
  await clients.close()
  await server.ask('settled')
  return (after - before) / (connections * events)
}

module.exports = { drain }
