import { AsyncResource } from 'node:async_hooks'
import type { Message } from '../backplane/types'
import { FST_ERR_SSE_OPTION } from '../errors'
import type { SseEvent } from '../event'
import { ignoreRejection, isThenable } from '../thenable'
import { bySerializer } from '../to-text'
import type { ChannelEvent } from './item'
import { toMessage } from './message'

/** What a stream is to have of an event: nothing, the event as it is, or another in its place. */
export type Pick = (event: ChannelEvent) => Message | 'as it is' | undefined

/** As a method is: one that takes certain events is one that takes events, since the types of those are the user's word. */
export type Method<Event, Result> = { call (event: Event): Result }['call']

const toText = bySerializer(JSON.stringify)

export function everything (): 'as it is' {
  return 'as it is'
}

/**
 * Joins a filter and a map into one; what `map` makes may be larger than what was published. Both are called by whoever
 * publishes, and find the AsyncLocalStorage of whoever subscribed.
 */
export function picking ({ filter, map }: Picking): Pick {
  return AsyncResource.bind((event: ChannelEvent) => {
    if (filter !== undefined && !isKept(filter(event))) return undefined
    if (map === undefined) return 'as it is'
    const mapped: unknown = map(event)
    return mapped === undefined ? undefined : toMessage(withoutId(mapped), toText, Infinity)
  })
}

/** In doubt, no: a filter may be what keeps events from those who may not have them. */
function isKept (answer: unknown): boolean {
  if (!isThenable(answer)) return Boolean(answer)
  ignoreRejection(answer)
  throw new FST_ERR_SSE_OPTION("the function 'filter' must return a boolean", 'a promise')
}

/** A copy of the event, changed, still has its ID. */
function withoutId (mapped: unknown): unknown {
  ignoreRejection(mapped)
  if (typeof mapped !== 'object' || mapped === null) return mapped
  const { id, ...fields }: { id?: unknown } = mapped
  return fields
}

interface Picking {
  filter?: Method<ChannelEvent, boolean> | undefined
  map?: Method<ChannelEvent, SseEvent | undefined> | undefined
}
