import { PassThrough, Stream } from 'node:stream'
import type { Target } from './line'

/** What a body hands on to its event stream. */
export interface BodyEvents {
  /** The response, or a transform before it, is ours. `endTarget` is false where trailers follow. */
  start (target: Target, endTarget: boolean): void
  /** A hook reads the body itself, perhaps before the others have run: the head is for Fastify to send. */
  read (target: Target): void
  /** Only the headers are wanted. */
  discard (): void
  /** Fastify or a pipeline is done with the body before it ended. */
  abort (): void
}

/**
 * The payload given to `reply.send`: the little that Fastify, its hooks and `stream.pipeline` ask of a readable stream.
 * Fastify calls `pipe` with the raw response when the onSend hooks have run, and `resume` where there is no body.
 */
export class Body extends Stream {
  readonly #stream: BodyEvents

  constructor (stream: BodyEvents) {
    super()
    this.#stream = stream
    // Whoever drains the body listens for its errors; when nobody does any more, an error must not end the process.
    this.on('error', ignore)
  }

  override pipe<T extends NodeJS.WritableStream> (target: T, options?: { end?: boolean }): T {
    this.#stream.start(target, options?.end !== false)
    return target
  }

  /** For a hook that reads the body, or makes another stream of it: nothing starts before it asks for the first piece. */
  async * [Symbol.asyncIterator] (): AsyncGenerator<unknown> {
    const through = new PassThrough()
    this.#stream.read(through)
    yield * through
  }

  resume (): this {
    this.#stream.discard()
    return this
  }

  destroy (): this {
    this.#stream.abort()
    return this
  }

  /**
   * Lets the listeners of Fastify go, which need not hear of the end any more: they are a large part of a quiet stream's
   * memory. Where a hook listens too, all stay.
   */
  forget (): void {
    if (this.listenerCount('end') <= 1 && this.listenerCount('close') <= 1) this.removeAllListeners()
  }

  /** Tells that nothing more comes; as a stream does, in a tick of its own, since `pipe` may not have returned. */
  end (): void {
    process.nextTick(() => { this.emit('end') })
  }

  /** Tells that the body failed before the headers were sent, so that an error can be answered. */
  fail (error: Error): void {
    process.nextTick(() => { this.emit('error', error) })
  }

  /** Tells that nothing more will happen. */
  close (): void {
    process.nextTick(() => { this.emit('close') })
  }
}

function ignore (): void {}
