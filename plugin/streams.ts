import type { FastifyReply, FastifyRequest } from 'fastify'
import type { CloseReason } from './close-reason'
import { isGone } from './connection'
import { encodeRetry } from './encode'
import { FST_ERR_SSE_ALREADY_SENT, FST_ERR_SSE_LIMIT } from './errors'
import { hasFeed } from './feed'
import { Limits } from './limits'
import { resolveOptions, type ResolvedOptions, type SseOptions } from './options'
import type { Outlet } from './outlet'
import { isEventSource, keepUncompressed, setHeaders } from './response'
import { optionsOf } from './routes'
import { StreamSignal } from './signal'
import { discard, takeSource, type Source } from './source'
import type { Shared } from './shared'
import type { Closing, OpenTotals, Stats } from './stats'
import { EventStream } from './stream'
import { Ticker } from './ticker'
import { draw, expiryOf } from './time'

/** What a reply was given to answer with, until that fails in a way that lets it answer with something else. */
export const SOURCE = Symbol('fastify-event-stream')

declare module 'fastify' {
  interface FastifyReply {
    [SOURCE]: unknown
  }
}

/** All event streams of a registration: opens them, counts them, and ends them when the server closes. */
export class EventStreams implements Shared {
  readonly heartbeats = new Ticker<Outlet>(outlet => { outlet.heartbeatTick() })
  readonly stalls = new Ticker<EventStream>(stream => { stream.stallTick() })
  readonly open = new Set<EventStream>()
  readonly #stats: Stats
  readonly #registration: ResolvedOptions
  readonly #limits: Limits
  #closing = false

  constructor (registration: ResolvedOptions, stats: Stats) {
    this.#registration = registration
    this.#stats = stats
    this.#limits = new Limits(registration)
  }

  /**
   * Answers a request with an event stream.
   *
   * @throws FST_ERR_SSE_SOURCE, FST_ERR_SSE_OPTION or FST_ERR_SSE_ALREADY_SENT when it cannot
   */
  answer (reply: FastifyReply, source: unknown, given?: SseOptions, signal = new StreamSignal()): FastifyReply {
    const { request } = reply
    takeSource(source)
    if (reply.sent || reply.raw.headersSent || reply[SOURCE] !== undefined) {
      if (reply[SOURCE] !== source) discard(source)
      throw new FST_ERR_SSE_ALREADY_SENT(request.method, request.url)
    }
    reply[SOURCE] = source
    try {
      return this.#admit(reply, source, given, signal)
    } catch (error) {
      this.forget(reply)
      discard(source)
      throw error
    }
  }

  /** What the streams that are open were handed. */
  get totals (): OpenTotals {
    const totals = { events: 0, bytes: 0, queued: 0 }
    for (const { isOpen, sent, queued } of this.open) {
      if (!isOpen) continue
      totals.events += sent.events
      totals.bytes += sent.bytes
      totals.queued += queued
    }
    return totals
  }

  opened (request: FastifyRequest): void {
    this.#stats.opened(request)
  }

  closed (request: FastifyRequest, closing: Closing, wasOpen: boolean): void {
    request.log.debug(closing, 'event stream closed')
    this.#stats.closed({ request, ...closing }, wasOpen)
  }

  forget (reply: FastifyReply): void {
    reply[SOURCE] = undefined
  }

  #admit (reply: FastifyReply, source: Source<unknown>, given: SseOptions | undefined, signal: StreamSignal): FastifyReply {
    const { request } = reply
    if (isGone(reply)) {
      this.#turnAway(reply, source, signal, 'client')
      return reply.hijack()
    }
    const ofRoute = optionsOf(request, this.#registration)
    const options = given === undefined ? ofRoute : resolveOptions(given, ofRoute)
    const expiry = expiryOf(options.maxAge, request)
    const place = this.#closing || isFull(source) ? undefined : this.#limits.admit(request, options)
    if (place === undefined) {
      this.#turnAway(reply, source, signal, 'limit')
      return sendAway(reply, draw(options.shutdown.retry))
    }
    keepUncompressed(reply)
    return reply.send(new EventStream(reply, source, options, expiry, this, place, signal).body)
  }

  /** There is no stream: its source is let go, and the log has its reason as that of any other. */
  #turnAway ({ request }: FastifyReply, source: unknown, signal: StreamSignal, reason: CloseReason): void {
    signal.abort(reason)
    discard(source)
    this.closed(request, { reason, events: 0, bytes: 0, duration: 0 }, false)
  }

  /**
   * Ends all streams, in bounded time; who comes from now on is turned away.
   *
   * No client is sent away before all can go, since Fastify answers with 503 while it closes, and to an `EventSource`
   * that came back too early this would be final.
   */
  async shutdown (): Promise<void> {
    this.#closing = true
    await Promise.all([...this.open].map(stream => stream.leave()))
    await Promise.all([...this.open].map(stream => stream.farewell()))
  }
}

/**
 * Answers a request for which there is no place. For an `EventSource` any status but 200 is final, so it is told when
 * to come back by an event stream that ends at once.
 */
function sendAway (reply: FastifyReply, retry: number): FastifyReply {
  if (!isEventSource(reply.request)) {
    return reply.header('retry-after', Math.ceil(retry / 1000)).send(new FST_ERR_SSE_LIMIT())
  }
  setHeaders(reply)
  return reply.send(encodeRetry(retry))
}

/** Whether a source has no room for a stream more. */
function isFull (source: unknown): boolean {
  return hasFeed(source) && !source.hasRoom
}
