import type { Feed, Sink } from './feed'
import { isThenable } from './thenable'
import { nextTurn, turnIsOver } from './turn'

/** What is asked of an iterator; what it really gives is checked as it comes. */
export interface AnyIterator {
  next (): unknown
  return? (): unknown
}

/** Pulls an iterator, sync or async: each event is asked for when there is room for it. */
export class Pull implements Feed {
  readonly #iterator: AnyIterator
  readonly #sink: Sink
  #state: 'paused' | 'pulling' | 'stopped' = 'paused'
  #pulling: Promise<void> | undefined

  constructor (iterator: AnyIterator, sink: Sink) {
    this.#iterator = iterator
    this.#sink = sink
  }

  resume (): void {
    if (this.#state !== 'paused') return
    this.#state = 'pulling'
    this.#pulling = this.#pull()
  }

  /** `return()` is called at once; on a generator that is parked in an await it only queues, so nobody may wait for it. */
  stop (): Promise<unknown> | undefined {
    if (this.#state === 'stopped') return undefined
    this.#state = 'stopped'
    try {
      const returned = Promise.resolve(this.#iterator.return?.())
      returned.catch(error => { this.#sink.fail(error) })
      return Promise.allSettled([returned, this.#pulling])
    } catch (error) {
      this.#sink.fail(error)
      return undefined
    }
  }

  async #pull (): Promise<void> {
    try {
      while (this.#isPulling()) {
        // A sync iterator is driven without a promise.
        let result = this.#iterator.next()
        if (isThenable(result)) result = await result
        if (!this.#isPulling()) return
        if (!isResult(result)) throw new TypeError('The iterator gave a result that is not an object')
        if (result.done) return this.#end()
        const event = isThenable(result.value) ? await this.#promised(result.value) : result.value
        if (!this.#isPulling()) return
        if (!this.#sink.event(event)) return this.#pause()
        if (turnIsOver()) await nextTurn()
      }
    } catch (error) {
      this.#state = 'stopped'
      this.#sink.fail(error)
    }
  }

  #isPulling (): boolean {
    return this.#state === 'pulling'
  }

  #pause (): void {
    if (this.#isPulling()) this.#state = 'paused'
  }

  #end (): void {
    this.#state = 'stopped'
    this.#sink.end()
  }

  /** When a promise that the iterator gave is rejected, the iterator itself has not failed, and is still to be returned. */
  async #promised (event: PromiseLike<unknown>): Promise<unknown> {
    try {
      return await event
    } catch (error) {
      this.#sink.fail(error)
      return this.#pause()
    }
  }
}

function isResult (result: unknown): result is { done?: unknown, value?: unknown } {
  return typeof result === 'object' && result !== null
}
