import { FST_ERR_SSE_BACKPLANE } from '../../errors'
import type { CommandConnection, Driver, Server } from './connection'
import { Link } from './link'
import { listOf } from './message'
import { refusal } from './refusal'
import { SERVER, type Script } from './scripts'
import { problemOf } from './server'

// How much may be under way, in bytes, and what a command weighs beside its values.
const MAX_WEIGHT = 64 * 1024 * 1024
const COMMAND_WEIGHT = 1024

type Keys = readonly [string, ...string[]]

export interface CommandsOptions {
  readonly driver: Driver
  /** Milliseconds. */
  readonly timeout: number
  /** Gives the key with which a server is asked about itself: in a Cluster, it picks one. */
  readonly someKey: () => string
  /** Called when it may be connected now, or may not be any more. */
  readonly onChange: () => void
}

/** Runs scripts, while there is a connection. What comes when there is none is refused, and not kept for later. */
export class Commands {
  readonly #options: CommandsOptions
  #link: Link<CommandConnection> | undefined
  #next: Link<CommandConnection> | undefined
  #connecting: Promise<void> | undefined
  #weight = 0

  constructor (options: CommandsOptions) {
    this.#options = options
  }

  get isConnected (): boolean {
    return this.#link?.isWhole ?? false
  }

  /**
   * Connects, also in place of a connection that there is, and sees whether the server will do.
   *
   * @throws FST_ERR_SSE_BACKPLANE with the reason, in bounded time
   */
  connect (): Promise<void> {
    this.#connecting ??= this.#connect().finally(() => {
      this.#connecting = undefined
      this.#options.onChange()
    })
    return this.#connecting
  }

  /** Sees that the connection works, or makes another. */
  keep (): void {
    if (this.isConnected) this.#link?.ping()
    else this.#mend()
  }

  /**
   * @param keys the first says which server of a Cluster it runs on
   * @throws FST_ERR_SSE_BACKPLANE in bounded time; whether it ran is then not known
   */
  async run (script: Script, keys: Keys, values: readonly string[]): Promise<unknown[]> {
    const weight = values.reduce((sum, value) => sum + Buffer.byteLength(value), COMMAND_WEIGHT)
    if (this.#weight + weight > MAX_WEIGHT) throw new FST_ERR_SSE_BACKPLANE('too much is on its way to Redis already')
    this.#weight += weight
    try {
      return await this.#ask(async link => listOf(await runOn(link, script, keys, values)))
    } finally {
      this.#weight -= weight
    }
  }

  /** @throws FST_ERR_SSE_BACKPLANE in bounded time */
  serverOf (channel: string): Promise<Server> {
    return this.#ask(link => link.ask(connection => connection.serverOf(channel)))
  }

  close (): void {
    this.#next?.close()
    this.#link?.close()
  }

  async #connect (): Promise<void> {
    const { driver, timeout, someKey, onChange } = this.#options
    const mend = (): void => { this.#mend() }
    const onBroken = (): void => {
      onChange()
      if (!this.isConnected) mend()
    }
    // Of the servers of a Cluster, one that does not answer leaves the others to work with, until there is a better view.
    const link = new Link(events => driver.connect(events), { timeout, onBroken, onLate: driver.isCluster ? mend : undefined })
    this.#next = link
    try {
      await link.open()
      const problem = problemOf(String(await runOn(link, SERVER, [someKey()], [])), driver.isCluster)
      if (problem !== undefined) throw new Error(problem)
    } catch (error) {
      link.close()
      throw refusal(error)
    }
    this.#link?.retire()
    this.#link = link
  }

  #mend (): void {
    this.connect().catch(() => {})
  }

  async #ask<Answer> (question: (link: Link<CommandConnection>) => Promise<Answer>): Promise<Answer> {
    const link = this.#link
    if (link?.isWhole !== true) throw new FST_ERR_SSE_BACKPLANE('there is no connection to Redis')
    try {
      return await question(link)
    } catch (error) {
      // What was the master is a replica now. There is another somewhere.
      if (isRefused(error, 'READONLY')) link.break(new Error('the server has become a replica'))
      throw refusal(error)
    }
  }
}

function runOn (link: Link<CommandConnection>, script: Script, keys: Keys, values: readonly string[]): Promise<unknown> {
  const rest = [String(keys.length), ...keys, ...values]
  return link.ask(connection => connection.send(keys[0], ['EVALSHA', script.sha, ...rest]).catch(error => {
    if (isRefused(error, 'NOSCRIPT')) return connection.send(keys[0], ['EVAL', script.text, ...rest])
    throw error
  }))
}

function isRefused (error: unknown, code: string): boolean {
  return error instanceof Error && error.message.startsWith(code)
}
