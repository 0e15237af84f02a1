import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { HistoryOptions } from '../../plugin/types'
import { deferred } from '../helpers/deferred'

/** What an application is started with. */
export interface Setup {
  readonly name: string
  /** The client of its backplane. */
  readonly library: 'redis' | 'ioredis'
  readonly redisPort: number
  /** How long Redis may take for an answer, in milliseconds. */
  readonly timeout: number
  readonly heartbeat: number
  readonly histories: Readonly<Record<string, HistoryOptions>>
}

/** What came of one call of `publish`: the ID of the event, or the code of the error. */
export interface Outcome {
  readonly channel: string
  readonly serial: string
  readonly ms: number
  /** Milliseconds since a timer went off that was to go off when Redis had to have answered. */
  readonly late: number
  readonly id?: string
  readonly code?: string
  readonly message?: string
}

/** How it is with an application. */
export interface Sample {
  /** Streams. */
  readonly open: number
  /** Bytes that wait for clients. */
  readonly queued: number
  /** Channels that are read. */
  readonly read: readonly string[]
  readonly state: string
  /** Events that are being published. */
  readonly unsettled: number
  /** Bytes of the heap and of buffers. */
  readonly memory: number
}

interface Told {
  readonly port?: number
  readonly outcome?: Outcome
  readonly sample?: Sample
  readonly state?: string
  readonly answer?: { readonly call: number, readonly value?: unknown }
}

export interface ApplicationEvents {
  outcome (outcome: Outcome): void
  sample (sample: Sample): void
  /** Its backplane came into a state. */
  state (state: string): void
  /** It ended, and was not told to. */
  failed (error: Error): void
}

/** A server in a process of its own, which can be ended in any way and started again at the same port. */
export class Application {
  readonly setup: Setup
  /** Whether clients go to it. */
  isUp = false
  port = 0
  #generation = 0
  #calls = 0
  #child: ChildProcess | undefined
  #isEnding = false
  readonly #events: ApplicationEvents
  readonly #answers = new Map<number, (value: unknown) => void>()

  constructor (setup: Setup, events: ApplicationEvents) {
    this.setup = setup
    this.#events = events
  }

  /** @throws when it ends instead */
  async start (): Promise<void> {
    const name = `${this.setup.name}${++this.#generation}`
    // Without the loaders of whoever runs this.
    const { NODE_OPTIONS: _loaders, ...env } = process.env
    const child = fork(join(__dirname, 'app.js'), [JSON.stringify({ ...this.setup, name, port: this.port })], { execArgv: [], env })
    this.#child = child
    this.#isEnding = false
    child.on('error', error => { this.#events.failed(error) })
    child.on('exit', (code, signal) => {
      if (!this.#isEnding) this.#events.failed(new Error(`the process ${name} ended by ${signal ?? code}, for no reason`))
    })
    const ready = deferred()
    child.on('message', (told: Told) => {
      if (told.port !== undefined) {
        this.port = told.port
        ready.resolve()
      }
      if (told.outcome !== undefined) this.#events.outcome(told.outcome)
      if (told.sample !== undefined) this.#events.sample(told.sample)
      if (told.state !== undefined) this.#events.state(told.state)
      if (told.answer !== undefined) this.#answers.get(told.answer.call)?.(told.answer.value)
    })
    await Promise.race([ready.promise, once(child, 'exit').then(() => { throw new Error(`the process ${name} did not start`) })])
    this.isUp = true
  }

  load (rate: number, channels: readonly string[]): Promise<unknown> {
    return this.#call('load', { rate, channels })
  }

  /** Publishes an event until it is confirmed, and gives its ID. */
  async publish (channel: string, size = 1): Promise<string> {
    return String(await this.#call('publish', { channel, size }))
  }

  /** Publishes many at once, each only once. */
  flood (channel: string, count: number, size: number): Promise<unknown> {
    return this.#call('flood', { channel, count, size })
  }

  sample (): Promise<Sample> {
    return this.#call<Sample>('sample', {})
  }

  /** Ends it as a power failure does. */
  async kill (): Promise<void> {
    this.isUp = false
    await this.#end('SIGKILL')
  }

  /**
   * Asks it to end, and kills it if it has not after so many milliseconds. Clients still come until it has. Gives how long
   * it took, its exit code and the signal that ended it, if any.
   */
  async leave (longest: number): Promise<{ ms: number, code: unknown, signal: unknown }> {
    const start = performance.now()
    const timer = setTimeout(() => { this.#child?.kill('SIGKILL') }, longest)
    const [code, signal] = await this.#end('SIGTERM')
    clearTimeout(timer)
    this.isUp = false
    return { ms: performance.now() - start, code, signal }
  }

  async #end (signal: NodeJS.Signals): Promise<unknown[]> {
    const child = this.#child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return [child?.exitCode, child?.signalCode]
    this.#isEnding = true
    const exited = once(child, 'exit')
    child.kill(signal)
    return await exited
  }

  /** Never settles if it ends before it has answered. */
  #call<Value> (name: string, options: object): Promise<Value> {
    const call = ++this.#calls
    const { promise, resolve } = deferred<Value>()
    this.#answers.set(call, value => {
      this.#answers.delete(call)
      // The types of what is told are promised by the other side.
      resolve(value as Value)
    })
    if (this.#child?.connected === true) this.#child.send({ call, name, options })
    return promise
  }
}
