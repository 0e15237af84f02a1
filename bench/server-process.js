'use strict'

// The benchmark's handle of a server process.

const { spawn } = require('node:child_process')
const { once } = require('node:events')
const { join } = require('node:path')

const MAIN = join(__dirname, 'host', 'main.js')

class ServerProcess {
  port
  #child
  #asked = new Map()
  #lastId = 0
  #failure

  /**
   * @param {string} server the name of a file in servers/
   * @param {object} options
   * @param {number} [options.cpu] the CPU the process is to run on
   * @param {number} [options.heartbeat] milliseconds, for the servers that have one
   */
  static async start (server, { cpu, ...options }) {
    const node = [process.execPath, '--expose-gc', MAIN, server, JSON.stringify(options)]
    const [file, ...args] = cpu === undefined ? node : ['taskset', '-c', String(cpu), ...node]
    const child = spawn(file, args, {
      stdio: ['ignore', process.stderr, process.stderr, 'ipc'],
      // Warnings about too many listeners are expected of some, and measured.
      env: { ...process.env, NODE_ENV: 'production', NODE_NO_WARNINGS: '1' }
    })
    const started = new ServerProcess(server, child)
    await started.#answer('port')
    return started
  }

  constructor (server, child) {
    this.#child = child
    child.on('message', ({ id = 'port', result, port }) => {
      if (port !== undefined) this.port = port
      this.#asked.get(id)?.resolve(result)
      this.#asked.delete(id)
    })
    child.on('error', error => this.#fail(error))
    child.on('exit', (code, signal) => this.#fail(new Error(`The server ${server} has ended: ${signal ?? code}`)))
  }

  /** Has a command of host/main.js carried out, and gives back its result. */
  ask (command, argument) {
    const id = ++this.#lastId
    this.#child.send({ id, command, argument }, error => { if (error) this.#fail(error) })
    return this.#answer(id)
  }

  /** Ends the process, and waits for it. */
  async stop () {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exited
  }

  #answer (id) {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) reject(this.#failure)
      else this.#asked.set(id, { resolve, reject })
    })
  }

  #fail (error) {
    this.#failure ??= error
    for (const { reject } of this.#asked.values()) reject(error)
    this.#asked.clear()
  }
}

module.exports = { ServerProcess }
