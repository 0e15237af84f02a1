import { StreamClosedError, type CloseReason } from './close-reason'

/** The signal of a stream, made when it is asked for: many streams need none, and it would be much of their memory. */
export class StreamSignal {
  #controller: AbortController | undefined
  #reason: CloseReason | undefined

  get signal (): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#reason !== undefined) this.#controller.abort(new StreamClosedError(this.#reason))
    }
    return this.#controller.signal
  }

  /** Why it was aborted, if it was. */
  get reason (): CloseReason | undefined {
    return this.#reason
  }

  /** The first reason counts. */
  abort (reason: CloseReason): void {
    if (this.#reason !== undefined) return
    this.#reason = reason
    this.#controller?.abort(new StreamClosedError(reason))
  }
}
