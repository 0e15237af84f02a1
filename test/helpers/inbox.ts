import { createParser } from 'eventsource-parser'
import type { Moment } from './ledger'
import type { Subscriber } from './subscriber'

interface Letter {
  readonly bytes: Uint8Array
  readonly moment: Moment
}

/** Bytes of an event stream that are under way to a subscriber, who may be cut off within them. */
export class Inbox {
  readonly #parser
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  #letters: Letter[] = []
  #moment: Moment | undefined
  /** Events that were read. */
  events = 0

  constructor (subscriber: Subscriber) {
    this.#parser = createParser({
      onEvent: ({ id = '', event = '', data }) => {
        if (this.#moment === undefined) throw new Error('an event came out of nothing')
        this.events++
        subscriber.receive({ id, event, data }, this.#moment)
      },
      onError (error) { throw error }
    })
  }

  /** @param moment when they were sent */
  put (bytes: Uint8Array, moment: Moment): void {
    this.#letters.push({ bytes, moment })
  }

  /** Reads what has come, or a part of it; the rest is lost. */
  take (part = 1): void {
    let left = Math.floor(part * this.#letters.reduce((sum, { bytes }) => sum + bytes.length, 0))
    for (const { bytes, moment } of this.#letters.splice(0)) {
      this.#moment = moment
      this.#parser.feed(this.#decoder.decode(bytes.subarray(0, left), { stream: true }))
      left = Math.max(0, left - bytes.length)
    }
  }
}
