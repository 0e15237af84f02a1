import type { Feed, Sink } from './feed'
import { afterTurn, turnIsOver } from './turn'

/** What `pull` asks of an iterator; what it really gives is checked as it comes. */
export interface AnyIterator {
  next (): unknown
  return? (): unknown
}

/** Pulls an iterator, sync or async: each event is asked for when there is room for it. */
export class Pull implements Feed {
  readonly #iterator: AnyIterator
  readonly #sink: Sink
  #state: 'paused' | 'pulling' | 'stopped' = 'paused'
  #pending: Promise<unknown> | undefined

  constructor (iterator: AnyIterator, sink: Sink) {
    this.#iterator = iterator
    this.#sink = sink
  }

  resume (): void {
    if (this.#state !== 'paused') return
    this.#state = 'pulling'
    this.#pull()
  }

  /** `return()` is called at once; on a generator that is parked in an await it only queues, so nobody may wait for it. */
  stop (): Promise<unknown> | undefined {
    if (this.#state === 'stopped') return undefined
    this.#state = 'stopped'
    try {
      const returned = Promise.resolve(this.#iterator.return?.())
      returned.catch(this.#thrown)
      return Promise.allSettled([returned, this.#pending])
    } catch (error) {
      this.#sink.fail(error)
      return undefined
    }
  }

  readonly #pull = (): void => {
    try {
      while (this.#state === 'pulling') {
        const result = this.#iterator.next()
        if (isThenable(result)) {
          this.#pending = Promise.resolve(result)
          this.#pending.then(this.#arrived, this.#thrown)
          return
        }
        if (!this.#take(result)) return
      }
    } catch (error) {
      this.#thrown(error)
    }
  }

  readonly #arrived = (result: unknown): void => {
    try {
      if (this.#take(result)) this.#pull()
    } catch (error) {
      this.#thrown(error)
    }
  }

  readonly #thrown = (error: unknown): void => {
    this.#state = 'stopped'
    this.#sink.fail(error)
  }

  /** Gives back whether to go on at once. */
  #take (result: unknown): boolean {
    if (this.#state === 'stopped') return false
    if (typeof result !== 'object' || result === null) throw new TypeError('The iterator gave a result that is not an object')
    const { done, value } = result as IteratorResult<unknown>
    if (done === true) {
      this.#state = 'stopped'
      this.#sink.end()
      return false
    }
    if (isThenable(value)) {
      this.#pending = Promise.resolve(value)
      this.#pending.then(this.#arrivedValue, this.#rejectedValue)
      return false
    }
    return this.#deliver(value)
  }

  readonly #arrivedValue = (value: unknown): void => {
    try {
      if (this.#state !== 'stopped' && this.#deliver(value)) this.#pull()
    } catch (error) {
      this.#thrown(error)
    }
  }

  /** The iterator itself has not failed, and is still to be returned. */
  readonly #rejectedValue = (error: unknown): void => {
    this.#sink.fail(error)
  }

  #deliver (event: unknown): boolean {
    if (!this.#sink.event(event)) {
      if (this.#state === 'pulling') this.#state = 'paused'
      return false
    }
    if (!turnIsOver()) return true
    afterTurn(this.#pull)
    return false
  }
}

/** Whether a value is to be waited for, as `await` sees it. */
export function isThenable (value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}
