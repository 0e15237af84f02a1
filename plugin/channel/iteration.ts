import { StreamClosedError } from '../close-reason'
import type { SlowPolicy } from '../options'
import { Cursor } from './cursor'
import type { Flows, Hold, Member, Selection } from './flows'
import type { ChannelEvent } from './item'
import type { From } from './live-channel'
import type { Reader } from './log'

/** How channels are to be iterated. */
export interface IterationOptions {
  readonly from: From
  readonly signal: AbortSignal | undefined
  readonly maxBuffer: number
  readonly slow: SlowPolicy
}

/** Channels as an async iterator. What waits for its next call is bounded, as what waits for a client is. */
export class Iteration implements AsyncIterableIterator<ChannelEvent>, Reader, Member {
  readonly stream = undefined
  readonly #options: IterationOptions
  readonly #selection: Selection
  readonly #flows: Flows
  #hold: Hold | undefined
  #cursor: Cursor | undefined
  #turn: Promise<unknown> = Promise.resolve()
  #failure: { readonly error: unknown } | undefined
  #isDone = false
  #wake = nothing

  constructor (selection: Selection, flows: Flows, options: IterationOptions) {
    this.#selection = selection
    this.#flows = flows
    this.#options = options
  }

  [Symbol.asyncIterator] (): this {
    return this
  }

  get waiting (): number {
    return this.#cursor?.waiting ?? 0
  }

  /** Calls that do not wait for each other are answered in their order. */
  next (): Promise<IteratorResult<ChannelEvent, undefined>> {
    const result = this.#turn.then(() => this.#next())
    this.#turn = result.catch(nothing)
    return result
  }

  async return (): Promise<IteratorResult<ChannelEvent, undefined>> {
    this.#stop()
    return { done: true, value: undefined }
  }

  advance (): void {
    this.#wake()
    const { maxBuffer, slow } = this.#options
    if (this.#cursor === undefined || this.#cursor.waiting <= maxBuffer) return
    if (slow === 'disconnect') return this.fail(new StreamClosedError('slow'))
    try {
      this.#cursor.drop(slow, maxBuffer / 2)
    } catch (error) {
      // What was missed is filtered and mapped as it is read.
      this.fail(error)
    }
  }

  fail (error: unknown): void {
    this.#failure ??= { error }
    this.#stop()
  }

  leave (): void {
    this.#stop()
  }

  async #next (): Promise<IteratorResult<ChannelEvent, undefined>> {
    try {
      if (!this.#isDone && this.#cursor === undefined) await Promise.race([this.#begin(), this.#woken()])
      for (;;) {
        if (this.#failure !== undefined) throw this.#failure.error
        if (this.#isDone) return { done: true, value: undefined }
        const item = this.#cursor?.item()
        if (item !== undefined) return { done: false, value: item.asEvent }
        if (this.#cursor?.isAtEnd === true) this.#stop()
        else await this.#woken()
      }
    } catch (error) {
      this.#stop()
      this.#failure = undefined
      throw error
    }
  }

  #woken (): Promise<void> {
    return new Promise(resolve => { this.#wake = resolve })
  }

  async #begin (): Promise<void> {
    const { signal, from } = this.#options
    signal?.throwIfAborted()
    signal?.addEventListener('abort', this.#aborted, { once: true })
    this.#hold = this.#flows.hold(this.#selection, this)
    const { flow } = this.#hold
    const start = await flow.start(from)
    if (this.#isDone) return
    this.#cursor = new Cursor(flow.log, flow.name, start, this.#flows.stats)
    flow.log.add(this)
  }

  #stop (): void {
    this.#isDone = true
    this.#options.signal?.removeEventListener('abort', this.#aborted)
    this.#hold?.flow.log.remove(this)
    this.#hold?.release()
    this.#hold = undefined
    this.#wake()
  }

  readonly #aborted = (): void => { this.fail(this.#options.signal?.reason) }
}

function nothing (): void {}
