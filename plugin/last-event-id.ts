import { isUtf8 } from 'node:buffer'

/** The longest last event ID, in bytes. A client has no use for a longer one; channels write at most 128. */
export const MAX_LAST_EVENT_ID = 1024

/**
 * The last event ID a client sent with its request (WHATWG HTML 9.2.4), `''` when there is none.
 *
 * The `Last-Event-ID` header wins over the query parameter, which is for clients that cannot set headers. The value is
 * UTF-8, which Node hands over as latin1; some clients really send latin1, which is taken for that. What no client can
 * have received as an ID (over 1,024 bytes, or with CR, LF or NUL) counts as none.
 *
 * @param header the `last-event-id` header as Node gives it
 * @param url the request's target, with its query
 * @param parameter the name of the query parameter, or `false` to look at the header alone
 */
export function readLastEventId (header: string | string[] | undefined, url: string, parameter: string | false): string {
  if (typeof header === 'string') return header.length > MAX_LAST_EVENT_ID ? '' : decode(header)
  const query = url.indexOf('?')
  if (parameter === false || query === -1) return ''
  const id = new URLSearchParams(url.slice(query)).get(parameter) ?? ''
  return isTooLong(id) || /[\r\n\0]/.test(id) ? '' : id
}

/** Whether an ID that was sent would not be taken back. */
export function isTooLong (id: string): boolean {
  return id.length * 3 > MAX_LAST_EVENT_ID && Buffer.byteLength(id) > MAX_LAST_EVENT_ID
}

/** Whether a client sent what cannot be an ID: it has seen events, but nobody can tell which. */
export function hasUnreadableId (header: string | string[] | undefined, id: string): boolean {
  return id === '' && header !== undefined && header !== ''
}

function decode (header: string): string {
  const bytes = Buffer.from(header, 'latin1')
  return isUtf8(bytes) ? bytes.toString() : header
}
