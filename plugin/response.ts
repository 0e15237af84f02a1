import { Http2ServerResponse, constants, type Http2Session } from 'node:http2'
import { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { FastifyReply, FastifyRequest } from 'fastify'

/** Headers of every event stream. `X-Accel-Buffering` is what makes nginx pass events on as they come. */
const HEADERS = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-cache, no-store, no-transform',
  'x-accel-buffering': 'no'
}

/** Sets the headers of an event stream, but for those the handler has chosen itself. Gives back the names set. */
export function setHeaders (reply: FastifyReply): string[] {
  const set: string[] = []
  for (const [name, value] of Object.entries(HEADERS)) {
    if (name === 'content-type' ? isEventStream(reply.getHeader(name)) : reply.hasHeader(name)) continue
    reply.header(name, value)
    set.push(name)
  }
  return set
}

/**
 * Keeps `@fastify/compress` off: a transform of its own hides the compression, so that nobody could make it let go of
 * an event before there is enough to fill a block. This header is how a request opts out of it.
 */
export function keepUncompressed ({ request }: FastifyReply): void {
  if (!request.server.hasReplyDecorator('compress')) return
  request.headers = { ...request.headers, 'x-no-compression': 'event stream' }
}

function isEventStream (contentType: unknown): boolean {
  return typeof contentType === 'string' && /^text\/event-stream\b/i.test(contentType)
}

/** Whether the request comes from an `EventSource`, for which any status but 200 is final (WHATWG HTML 9.2.2). */
export function isEventSource (request: FastifyRequest): boolean {
  return request.method === 'GET' && /\btext\/event-stream\b/i.test(request.headers.accept ?? '')
}

/** Whether the response has no body whatever is written (RFC 9110 6.4.1). */
export function isBodyless (reply: FastifyReply): boolean {
  return reply.request.method === 'HEAD' || reply.raw.statusCode === 304
}

/** Whether the client has gone already, so that no event will tell it any more. */
export function isGone ({ raw, request }: FastifyReply): boolean {
  return raw instanceof Http2ServerResponse ? raw.stream.destroyed : raw.destroyed || request.raw.socket.destroyed
}

/** Calls back when the response is closed, be it done or cut; perhaps more than once. */
export function onClosed (reply: FastifyReply, closed: () => void): void {
  const { raw } = reply
  raw.once('close', closed)
  // A pipelined response has no socket yet, and does not hear of its end.
  if (raw.socket === null) {
    const { socket } = reply.request.raw
    socket.once('close', closed)
    raw.once('close', () => socket.off('close', closed))
  }
}

/**
 * Lifts the timeouts for idle connections from a response that may rightly be quiet.
 *
 * @returns puts them back, for what comes on the connection after it
 */
export function liftTimeouts ({ raw, request }: FastifyReply): () => void {
  if (raw instanceof Http2ServerResponse) return liftSessionTimeout(raw.stream.session, request.server.initialConfig.http2SessionTimeout)
  const { socket } = request.raw
  // An injected request has none that could time out.
  if (!(socket instanceof Socket)) return () => {}
  const before = socket.timeout
  socket.setTimeout(0)
  return () => {
    // Where the server keeps the connection alive, it has set its own by now.
    if (socket.timeout === 0 && before !== undefined) socket.setTimeout(before)
  }
}

const openInSession = new WeakMap<Http2Session, number>()

function liftSessionTimeout (session: Http2Session | undefined, before: number | undefined): () => void {
  if (session === undefined) return () => {}
  openInSession.set(session, (openInSession.get(session) ?? 0) + 1)
  session.setTimeout(0)
  return () => {
    const left = (openInSession.get(session) ?? 0) - 1
    openInSession.set(session, left)
    if (left === 0 && !session.destroyed && before !== undefined) session.setTimeout(before)
  }
}

/**
 * Cuts a response so that its client can tell it from one that has ended: without the final chunk on HTTP/1.1
 * (RFC 9112 8), with an error code on HTTP/2 (RFC 9113 5.4.2), and, where the close is the end of the body, by a reset.
 */
export function cut (reply: FastifyReply): void {
  const { raw } = reply
  if (raw instanceof Http2ServerResponse) {
    raw.stream.close(constants.NGHTTP2_INTERNAL_ERROR)
  } else if (raw.headersSent && !raw.chunkedEncoding && raw.socket !== null && !(raw.socket instanceof TLSSocket)) {
    raw.socket.resetAndDestroy()
  } else {
    raw.destroy()
  }
}
