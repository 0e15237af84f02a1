import type { Entry, Position } from '../backplane/types'
import { encodeEvent } from '../encode'
import { GAP, type Gap } from './gap'
import { toId } from './position'

/** An event of a channel, as it comes out of a subscription. It is one for all who read it, and not to be changed. */
export interface ChannelEvent<Event extends string | undefined = string | undefined, Data = unknown> {
  /** Its place in what is subscribed to: what `from` and `Last-Event-ID` take. */
  readonly id: string
  /** The name it was published under; none for the unnamed. */
  readonly event: Event
  /** As JSON carries it: a `Date` arrives as a string. */
  readonly data: Data
}

interface Kind {
  readonly isStart?: boolean
  readonly gap?: Gap | undefined
}

/** An event of a channel, encoded once for all its readers, and linked to the one after it. */
export class Item implements Position {
  readonly epoch: string
  readonly offset: number
  readonly id: string
  /** In milliseconds since 1970. */
  readonly time: number
  /** The event's name, `''` for the unnamed. */
  readonly event: string
  /** Bytes of name and data, as a history counts them. */
  readonly bytes: number
  /** The block of the event stream; none at a start. */
  readonly text: string
  /** Bytes of the text. */
  readonly size: number
  /** Bytes of all text of its log, up to the end of its own. */
  end = 0
  next: Item | undefined
  /** What it says, where it is the event that tells of a gap. */
  readonly gap: Gap | undefined
  readonly #data: string
  readonly #isJson: boolean
  #asEvent: ChannelEvent | undefined

  /** @param id where it is not that of its position: in a stream over several channels */
  constructor (epoch: string, { offset, time, event, data, isJson }: Entry, id = toId({ epoch, offset }), kind: Kind = {}) {
    this.epoch = epoch
    this.offset = offset
    this.id = id
    this.time = time
    this.event = event
    this.bytes = Buffer.byteLength(event) + Buffer.byteLength(data)
    this.text = kind.isStart ? '' : encodeEvent({ id, event: event === '' ? undefined : event, data }, asItIs)
    this.size = Buffer.byteLength(this.text)
    this.#data = data
    this.#isJson = isJson
    this.gap = kind.gap
  }

  /** A place to begin at: nothing that is sent, but a position. */
  static start ({ epoch, offset }: Position, id?: string): Item {
    return new Item(epoch, { ...NOTHING, offset }, id, { isStart: true })
  }

  /** The event that tells what is missing, at the place of an item. */
  static gap (gap: Gap, { epoch, offset }: Position, id: string): Item {
    return new Item(epoch, { ...NOTHING, offset, event: GAP, data: JSON.stringify(gap), isJson: true }, id, { gap })
  }

  /** The event for whoever filters, maps or iterates. */
  get asEvent (): ChannelEvent {
    return (this.#asEvent ??= Object.freeze({
      id: this.id,
      event: this.event === '' ? undefined : this.event,
      data: this.#isJson ? parse(this.#data) : this.#data
    }))
  }

  /** The same event in another stream, with an ID of that. */
  withId (id: string): Item {
    return new Item(this.epoch, this.#entry, id)
  }

  /** Another event in its place. */
  with (message: { event: string, data: string, isJson: boolean }, id: string): Item {
    return new Item(this.epoch, { ...this.#entry, ...message }, id)
  }

  get #entry (): Entry {
    const { offset, time, event } = this
    return { offset, time, event, data: this.#data, isJson: this.#isJson, isEnd: false }
  }
}

const NOTHING = { time: 0, event: '', data: '', isJson: false, isEnd: false }

function asItIs (data: unknown): string {
  return String(data)
}

/** A serializer of the user's own may make something else of data than JSON. */
function parse (data: string): unknown {
  try {
    return JSON.parse(data)
  } catch {
    return data
  }
}
