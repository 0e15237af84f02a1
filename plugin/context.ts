import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import type { StreamSignal } from './signal'

/** What a source function is called with. */
export class StreamContext {
  /** The request that the stream answers. */
  readonly request: FastifyRequest
  readonly #signal: StreamSignal

  constructor (request: FastifyRequest, signal: StreamSignal) {
    this.request = request
    this.#signal = signal
  }

  /**
   * Aborts when the stream is closed for any reason but `finished`; `signal.reason.reason` is the close reason. On
   * `shutdown` what the source still yields is sent, for `shutdown.grace` milliseconds.
   */
  get signal (): AbortSignal {
    return this.#signal.signal
  }

  /** The ID of the last event the client has, `''` when there is none. */
  get lastEventId (): string {
    return this.request.lastEventId
  }

  /** The request's logger. */
  get log (): FastifyBaseLogger {
    return this.request.log
  }
}
