import { FST_ERR_SSE_CLOSED } from './errors'

/**
 * Why a stream was closed; each stream has exactly one reason.
 *
 * - `finished`: the source has ended
 * - `client`: the client has gone
 * - `stalled`: the client took no byte for `writeTimeout`
 * - `error`: the source threw, or yielded what is not an event
 * - `shutdown`: the server closes
 * - `expired`: `maxAge` is over
 * - `slow`: more than `maxBuffer` waited for the client
 * - `disconnected`: a channel's `disconnect` chose it
 * - `limit`: `maxStreams` or `maxStreamsPerKey` was reached, so the stream was never opened
 */
export type CloseReason = 'finished' | 'client' | 'stalled' | 'error' | 'shutdown' | 'expired' | 'slow' | 'disconnected' | 'limit'

/** What a stream's `signal` aborts with: an `AbortError` that tells why the stream was closed. */
export class StreamClosedError extends FST_ERR_SSE_CLOSED {
  override readonly name = 'AbortError'
  readonly reason: CloseReason

  constructor (reason: CloseReason) {
    super(reason)
    this.reason = reason
  }
}

/** Whether an error is only the echo of an abort, as it comes back from timers, `fetch` or a body that was read. */
export function isAbort (error: unknown): boolean {
  return error instanceof Error && (isAbortError(error) || isAbortError(error.cause))
}

function isAbortError (error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError'
}
