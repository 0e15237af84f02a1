import { createParser } from 'eventsource-parser'
import fc from 'fast-check'

/** What a client dispatches. */
export interface Message {
  type: string
  data: string
  lastEventId: string
}

/** All that a client can read from a stream. */
export interface Received {
  /** The last event ID is that of the event's own block, if it has one. */
  messages: (Omit<Message, 'lastEventId'> & { id: string | undefined })[]
  retries: number[]
  comments: string[]
}

export interface Fields {
  id?: string | number
  event?: string
  data?: unknown
  retry?: number
  comment?: string
}

export type Event = string | Fields

const fieldsOf = (event: Event): Fields => typeof event === 'string' ? { data: event } : event

const dispatches = ({ event, data }: Fields): boolean => event !== undefined || data !== undefined

function textOf (data: unknown): string {
  if (data === undefined) return ''
  const text = typeof data === 'string' ? data : data instanceof Uint8Array ? Buffer.from(data).toString('base64') : JSON.stringify(data)
  return text.replace(/\r\n?/g, '\n').toWellFormed()
}

const typeOf = ({ event }: Fields): string => event?.toWellFormed() || 'message'

/** What every client must read from these events. */
export function expected (events: readonly Event[]): Received {
  const all = events.map(fieldsOf)
  return {
    messages: all.filter(dispatches).map(fields => ({
      type: typeOf(fields),
      data: textOf(fields.data),
      id: fields.id === undefined ? undefined : String(fields.id).toWellFormed()
    })),
    retries: all.flatMap(({ retry }) => retry ?? []),
    comments: all.flatMap(({ comment }) => comment === undefined ? [] : textOf(comment).split('\n'))
  }
}

/** What an `EventSource` must dispatch for these events: the last event ID stays until another one comes. */
export function expectedMessages (events: readonly Event[]): Message[] {
  let lastEventId = ''
  return events.map(fieldsOf).flatMap(fields => {
    if (fields.id !== undefined) lastEventId = String(fields.id).toWellFormed()
    return dispatches(fields) ? [{ type: typeOf(fields), data: textOf(fields.data), lastEventId }] : []
  })
}

/** Reads a stream with eventsource-parser, and fails for a line that is no field. */
export function parse (chunks: Iterable<Uint8Array>): Received {
  const received: Received = { messages: [], retries: [], comments: [] }
  const parser = createParser({
    onEvent ({ event, data, id }) { received.messages.push({ type: event ?? 'message', data, id }) },
    onRetry (retry) { received.retries.push(retry) },
    onComment (comment) { received.comments.push(comment) },
    onError (error) { throw error }
  })
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  for (const chunk of chunks) parser.feed(decoder.decode(chunk, { stream: true }))
  return received
}

/** Cuts bytes at these places, which count round and round. */
export function cut (bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const ends = [...places.map(place => place % (bytes.length + 1)), bytes.length].sort((a, b) => a - b)
  return ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end)).filter(chunk => chunk.length > 0)
}

const PIECES = [
  '\n', '\r', '\r\n', '\n\n', '\0', ' ', ':', '\t', '\u0085', '\u2028', '\ufeff', 'é', '☃', '😀', '\ud800', '\udc00',
  'data', 'data: x\n\n', 'id: 1\n', 'event: x', 'retry: 1\r'
]

/** Texts full of what means something in an event stream or in UTF-8. */
export const text = fc.array(fc.oneof(fc.constantFrom(...PIECES), fc.string({ unit: 'binary', maxLength: 5 })), { maxLength: 8 })
  .map(pieces => pieces.join(''))

/** Texts that a name may be: only the names that an `EventSource` uses for its own events are left out. */
export const fieldText = text.map(value => value.replace(/[\r\n\0]/g, '')).filter(value => value !== 'open' && value !== 'error')

/** Texts that an ID may be: without control characters, which the header could not have that brings it back. */
export const idText = text.map(value => Array.from(value).filter(isIdCharacter).join(''))

export function isIdCharacter (character: string): boolean {
  return character === '\t' || (character >= ' ' && character !== '\x7f')
}

/** Whatever may be yielded. */
export const events: fc.Arbitrary<Event[]> = fc.array(fc.oneof(
  text,
  fc.record<Fields, never>({
    id: fc.oneof(idText, fc.integer(), fc.double({ noNaN: true, noDefaultInfinity: true })),
    event: fieldText,
    data: fc.oneof(text, fc.jsonValue(), fc.uint8Array().map(bytes => bytes.subarray(bytes.length >> 2))),
    retry: fc.maxSafeNat(),
    comment: text
  }, { requiredKeys: [] }).filter(fields => Object.keys(fields).length > 0)
), { maxLength: 12 })

export const places = fc.array(fc.nat(), { maxLength: 30 })
