import type { FastifyTypeProvider } from 'fastify'
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
  ? unknown extends Events[keyof Events] ? string | EventFields : DeclaredEvent<Events>
  : DeclaredEvent<Events>

type DeclaredEvent<Events> = GapEvent | EventWithoutData | BareEvent<BareNames<Events>> | NamedEvent<Events> | UnnamedEvent<Events>

type NamedEvent<Events, Names extends keyof Events = Exclude<keyof Events, 'message'>> = {
  [Name in Names & string]: { event: Name, data: Events[Name] } & EventFields<Events[Name]>
}[Names & string]

type UnnamedEvent<Events> = 'message' extends keyof Events
  ? ({ event?: 'message' | undefined, data: Events['message'] } & EventFields<Events['message']>) | TextOf<Events['message']>
  : never

/** As much of the data of an unnamed event as may stand for the event. */
export type TextOf<Data> = string extends Data ? string : Extract<Data, string>

/** The names of events whose data may be left out. Not where it is unknown: it may have a schema, and then has to be there. */
export type BareNames<Events> = {
  [Name in keyof Events]-?: unknown extends Events[Name] ? never : undefined extends Events[Name] ? Name : never
}[keyof Events]

/** What an iteration of a channel gives where events are missing, and may be passed on wherever events are declared. */
interface GapEvent extends EventFields<Gap> {
  event: typeof GAP
  data: Gap
}

interface EventWithoutData extends EventFields<undefined> {
  event?: undefined
}

/** By a name that may be `never`: a conditional type could not be looked into in a generic function. */
interface BareEvent<Name> extends EventFields<undefined> {
  event: Name & string
}

/** Refuses, at compile time, an event with a field that no event has. */
export type KnownFields<Event, Fields = keyof EventFields> = [UnknownField<Event, Fields>] extends [never]
  ? unknown
  : { 'no field of an event': UnknownField<Event, Fields> }

type UnknownField<Event, Fields> = 0 extends 1 & Event ? never : Event extends string ? never : Exclude<keyof Event, Fields>

/** The types of events by their schemas, by the type provider; a schema that it does not know allows any data. */
export type SchemaEvents<Schemas, TypeProvider extends FastifyTypeProvider> = Schemas extends object
  ? { [Name in keyof Schemas & string]: Known<(TypeProvider & { schema: Schemas[Name] })['serializer']> }
  : AnyEvents

type Known<Data> = [Data] extends [never] ? unknown : Data

/**
 * In the place where the compiler infers data, makes it take a `'buy'` for `'buy'`, not for any `string`, and a
 * `['a', 1]` for a tuple. An object with a value that is none of these is still looked into, hence the `{}`.
 */
export type Literal = '' | 0 | true | [] | Literal[] | { [key: string]: Literal | {} | null | undefined }

/** Turns the data of an event into text. */
export type Serializer = (data: unknown) => string
