import type { GAP, Gap } from './channel/gap'

/**
 * The fields of one event (WHATWG HTML 9.2.6). At least one of them must be there.
 *
 * An event with an `event` name and no `data` goes out with empty data, since a client drops a block without data.
 * An event with only an `id` moves the client's last event ID and dispatches nothing.
 */
export interface EventFields<Data = unknown> {
  /** The last event ID a client will have after this event. `''` resets it. Not allowed: CR, LF, NUL. */
  id?: string | number | undefined
  /** The event's name: what a browser listens for with `addEventListener`. Default: `message`. Not allowed: CR, LF, NUL. */
  event?: string | undefined
  /** A string goes out as it is, a `Uint8Array` as base64, anything else through the serializer (JSON). */
  data?: Data | undefined
  /** The reconnection time in milliseconds, a non-negative integer. */
  retry?: number | undefined
  /** A comment, which every client ignores. */
  comment?: string | undefined
}

/** A map of event names to the types of their data; the unnamed event is `message`. This one allows any. */
export type AnyEvents = Record<string, unknown>

/** What a source may yield: fields, or a string that is the data of an unnamed event. */
export type SseEvent<Events extends object = AnyEvents> = string extends keyof Events
  ? string | EventFields
  : NamedEvent<Events> | UnnamedEvent<Events> | EventWithoutData | GapEvent

type NamedEvent<Events, Names extends keyof Events = Exclude<keyof Events, 'message'>> = {
  [Name in Names & string]: { event: Name, data: Events[Name] } & EventFields<Events[Name]>
}[Names & string]

type UnnamedEvent<Events> = Events extends { message: infer Data }
  ? ({ event?: 'message' | undefined, data: Data } & EventFields<Data>) | (string extends Data ? string : never)
  : never

/** What an iteration of a channel gives where events are missing, and may be passed on wherever events are declared. */
interface GapEvent extends EventFields<Gap> {
  event: typeof GAP
  data: Gap
}

interface EventWithoutData extends EventFields<undefined> {
  event?: undefined
}

/** Refuses, at compile time, an event with a field that no event has. */
export type KnownFields<Event> = [UnknownField<Event>] extends [never] ? unknown : { 'no field of an event': UnknownField<Event> }

type UnknownField<Event> = 0 extends 1 & Event ? never : Event extends string ? never : Exclude<keyof Event, keyof EventFields>

/** Turns the data of an event into text. */
export type Serializer = (data: unknown) => string
