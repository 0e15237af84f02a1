import type { FastifyInstance, FastifyReply } from 'fastify'
import type { CloseReason } from './close-reason'
import { FST_ERR_SSE_ALREADY_SENT, FST_ERR_SSE_LIMIT } from './errors'
import { encodeRetry } from './encode'
import { Heartbeats } from './heartbeat'
import { readLastEventId } from './last-event-id'
import { Limits } from './limits'
import { resolveOptions, resolvePluginOptions, type PluginOptions, type SseOptions } from './options'
import { isEventSource, isGone, keepUncompressed, setHeaders } from './response'
import { discard, takeSource, type Source } from './source'
import { EventStream, type Shared } from './stream'
import { draw, expiryOf } from './time'

/** Wires the event streams into a Fastify instance: the decorators, and the end of all streams when it closes. */
export async function plugin (app: FastifyInstance, given: PluginOptions): Promise<void> {
  const { lastEventIdParameter, stream: defaults } = resolvePluginOptions(given)
  const shared: Shared = { heartbeats: new Heartbeats(), open: new Set() }
  const limits = new Limits(defaults)
  const replied = new WeakSet<FastifyReply>()
  let closing = false

  app.decorateRequest('lastEventId', {
    getter () {
      return readLastEventId(this.headers['last-event-id'], this.url, lastEventIdParameter)
    }
  })

  app.decorateReply('sse', function (this: FastifyReply, source: Source<unknown>, given?: SseOptions) {
    const { request } = this
    if (this.sent || this.raw.headersSent || replied.has(this)) {
      throw new FST_ERR_SSE_ALREADY_SENT(request.method, request.url)
    }
    takeSource(source)
    replied.add(this)
    if (isGone(this)) return leave(this, source)
    const options = given === undefined ? defaults : resolveOptions(given, defaults)
    const expiry = expiryOf(options.maxAge, request)
    const release = closing ? undefined : limits.admit(request, options)
    keepUncompressed(this)
    if (release === undefined) return turnAway(this, source, draw(options.shutdown.retry))
    return this.send(new EventStream(this, source, options, expiry, shared, release).body)
  })

  app.addHook('preClose', async () => {
    closing = true
    await Promise.all([...shared.open].map(stream => stream.shutdown()))
  })
}

/** The client has gone before there was a stream: nobody is there to answer. */
function leave (reply: FastifyReply, source: Source<unknown>): FastifyReply {
  discard(source)
  logClosed(reply, 'client')
  return reply.hijack()
}

/**
 * Answers a request for which there is no place. For an `EventSource` any status but 200 is final, so it is told when
 * to come back by an event stream that ends at once.
 */
function turnAway (reply: FastifyReply, source: Source<unknown>, retry: number): FastifyReply {
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
