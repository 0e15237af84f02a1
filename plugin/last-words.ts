import type { FastifyRequest } from 'fastify'
import { encodeEvent } from './encode'
import type { ResolvedOptions } from './options'

/** The text of the last event that a client sees of a failed stream, if `onError` says one. */
export function lastWords (error: unknown, request: FastifyRequest, { onError, toText }: ResolvedOptions): string {
  try {
    const event = onError?.(error, request)
    return event === undefined ? '' : encodeEvent(event, toText)
  } catch (err) {
    request.log.error({ err }, 'onError of an event stream failed')
    return ''
  }
}
