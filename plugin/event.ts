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

/** What a source may yield: a string is the data of an unnamed event. */
export type SseEvent<Data = unknown> = string | EventFields<Data>

/** Turns the data of an event into text. */
export type Serializer = (data: unknown) => string
