import { setImmediate } from 'node:timers/promises'
import type { EventSourceMessage } from 'eventsource-parser'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import type { Channel, ChannelEvent, ChannelOptions, Gap, PluginOptions } from '../../plugin/types'
import { EVENT_SOURCE, open, type Stream } from './client'
import { serve, type Options, type Served } from './serve'

export interface ServedChannel extends Served {
  channel: Channel
  /** Opens a stream of the channel as an `EventSource` does. */
  read (lastEventId?: string): Promise<Stream>
  /** Publishes data, and gives the IDs. */
  publishAll (...data: unknown[]): Promise<string[]>
}

/** Serves a channel called `news` at `/`. */
export async function serveChannel (t: Test, options?: ChannelOptions, plugin: PluginOptions = {}, routes: (app: FastifyInstance, channel: Channel) => unknown = () => {}, fastify: Options['fastify'] = {}): Promise<ServedChannel> {
  const served = await serve(t, app => {
    const channel = app.sse.channel('news', options)
    app.get('/', (request, reply) => reply.sse(channel))
    return routes(app, channel)
  }, { plugin, fastify })
  const channel = served.app.sse.channel('news')
  return {
    ...served,
    channel,
    read: id => read(t, served.url, id),
    publishAll: (...data) => publishAll(channel, ...data)
  }
}

/** Opens a stream as an `EventSource` does, which comes back if it has an ID. */
export function read (t: Test, url: string, lastEventId?: string): Promise<Stream> {
  return open(t, url, { headers: lastEventId === undefined ? EVENT_SOURCE : { ...EVENT_SOURCE, 'last-event-id': lastEventId } })
}

export async function publishAll (channel: Channel, ...data: unknown[]): Promise<string[]> {
  const ids = []
  for (const each of data) ids.push(await channel.publish({ data: each }))
  return ids
}

/** The next events of a stream, which must not end before. */
export async function take (stream: Stream, count: number): Promise<EventSourceMessage[]> {
  const events = []
  while (events.length < count) {
    const event = await stream.next()
    if (event === undefined) throw new Error(`ended after ${JSON.stringify(events)}`)
    events.push(event)
  }
  return events
}

/** The data of events. */
export function dataOf (events: ReadonlyArray<{ data: unknown } | undefined>): unknown[] {
  return events.map(event => event?.data)
}

/** What an event says that tells of a gap; fails for any other. */
export function gapOf (event: EventSourceMessage | ChannelEvent | undefined): Gap & { id: string | undefined } {
  if (event?.event !== 'gap') throw new Error(`no gap: ${JSON.stringify(event)}`)
  return { ...typeof event.data === 'string' ? JSON.parse(event.data) : event.data, id: event.id }
}

/** An iteration, and how it is taken step by step. */
export class Steps<Event> {
  readonly iterator: AsyncIterator<Event, undefined>

  constructor (iterable: { [Symbol.asyncIterator] (): AsyncIterator<Event, undefined> }) {
    this.iterator = iterable[Symbol.asyncIterator]()
  }

  /** Asks for the next event, and gives the answer when the iteration has begun. It waits for nothing but promises. */
  async begin (): Promise<{ next: Promise<Event | undefined> }> {
    const next = this.next()
    next.catch(() => {})
    await setImmediate()
    return { next }
  }

  async next (): Promise<Event | undefined> {
    return (await this.iterator.next()).value
  }

  async take (count: number): Promise<Event[]> {
    const events = []
    while (events.length < count) {
      const { done, value } = await this.iterator.next()
      if (done === true) throw new Error(`ended after ${JSON.stringify(events)}`)
      events.push(value)
    }
    return events
  }

  /** All that is there, and what comes before the iteration is done. */
  async rest (): Promise<Event[]> {
    const events = []
    for (let result = await this.iterator.next(); result.done !== true; result = await this.iterator.next()) events.push(result.value)
    return events
  }

  async leave (): Promise<void> {
    await this.iterator.return?.()
  }
}
