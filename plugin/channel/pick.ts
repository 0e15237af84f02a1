import type { Message } from '../backplane/types'
import type { SseEvent } from '../event'
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

/** Joins a filter and a map into one; what `map` makes may be larger than what was published. */
export function picking (chosen: Picking): Pick {
  return event => {
    if (chosen.filter?.(event) === false) return undefined
    if (chosen.map === undefined) return 'as it is'
    const mapped = chosen.map(event)
    if (mapped === undefined) return undefined
    // A copy of the event, changed, still has its ID.
    const { id, ...fields } = typeof mapped === 'string' ? { id: undefined, data: mapped } : mapped
    return toMessage(fields, toText, Infinity)
  }
}

interface Picking {
  filter?: Method<ChannelEvent, boolean> | undefined
  map?: Method<ChannelEvent, SseEvent | undefined> | undefined
}
