import { finished, type Readable } from 'node:stream'
import type { Feed, Sink } from './feed'
import { TextChunks } from './text-chunks'

const LONGEST_WATCH_MS = 50

/**
 * Takes what a Node stream pushes.
 *
 * Events flow until half of `maxBuffer` waits for the client, then the stream is paused, and whoever writes into it
 * and heeds `write() === false` waits as in any pipeline. Whoever does not would fill the stream's own buffers, which
 * nothing announces: so a paused stream is watched, what it has too much of is read and counted in bytes, and over
 * `maxBuffer` the stream is given up.
 */
export class Push implements Feed {
  readonly #readable: Readable
  readonly #sink: Sink
  readonly #maxBuffer: number
  readonly #chunks: TextChunks | undefined
  readonly #forget: () => void
  #watch: NodeJS.Timeout | undefined
  #tolerated = 0
  #stopped = false

  constructor (readable: Readable, sink: Sink, maxBuffer: number) {
    this.#readable = readable
    this.#sink = sink
    this.#maxBuffer = maxBuffer
    this.#chunks = readable.readableObjectMode ? undefined : new TextChunks()
    this.#forget = finished(readable, { writable: false }, this.#finished)
  }

  resume (): void {
    if (this.#stopped || this.#sink.queued > this.#maxBuffer / 2) return
    clearTimeout(this.#watch)
    this.#watch = undefined
    if (this.#readable.listenerCount('data', this.#data) === 0) this.#readable.on('data', this.#data)
    else this.#readable.resume()
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
    if (this.#stopped) return
    const event = this.#chunks !== undefined && chunk instanceof Uint8Array ? this.#chunks.decode(chunk) : chunk
    if (event === '' && this.#chunks !== undefined) return
    this.#sink.event(event)
    if (this.#sink.queued > this.#maxBuffer) this.#sink.overflow()
    else if (this.#sink.queued > this.#maxBuffer / 2 && this.#watch === undefined && !this.#stopped) this.#pause()
  }

  readonly #finished = (error?: Error | null): void => {
    if (this.#stopped) return
    clearTimeout(this.#watch)
    const rest = error ? '' : this.#chunks?.end() ?? ''
    if (rest !== '') this.#sink.event(rest)
    if (error) this.#sink.fail(error)
    else this.#sink.end()
  }

  #pause (): void {
    this.#readable.pause()
    this.#tolerated = 0
    this.#look(0)
  }

  /**
   * A stream that heeds backpressure fills its buffers up to a mark, and past it once with what a single read or write
   * brings; one that does not grows on. So each surplus is read that is larger than any before.
   */
  #look (delay: number): void {
    this.#watch = setTimeout(() => {
      const surplus = surplusOf(this.#readable)
      if (surplus <= this.#tolerated) return this.#look(Math.min(delay * 2 + 1, LONGEST_WATCH_MS))
      this.#tolerated = surplus
      while (!this.#stopped && this.#readable.read() !== null);
      if (!this.#stopped) this.#look(0)
    }, delay)
    this.#watch.unref()
  }
}

function surplusOf (stream: Readable & Partial<WritableMarks>): number {
  return over(stream.readableLength, stream.readableHighWaterMark) +
    over(stream.writableLength ?? 0, stream.writableHighWaterMark ?? 0)
}

function over (length: number, mark: number): number {
  return Math.max(0, length - mark)
}

interface WritableMarks {
  writableLength: number
  writableHighWaterMark: number
}
