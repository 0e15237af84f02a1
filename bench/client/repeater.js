'use strict'

// Sends `GET /one` again and again on one connection, each when the last is answered, and times them.

const { once } = require('node:events')
const { createConnection } = require('node:net')

const REQUEST = 'GET /one HTTP/1.1\r\nhost: bench\r\n\r\n'

class Repeater {
  /** Milliseconds that the slowest answer took. */
  worst = 0
  count = 0
  #socket
  #finished
  #stopping = false

  static async start (port) {
    const repeater = new Repeater()
    repeater.#socket = createConnection({ host: '127.0.0.1', port, noDelay: true })
    repeater.#socket.setEncoding('latin1')
    await once(repeater.#socket, 'connect')
    repeater.#finished = repeater.#run()
    return repeater
  }

  /** Waits for the last answer. */
  async stop () {
    this.#stopping = true
    await this.#finished
    this.#socket.destroy()
  }

  async #run () {
    while (!this.#stopping) {
      const started = performance.now()
      this.#socket.write(REQUEST)
      for (let answer = ''; !answer.endsWith('\r\n\r\none');) answer += (await once(this.#socket, 'data'))[0]
      this.worst = Math.max(this.worst, performance.now() - started)
      this.count++
    }
  }
}

module.exports = { Repeater }
