import { AsyncResource } from 'node:async_hooks'
import { finished, type Readable, type Writable } from 'node:stream'
import type { Feed, Sink } from './feed'
import { TextChunks } from './text-chunks'
import { afterTurn, turnIsOver } from './turn'

const LONGEST_WATCH_MS = 50

/**
 * Takes what a Node stream pushes.
 *
 * Events flow until half of `maxBuffer` waits for the client, then the stream is paused, and whoever writes into it
 * and heeds `write() === false` waits as in any pipeline. Whoever does not would fill the stream's own buffers, which
 * nothing announces: so a paused stream is watched, what it grows by though it is full is read and counted in bytes,
 * and over `maxBuffer` the stream is given up.
 */
export class Push implements Feed {
  readonly #readable: Readable
  readonly #sink: Sink
  readonly #maxBuffer: number
  readonly #chunks: TextChunks | undefined
  readonly #forget: () => void
  #watch: NodeJS.Timeout | undefined
  #yielding = false
  #stopped = false

  constructor (readable: Readable, sink: Sink, maxBuffer: number) {
    this.#readable = readable
    this.#sink = sink
    this.#maxBuffer = maxBuffer
    this.#chunks = readable.readableObjectMode ? undefined : new TextChunks()
    this.#forget = finished(readable, { writable: false }, this.#finished)
  }

  resume (): void {
    if (this.#stopped || this.#yielding || this.#sink.queued > this.#maxBuffer / 2) return
    clearTimeout(this.#watch)
    this.#watch = undefined
    if (this.#readable.listenerCount('data', this.#data) === 0) this.#readable.on('data', this.#data)
    this.#readable.resume()
  }

  stop (): undefined {
    this.#stopped = true
    clearTimeout(this.#watch)
    this.#forget()
    this.#readable.off('data', this.#data)
    // An error that comes of the destruction, or after it, is nobody's any more.
    this.#readable.on('error', () => {})
    this.#readable.destroy()
  }

  readonly #data = (chunk: unknown): void => {
    // What waited before this event decides, so that one large event is not taken for a slow client.
    if (this.#sink.queued > this.#maxBuffer) return this.#sink.overflow()
    const event = this.#chunks !== undefined && chunk instanceof Uint8Array ? this.#chunks.decode(chunk) : chunk
    if (event === '' && this.#chunks !== undefined) return
    this.#sink.event(event)
    if (this.#stopped || this.#watch !== undefined || this.#yielding) return
    if (this.#sink.queued > this.#maxBuffer / 2) this.#pause()
    else if (turnIsOver()) this.#yield()
  }

  readonly #finished = (error?: Error | null): void => {
    clearTimeout(this.#watch)
    const rest = error ? '' : this.#chunks?.end() ?? ''
    if (rest !== '') this.#sink.event(rest)
    if (error) this.#sink.fail(error)
    else this.#sink.end()
  }

  #yield (): void {
    this.#yielding = true
    this.#readable.pause()
    // Whose turn it is to call back is not who the stream is for.
    afterTurn(AsyncResource.bind(() => {
      this.#yielding = false
      this.resume()
    }))
  }

  #pause (): void {
    this.#readable.pause()
    this.#look(heldBy(this.#readable), 0)
  }

  /** A stream that heeds backpressure stands still once it is full; one that does not is read at the pace it grows. */
  #look (before: Held, delay: number): void {
    this.#watch = setTimeout(() => {
      const grown = growth(before, heldBy(this.#readable))
      if (grown > 0) this.#read(grown)
      if (!this.#stopped) this.#look(heldBy(this.#readable), grown > 0 ? 0 : Math.min(delay * 2 + 1, LONGEST_WATCH_MS))
    }, delay)
    this.#watch.unref()
  }

  /** Reads so many events, or bytes of a byte stream, which come by `data`. */
  #read (count: number): void {
    if (this.#chunks !== undefined) this.#readable.read(Math.min(count, this.#readable.readableLength))
    else while (count-- > 0 && !this.#stopped && this.#readable.read() !== null);
  }
}

/** What a stream holds on each of its sides, and the marks at which these ask to wait. */
interface Held {
  readable: number
  readableMark: number
  writable: number
  writableMark: number
}

function heldBy (stream: Readable & Partial<Pick<Writable, 'writableLength' | 'writableHighWaterMark'>>): Held {
  return {
    readable: stream.readableLength,
    readableMark: stream.readableHighWaterMark,
    writable: stream.writableLength ?? 0,
    writableMark: stream.writableHighWaterMark ?? 0
  }
}

/** By how much a stream has grown on a side that had asked to wait. */
function growth (before: Held, now: Held): number {
  return (before.readable >= before.readableMark ? Math.max(0, now.readable - before.readable) : 0) +
    (before.writable >= before.writableMark ? Math.max(0, now.writable - before.writable) : 0)
}
