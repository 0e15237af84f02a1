import type { FastifyReply } from 'fastify'
import type { CloseReason } from './close-reason'
import { isGone } from './connection'
import { encodeRetry } from './encode'
import { FST_ERR_SSE_ALREADY_SENT, FST_ERR_SSE_LIMIT } from './errors'
import { Limits } from './limits'
import { resolveOptions, type ResolvedOptions, type SseOptions } from './options'
import type { Outlet } from './outlet'
import { isEventSource, keepUncompressed, setHeaders } from './response'
import { optionsOf } from './routes'
import { discard, takeSource, type Source } from './source'
import { EventStream, type Shared } from './stream'
import { Ticker } from './ticker'
import { draw, expiryOf } from './time'

/** All event streams of a registration: opens them, counts them, and ends them when the server closes. */
export class EventStreams implements Shared {
  readonly heartbeats = new Ticker<Outlet>(outlet => { outlet.heartbeatTick() })
  readonly stalls = new Ticker<EventStream>(stream => { stream.stallTick() })
  readonly open = new Set<EventStream>()
  readonly #registration: ResolvedOptions
  readonly #limits: Limits
  readonly #replied = new WeakSet<FastifyReply>()
  #closing = false

  constructor (registration: ResolvedOptions) {
    this.#registration = registration
    this.#limits = new Limits(registration)
  }

  /**
   * Answers a request with an event stream.
   *
   * @throws FST_ERR_SSE_SOURCE, FST_ERR_SSE_OPTION or FST_ERR_SSE_ALREADY_SENT when it cannot
   */
  answer (reply: FastifyReply, source: unknown, given: SseOptions | undefined): FastifyReply {
    const { request } = reply
    if (reply.sent || reply.raw.headersSent || this.#replied.has(reply)) {
      throw new FST_ERR_SSE_ALREADY_SENT(request.method, request.url)
    }
    takeSource(source)
    this.#replied.add(reply)
    try {
      return this.#admit(reply, source, given)
    } catch (error) {
      discard(source)
      throw error
    }
  }

  #admit (reply: FastifyReply, source: Source<unknown>, given: SseOptions | undefined): FastifyReply {
    const { request } = reply
    if (isGone(reply)) return leave(reply, source)
    const ofRoute = optionsOf(request, this.#registration)
    const options = given === undefined ? ofRoute : resolveOptions(given, ofRoute)
    const expiry = expiryOf(options.maxAge, request)
    const place = this.#closing ? undefined : this.#limits.admit(request, options)
    if (place === undefined) return turnAway(reply, source, draw(options.shutdown.retry))
    keepUncompressed(reply)
    return reply.send(new EventStream(reply, source, options, expiry, this, place).body)
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

/** The client has gone before there was a stream: nobody is there to answer. */
function leave (reply: FastifyReply, source: unknown): FastifyReply {
  discard(source)
  logClosed(reply, 'client')
  return reply.hijack()
}

/**
 * Answers a request for which there is no place. For an `EventSource` any status but 200 is final, so it is told when
 * to come back by an event stream that ends at once.
 */
function turnAway (reply: FastifyReply, source: unknown, retry: number): FastifyReply {
  discard(source)
  logClosed(reply, 'limit')
  if (!isEventSource(reply.request)) {
    return reply.header('retry-after', Math.ceil(retry / 1000)).send(new FST_ERR_SSE_LIMIT())
  }
  setHeaders(reply)
  return reply.send(encodeRetry(retry))
}

function logClosed ({ request }: FastifyReply, reason: CloseReason): void {
  request.log.debug({ reason, events: 0, bytes: 0, duration: 0 }, 'event stream closed')
}
