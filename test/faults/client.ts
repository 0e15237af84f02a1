import { type ClientRequest, get, type IncomingMessage } from 'node:http'
import { createParser } from 'eventsource-parser'
import type { Gap } from '../../plugin/types'
import type { Reader } from './oracle'

// How soon it comes back if the server has not told it otherwise.
const RETRY_MS = 200

export interface ClientEvents {
  /** The port of an application that is up. */
  port (): number
  opened (): void
  /** The connection of one who reads some channels ended, and not by the client's own will. */
  lost (channels: readonly string[]): void
  /** @param silence milliseconds since the event before */
  delivered (gap: Gap | undefined, silence: number): void
  failed (error: Error): void
}

/** A client as an `EventSource` is one: when its stream ends it comes back with its last event ID, wherever it is let in. */
export class Client {
  readonly reader: Reader
  readonly #events: ClientEvents
  #request: ClientRequest | undefined
  #timer: NodeJS.Timeout | undefined
  #retry = RETRY_MS
  /** How long it stays away after it left by itself; nothing if it did not leave. */
  #away: number | undefined
  #isOpen = false
  #isDone = false
  #lastByte = performance.now()
  #lastEvent = performance.now()

  constructor (reader: Reader, events: ClientEvents) {
    this.reader = reader
    this.#events = events
  }

  /** Milliseconds in which it was given no byte, although it is connected. */
  get quiet (): number {
    return this.#request === undefined ? 0 : performance.now() - this.#lastByte
  }

  connect (): void {
    clearTimeout(this.#timer)
    if (this.#isDone || this.#request !== undefined) return
    const { channels, lastId } = this.reader
    const id = lastId === '' ? {} : { 'last-event-id': lastId }
    this.#lastByte = performance.now()
    this.#request = get({
      host: '127.0.0.1', port: this.#events.port(), path: `/${channels.join()}`, agent: false, headers: { accept: 'text/event-stream', ...id }
    })
    this.#request.on('response', response => { this.#read(response) })
    this.#request.on('error', () => {})
    this.#request.on('close', () => { this.#closed() })
  }

  /** Drops its connection, whatever is under way, and comes back after so many milliseconds. */
  leave (away: number): void {
    if (this.#request === undefined) return
    this.#away = away
    this.#request.destroy()
  }

  /** Comes back for good, and does not count how long nothing was to be had. */
  settle (): void {
    this.#lastEvent = performance.now()
    this.connect()
  }

  /** Goes, and does not come back. */
  stop (): void {
    this.#isDone = true
    clearTimeout(this.#timer)
    this.#request?.destroy()
  }

  #read (response: IncomingMessage): void {
    const { statusCode, headers } = response
    if (statusCode !== 200 || headers['content-type'] !== 'text/event-stream') {
      return this.#events.failed(new Error(`a client was answered with ${statusCode} ${headers['content-type']}`))
    }
    this.#events.opened()
    this.#lastByte = performance.now()
    this.#isOpen = true
    const parser = createParser({
      onEvent: ({ id = '', event = '', data }) => { this.#receive(id, event, data) },
      onRetry: retry => { this.#retry = retry },
      onError: error => { throw error }
    })
    response.setEncoding('utf8')
    response.on('data', (text: string) => {
      if (this.#away !== undefined || this.#isDone) return
      this.#lastByte = performance.now()
      try {
        parser.feed(text)
      } catch (error) {
        this.#events.failed(error instanceof Error ? error : new Error(String(error)))
      }
    })
    response.on('error', () => {})
  }

  #receive (id: string, event: string, data: string): void {
    const before = this.reader.lastId
    try {
      const gap = this.reader.receive(id, event, data)
      this.#events.delivered(gap, performance.now() - this.#lastEvent)
      this.#lastEvent = performance.now()
    } catch (error) {
      throw new Error(`${error instanceof Error ? error.message : String(error)}; in ${JSON.stringify({ id, event, data: data.slice(0, 300) })} after '${before}', of ${this.reader.channels.join()}`)
    }
  }

  #closed (): void {
    this.#request = undefined
    if (this.#isDone) return
    const isOwn = this.#away !== undefined
    if (this.#isOpen && !isOwn) this.#events.lost(this.reader.channels)
    this.#isOpen = false
    this.#timer = setTimeout(() => {
      if (isOwn) this.#lastEvent = performance.now()
      this.connect()
    }, this.#away ?? this.#retry)
    this.#away = undefined
    this.#retry = RETRY_MS
  }
}
