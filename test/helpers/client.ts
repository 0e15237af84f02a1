import { createParser, type EventSourceMessage } from 'eventsource-parser'
import type { Test } from 'tap'
import { Agent, fetch, type RequestInit, type Response } from 'undici'

export interface Stream {
  response: Response
  /** The next event; fails when the stream is torn, gives `undefined` at its clean end. */
  next (): Promise<EventSourceMessage | undefined>
  /** All events to the clean end. */
  rest (): Promise<EventSourceMessage[]>
  /** The reconnection time that was sent last. */
  retry (): number | undefined
  /** Leaves, as a page does that is closed. */
  close (): void
}

/** Opens a stream with undici's fetch; it is left at the end of the test. */
export async function open (t: Test, url: string, init: RequestInit = {}): Promise<Stream> {
  const controller = new AbortController()
  // A pool that is shared with other requests connects anew, and to no purpose, when one of them is aborted: to
  // `server.close()` such a connection is not idle.
  const dispatcher = new Agent()
  t.teardown(() => leave())
  const response = await fetch(url, { dispatcher, ...init, signal: controller.signal })
  const chunks = response.body?.pipeThrough(new TextDecoderStream())[Symbol.asyncIterator]()
  const events: EventSourceMessage[] = []
  let retry: number | undefined
  const parser = createParser({ onEvent: event => { events.push(event) }, onRetry: value => { retry = value } })

  async function next (): Promise<EventSourceMessage | undefined> {
    while (events.length === 0) {
      const chunk = await chunks?.next()
      if (chunk === undefined || chunk.done === true) return undefined
      parser.feed(chunk.value)
    }
    return events.shift()
  }

  async function rest (): Promise<EventSourceMessage[]> {
    const all = []
    for (let event = await next(); event !== undefined; event = await next()) all.push(event)
    return all
  }

  async function leave (): Promise<void> {
    controller.abort()
    await dispatcher.destroy()
  }

  return { response, next, rest, retry: () => retry, close: () => { leave() } }
}

/** The headers of an EventSource. */
export const EVENT_SOURCE = { accept: 'text/event-stream' }
