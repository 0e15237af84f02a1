import type { Connection, ConnectionEvents } from './connection'

export interface LinkOptions {
  /** How long an answer may take, in milliseconds. */
  readonly timeout: number
  /** Called once, unless it was closed before. */
  readonly onBroken: () => void
  /** Called for a question that had no answer in time. Without it, the connection is broken. */
  readonly onLate?: (() => void) | undefined
}

/** A connection with a limit of time. What is asked over it has an answer within it, or fails. */
export class Link<Kind extends Connection> {
  readonly #connection: Kind
  readonly #options: LinkOptions
  readonly #waiting = new Set<(reason: unknown) => void>()
  #ending: Error | undefined
  #isRetired = false
  #isPinging = false

  constructor (connect: (events: ConnectionEvents) => Kind, options: LinkOptions) {
    this.#options = options
    this.#connection = connect({ broken: reason => { this.break(reason) } })
  }

  /** Whether it is neither broken nor closed. */
  get isWhole (): boolean {
    return this.#ending === undefined
  }

  /** @throws why it could not be opened; it is broken then */
  async open (): Promise<void> {
    try {
      await this.ask(connection => connection.open())
    } catch (error) {
      this.break(new Error('the connection could not be opened', { cause: error }))
      throw error
    }
  }

  /** @throws what the connection threw, or why there was no answer */
  ask<Answer> (question: (connection: Kind) => Promise<Answer>): Promise<Answer> {
    if (this.#ending !== undefined) return Promise.reject(this.#ending)
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        clearTimeout(timer)
        this.#waiting.delete(fail)
        if (this.#isRetired) this.retire()
      }
      const fail = (reason: unknown): void => {
        settle()
        reject(reason)
      }
      const timer = setTimeout(() => { this.#isLate(fail) }, this.#options.timeout)
      this.#waiting.add(fail)
      question(this.#connection).then(answer => {
        settle()
        resolve(answer)
      }, fail)
    })
  }

  /** Sees that there is an answer. One that says no is one. */
  ping (): void {
    if (this.#isPinging) return
    this.#isPinging = true
    const done = (): void => { this.#isPinging = false }
    this.ask(connection => connection.ping()).then(done, done)
  }

  break (reason: Error): void {
    if (this.#ending !== undefined) return
    this.#end(reason)
    this.#options.onBroken()
  }

  /** Closes it when all that was asked is answered. */
  retire (): void {
    this.#isRetired = true
    if (this.#waiting.size === 0) this.close()
  }

  close (): void {
    if (this.#ending === undefined) this.#end(new Error('the connection was closed'))
  }

  #isLate (fail: (reason: Error) => void): void {
    const { timeout, onLate } = this.#options
    const reason = new Error(`there was no answer within ${timeout} ms`)
    if (onLate === undefined) {
      this.break(reason)
    } else {
      fail(reason)
      onLate()
    }
  }

  #end (reason: Error): void {
    this.#ending = reason
    this.#connection.close()
    for (const fail of this.#waiting) fail(reason)
  }
}
