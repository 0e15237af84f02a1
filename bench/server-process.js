'use strict'

// The benchmark's handles of its server processes.

const { spawn } = require('node:child_process')
const { once } = require('node:events')
const { join } = require('node:path')

const MAIN = join(__dirname, 'host', 'main.js')

/** One server process, which carries out commands. */
class ServerProcess {
  port
  #child
  #asked = new Map()
  #lastId = 0
  #failure

  /**
   * @param {string} name of a file in servers/
   * @param {object} options
   * @param {number} [options.cpu] the CPU the process is to run on
   * @param {number} [options.heartbeat] milliseconds, for the servers that have one
   */
  static async start (name, { cpu, ...options }) {
    const node = [process.execPath, '--expose-gc', MAIN, name, JSON.stringify(options)]
    const [file, ...args] = cpu === undefined ? node : ['taskset', '-c', String(cpu), ...node]
    const child = spawn(file, args, {
      stdio: ['ignore', process.stderr, process.stderr, 'ipc'],
      // Warnings about too many listeners are expected of some, and measured.
      env: { ...process.env, NODE_ENV: 'production', NODE_NO_WARNINGS: '1' }
    })
    const server = new ServerProcess(name, child)
    await server.#answer('port')
    return server
  }

  constructor (name, child) {
    this.#child = child
    child.on('message', ({ id = 'port', result, port }) => {
      if (port !== undefined) this.port = port
      this.#asked.get(id)?.resolve(result)
      this.#asked.delete(id)
    })
    child.on('error', error => this.#fail(error))
    child.on('exit', (code, signal) => this.#fail(new Error(`The server ${name} has ended: ${signal ?? code}`)))
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

/** The server processes of a run. */
class Servers {
  #cpu
  #isKept
  #kept = new Map()

  /**
   * @param {object} options
   * @param {number} [options.cpu] the CPU they run on
   * @param {boolean} options.isKept whether a process is used again, which spares the time of its start
   */
  constructor ({ cpu, isKept }) {
    this.#cpu = cpu
    this.#isKept = isKept
  }

  async take (name, options = {}) {
    const key = JSON.stringify([name, options])
    const server = this.#kept.get(key) ?? await this.start(name, options)
    if (this.#isKept) this.#kept.set(key, server)
    return server
  }

  /** Starts a process that whoever asks for it stops, too. */
  start (name, options) {
    return ServerProcess.start(name, { cpu: this.#cpu, ...options })
  }

  async giveBack (server) {
    if (!this.#isKept) await server.stop()
  }

  async close () {
    await Promise.all([...this.#kept.values()].map(server => server.stop()))
  }
}

module.exports = { Servers }
