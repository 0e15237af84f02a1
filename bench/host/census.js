'use strict'

// Counts the listeners on the sockets, requests and responses of a server. It holds on to all of them, so it watches
// only where listeners are what is measured.

class Census {
  #emitters = new Set()

  watch (server) {
    server.on('connection', socket => this.#emitters.add(socket))
    server.on('request', (request, response) => this.#emitters.add(request).add(response))
  }

  listeners () {
    let count = 0
    for (const emitter of this.#emitters) {
      for (const name of emitter.eventNames()) count += emitter.listenerCount(name)
    }
    return count
  }
}

module.exports = { Census }
