'use strict'

const { fork } = require('node:child_process')
const { once } = require('node:events')
const { join } = require('node:path')

/** The handle of a server process, which carries out the commands of server.js. */
class ServerProcess {
  #child
  #asked = new Map()
  #lastId = 0

  /** @param {object} options of the plugin */
  constructor (options) {
    this.#child = fork(join(__dirname, 'server.js'), [JSON.stringify(options)], { execArgv: ['--expose-gc'] })
    this.#child.on('message', ({ id, result }) => {
      this.#asked.get(id).resolve(result)
      this.#asked.delete(id)
    })
    this.#child.on('exit', (code, signal) => {
      for (const { reject } of this.#asked.values()) reject(new Error(`The server has ended: ${signal ?? code}`))
    })
  }

  /** Has a command carried out, and gives its result. */
  ask (command, argument) {
    return new Promise((resolve, reject) => {
      const id = ++this.#lastId
      this.#asked.set(id, { resolve, reject })
      this.#child.send({ id, command, argument }, error => { if (error) reject(error) })
    })
  }

  /** Ends the process, and waits for it. */
  async stop () {
    this.#asked.clear()
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exited
  }
}

module.exports = { ServerProcess }
