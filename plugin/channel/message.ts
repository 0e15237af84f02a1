import type { Message } from '../backplane/types'
import { BREAKS_FIELD } from '../encode'
import { FST_ERR_SSE_EVENT, FST_ERR_SSE_FIELD } from '../errors'
import { outline } from '../inspect'
import type { ToText } from '../to-text'
import { GAP } from './gap'

/**
 * Makes of an event what a backplane carries.
 *
 * @throws FST_ERR_SSE_EVENT when it is not an event for a channel
 * @throws FST_ERR_SSE_FIELD when one of its fields cannot go over the wire, or is larger than `maxBytes`
 */
export function toMessage (event: unknown, toText: ToText, maxBytes: number): Message {
  const { event: name = '', data } = typeof event === 'string' ? { data: event } : fieldsOf(event)
  if (typeof name !== 'string' || BREAKS_FIELD.test(name) || name === GAP) {
    throw new FST_ERR_SSE_FIELD('event', `a string without CR, LF and NUL, other than '${GAP}'`, outline(name))
  }
  const text = toText(data, name === '' ? 'message' : name).toWellFormed()
  const bytes = Buffer.byteLength(name) + Buffer.byteLength(text)
  if (bytes > maxBytes) throw new FST_ERR_SSE_FIELD('data', `of at most ${maxBytes} bytes together with the name ('maxEventBytes')`, `${bytes} bytes`)
  const isText = typeof data === 'string' || data === undefined || data instanceof Uint8Array
  return { event: name.toWellFormed(), data: text, isJson: !isText, isEnd: false }
}

function fieldsOf (event: unknown): { event?: unknown, data?: unknown } {
  if (typeof event === 'object' && event !== null && Object.keys(event).length > 0 && Object.keys(event).every(isField)) return event
  throw new FST_ERR_SSE_EVENT(
    `a channel takes strings or objects with event and data, and nothing else, since it gives the IDs itself; got ${outline(event)}`)
}

function isField (key: string): boolean {
  return key === 'event' || key === 'data'
}
