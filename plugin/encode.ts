import { FST_ERR_SSE_EVENT, FST_ERR_SSE_FIELD } from './errors'
import type { EventFields } from './event'
import { outline } from './inspect'
import { isTooLong, MAX_LAST_EVENT_ID } from './last-event-id'
import type { ToText } from './to-text'

/** The smallest thing a client ignores: a comment of one byte, without the blank line that some clients dispatch. */
export const HEARTBEAT = ':\n'

const DATA = 'data: '
const LINE_BREAK = /\r\n|\r|\n/
// What would end a field's line, or the ID, and so let a value write fields of its own.
export const BREAKS_FIELD = /[\r\n\0]/
// An EventSource whose `Last-Event-ID` is refused, as no header may have these (RFC 9110 5.5), never comes back.
const BREAKS_HEADER = /[^\t\x20-\x7e\x80-\uffff]/

/**
 * Encodes one event as a block of the event stream (WHATWG HTML 9.2.5 and 9.2.6).
 *
 * A block that has only a comment or a reconnection time carries no blank line, so that it joins the next one: some
 * clients dispatch an empty message for a block without data.
 *
 * @throws FST_ERR_SSE_EVENT when `event` is not an event
 * @throws FST_ERR_SSE_FIELD when one of its fields cannot go over the wire
 */
export function encodeEvent (event: unknown, toText: ToText): string {
  if (typeof event === 'string') return encodeData(DATA, toText(event, 'message'))
  if (!isFields(event)) throw notAnEvent(event)

  const { comment, retry, id, event: name, data } = event
  let text = ''
  if (comment !== undefined) text += encodeComment(comment)
  if (retry !== undefined) text += encodeRetry(retry)
  if (id === undefined && name === undefined && data === undefined) {
    if (text === '') throw notAnEvent(event)
    return text
  }
  if (id !== undefined) text += `id: ${checkId(id)}\n`
  if (name === undefined) return data === undefined ? text + '\n' : text + encodeData(DATA, toText(data, 'message'))
  const start = startOf(name)
  const block = encodeData(start.text, toText(data, start.name === '' ? 'message' : start.name))
  return text === '' ? block : text + block
}

/**
 * Encodes a reconnection time, in milliseconds.
 *
 * @throws FST_ERR_SSE_FIELD when it is not a non-negative safe integer: a client takes ASCII digits only
 */
export function encodeRetry (retry: unknown): string {
  if (typeof retry !== 'number' || !Number.isSafeInteger(retry) || retry < 0) {
    throw new FST_ERR_SSE_FIELD('retry', 'a non-negative safe integer of milliseconds', outline(retry))
  }
  return `retry: ${retry}\n`
}

function encodeComment (comment: unknown): string {
  if (typeof comment !== 'string') throw new FST_ERR_SSE_FIELD('comment', 'a string', outline(comment))
  return ': ' + comment.split(LINE_BREAK).join('\n: ') + '\n'
}

/** @param start of the block, up to where its data begins */
function encodeData (start: string, data: string): string {
  return start + (isOneLine(data) ? data : data.split(LINE_BREAK).join('\n' + DATA)) + '\n\n'
}

function isOneLine (text: string): boolean {
  return !text.includes('\n') && !text.includes('\r')
}

function checkId (id: unknown): string | number {
  if (typeof id === 'number' && Number.isFinite(id)) return id
  if (typeof id === 'string' && !BREAKS_HEADER.test(id) && !isTooLong(id)) return id
  throw new FST_ERR_SSE_FIELD('id', `a string of at most ${MAX_LAST_EVENT_ID} bytes without control characters, or a finite number`, outline(id))
}

// Most events have the name of the one before, and so the same start of their block.
let lastStart = { name: '', text: `event: \n${DATA}` }

function startOf (name: unknown): { name: string, text: string } {
  if (name === lastStart.name) return lastStart
  if (typeof name === 'string' && !BREAKS_FIELD.test(name)) return (lastStart = { name, text: `event: ${name}\n${DATA}` })
  throw new FST_ERR_SSE_FIELD('event', 'a string without CR, LF and NUL', outline(name))
}

function isFields (event: unknown): event is { [Field in keyof EventFields]: unknown } {
  // To go through the keys of something long takes its time.
  if (typeof event !== 'object' || event === null || Array.isArray(event) || ArrayBuffer.isView(event)) return false
  for (const key in event) {
    switch (key) {
      case 'id': case 'event': case 'data': case 'retry': case 'comment': continue
      default: return false
    }
  }
  return true
}

function notAnEvent (value: unknown): Error {
  return new FST_ERR_SSE_EVENT(
    `a source yields strings or objects with id, event, data, retry or comment, and nothing else; got ${outline(value)}. ` +
    'To send a value as data: yield { data: value }')
}
