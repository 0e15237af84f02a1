'use strict'

const { createClient } = require('redis')
const { setTimeout } = require('node:timers/promises')
const { Program, cpuOf, freePort, makeFolder } = require('./host/program')

/** A Redis on a port of its own, which keeps nothing on disk. */
class RedisServer {
  url
  #program
  #client

  static async start () {
    const redis = new RedisServer()
    await redis.#start()
    return redis
  }

  async #start () {
    const port = await freePort()
    const folder = makeFolder()
    this.url = `redis://127.0.0.1:${port}`
    this.#program = new Program('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', '', '--appendonly', 'no'], folder)
    for await (const text of this.#program.stdout) if (String(text).includes('Ready to accept connections')) break
    if (this.#program.hasEnded) throw new Error('redis-server did not start')
    this.#client = createClient({ url: this.url })
    this.#client.on('error', () => {})
    await this.#client.connect()
  }

  /** Microseconds of CPU time that it has used. */
  cpu () {
    return cpuOf(this.#program.pid)
  }

  /** Resolves when so many connections wait for something to come. */
  async waitedForBy (count) {
    while (count > Number(/^blocked_clients:(\d+)/m.exec(await this.#client.info('clients'))[1])) await setTimeout(5)
  }

  async forgetCalls () {
    await this.#client.sendCommand(['CONFIG', 'RESETSTAT'])
  }

  /** How often a command was called since then, in scripts or not. */
  async calls (command) {
    const counts = await this.#client.info('commandstats')
    return Number(new RegExp(`^cmdstat_${command}:calls=(\\d+)`, 'm').exec(counts)?.[1] ?? 0)
  }

  async stop () {
    this.#client?.destroy()
    await this.#program.stop()
  }
}

module.exports = { RedisServer }
