import { GAP } from './channel/gap'
import { FST_ERR_SSE_EVENT, FST_ERR_SSE_FIELD } from './errors'
import type { Serializer } from './event'
import { show } from './inspect'

/** Turns the data of an event into its text; `event` is the event's name. */
export type ToText = (data: unknown, event: string) => string

/** Data without a schema: text as it is, bytes as base64, no data as empty text, all else through the serializer. */
export function bySerializer (serialize: Serializer): ToText {
  return data => {
    if (typeof data === 'string') return data
    if (data === undefined) return ''
    if (data instanceof Uint8Array) return base64(data)
    const text = isNothing(data) ? undefined : serialize(data)
    if (typeof text !== 'string') throw new FST_ERR_SSE_FIELD('data', 'something that its serializer turns into a string', show(data))
    return text
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
      throw new FST_ERR_SSE_EVENT(`there is no schema for an event named ${show(event)}, only for ${[...serializers.keys()].join(', ')}`)
    }
    try {
      if (isNothing(data)) throw new TypeError('there is none')
      const text: unknown = serialize(data instanceof Uint8Array ? base64(data) : data)
      if (typeof text !== 'string') throw new TypeError(`its serializer gives ${show(text)}`)
      return text.startsWith('"') ? unquote(text) : text
    } catch (error) {
      const reason = error instanceof Error ? error.message : show(error)
      throw new FST_ERR_SSE_FIELD('data', `what the schema of the event '${event}' allows (${reason})`, show(data))
    }
  }
}

/** Whether JSON knows nothing of it: serializers leave it out, or worse. */
function isNothing (data: unknown): boolean {
  return data === undefined || typeof data === 'function' || typeof data === 'symbol'
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
