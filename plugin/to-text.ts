import { GAP } from './channel/gap'
import { FST_ERR_SSE_EVENT, FST_ERR_SSE_FIELD } from './errors'
import type { Serializer } from './event'
import { outline } from './inspect'
import { ignoreRejection, isThenable } from './thenable'

/** Turns the data of an event into its text; `event` is the event's name. */
export type ToText = (data: unknown, event: string) => string

/** Data without a schema: text as it is, bytes as base64, no data as empty text, all else through the serializer. */
export function bySerializer (serialize: Serializer): ToText {
  return data => {
    if (typeof data === 'string') return data
    if (data === undefined) return ''
    if (data instanceof Uint8Array) return base64(data)
    try {
      return textOf(serialize, data)
    } catch (error) {
      throw new FST_ERR_SSE_FIELD('data', `something that its serializer turns into a string (${reasonOf(error)})`, outline(data), { cause: error })
    }
  }
}

/**
 * Data with a schema for each name of an event. What comes out as a JSON string goes over without its quotes, as text
 * does that has no schema.
 *
 * @param serializers by the name of the event; may be filled later, before the first event
 */
export function bySchema (serializers: ReadonlyMap<string, Serializer>): ToText {
  return (data, event) => {
    // Whoever iterates a channel is given its gaps too.
    const serialize = serializers.get(event) ?? (event === GAP ? JSON.stringify : undefined)
    if (serialize === undefined) {
      throw new FST_ERR_SSE_EVENT(`there is no schema for an event named ${outline(event)}, only for ${[...serializers.keys()].join(', ')}`)
    }
    try {
      const text = textOf(serialize, data instanceof Uint8Array ? base64(data) : data)
      return text.startsWith('"') ? unquote(text) : text
    } catch (error) {
      throw new FST_ERR_SSE_FIELD('data', `what the schema of the event '${event}' allows (${reasonOf(error)})`, outline(data), { cause: error })
    }
  }
}

function textOf (serialize: Serializer, data: unknown): string {
  // JSON knows nothing of these: serializers leave them out, or worse.
  if (data === undefined || typeof data === 'function' || typeof data === 'symbol') throw new TypeError('there is none')
  if (isThenable(data)) throw refusal(data, 'it is a promise: await it')
  const text: unknown = serialize(data)
  if (isThenable(text)) throw refusal(text, 'its serializer gives a promise, and must be synchronous')
  // fast-json-stringify gives this word for what has a toJSON that gives nothing.
  if (typeof text !== 'string' || text === 'undefined') throw new TypeError(`its serializer gives ${outline(text)}`)
  return text
}

/** Refuses a promise, which then nobody waits for. */
function refusal (promise: unknown, problem: string): TypeError {
  ignoreRejection(promise)
  return new TypeError(problem)
}

function reasonOf (error: unknown): string {
  return error instanceof Error ? error.message : outline(error)
}

function unquote (text: string): string {
  try {
    return String(JSON.parse(text))
  } catch {
    // Not JSON, but what a serializer of the user's own makes.
    return text
  }
}

function base64 (bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')
}
