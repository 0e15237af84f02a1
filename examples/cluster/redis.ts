import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'
import { freePort } from './ports'

// Reads the number of the process that runs, until its input ends, as it does when the primary is gone in whatever way.
const GUARD = 'while read -r line; do pid=$line; done; [ -n "$pid" ] && kill -9 "$pid"; rm -rf "$0"'

/** Whether there is a redis-server on the path. */
export function isRedisInstalled (): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some(folder => existsSync(join(folder, 'redis-server')))
}

/** A Redis for as long as this program runs, with its data in a folder of its own. Killed, it starts again. */
export class Redis {
  readonly port: number
  readonly #folder = mkdtempSync(join(tmpdir(), 'fastify-event-stream-example-'))
  // In a process group of its own, as Redis is: Ctrl-C in a terminal goes to all of a group, and this is to be the last.
  readonly #guard = spawn('sh', ['-c', GUARD, this.#folder], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] })
  #child: ChildProcess | undefined
  #isEnding = false

  constructor (port: number) {
    this.port = port
  }

  static async start (): Promise<Redis> {
    const redis = new Redis(await freePort())
    await redis.#start()
    return redis
  }

  get url (): string {
    return `redis://127.0.0.1:${this.port}`
  }

  get pid (): number | undefined {
    return this.#child?.pid
  }

  async end (): Promise<void> {
    this.#isEnding = true
    this.#guard.stdin.end()
    await once(this.#guard, 'exit')
  }

  async #start (): Promise<void> {
    // Every write is in a file before it is answered: nothing that was confirmed is lost, even by a kill -9 of Redis.
    const child = this.#child = spawn('redis-server', [
      '--port', String(this.port), '--bind', '127.0.0.1', '--dir', this.#folder, '--save', '', '--appendonly', 'yes', '--appendfsync', 'always'
    ], { detached: true, stdio: ['ignore', 'pipe', 'inherit'] })
    this.#guard.stdin.write(`${child.pid}\n`)
    child.once('exit', () => { this.#startAgain().catch(error => { console.error(error) }) })
    for await (const line of createInterface(child.stdout)) {
      if (!line.includes('Ready to accept connections')) continue
      child.stdout.resume()
      return
    }
    throw new Error('Redis did not start')
  }

  async #startAgain (): Promise<void> {
    if (this.#isEnding) return
    this.#guard.stdin.write('\n')
    await setTimeout(1000)
    if (this.#isEnding) return
    await this.#start()
    console.log(`Redis has died and was started again, with its data, as process ${this.pid}`)
  }
}
