'use strict'

const { Connection } = require('./connection')
const { MixedTally } = require('./tally')

/** Those who hear what processes publish: a client on each, or the process itself where it has no clients. */
class Audience {
  #servers
  #contestant
  #connections = []
  #gathered = 0

  constructor (servers, contestant) {
    this.#servers = servers
    this.#contestant = contestant
  }

  get #isOfServers () { return this.#contestant.isDeaf === true }

  /** Comes anew. @param {number} each how many events each publisher has */
  async gather (each) {
    if (this.#isOfServers) return this.#ask('listen', each)
    this.#gathered++
    this.#connections = await Promise.all(this.#servers.map(async server => new Connection({
      port: server.port,
      path: await server.ask('path'),
      protocol: this.#contestant.protocol,
      tally: new MixedTally(each)
    })))
    for (const connection of this.#connections) connection.time()
    await this.#ask('joined', this.#gathered)
  }

  /** Resolves when all have heard so many events, with when they did. */
  async received (events) {
    if (this.#isOfServers) return this.#ask('heard', events)
    await Promise.all(this.#connections.map(connection => connection.received(events)))
    return this.#connections.map(({ arrivals }) => arrivals)
  }

  async leave () {
    await Promise.all(this.#connections.map(connection => connection.close()))
  }

  #ask (command, argument) {
    return Promise.all(this.#servers.map(server => server.ask(command, argument)))
  }
}

module.exports = { Audience }
