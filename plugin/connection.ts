import { Http2ServerResponse, constants, type Http2Session } from 'node:http2'
import type { Socket } from 'node:net'
import type { FastifyReply } from 'fastify'
import type { Target } from './line'

/** Whether the client has gone already, so that no event will tell it any more. */
export function isGone ({ raw, request }: FastifyReply): boolean {
  return raw instanceof Http2ServerResponse ? raw.stream.destroyed : raw.destroyed || request.raw.socket.destroyed
}

/** Whether an error is only what a request's body ends with when its client goes. */
export function isOfRequest (error: unknown, { request: { raw } }: FastifyReply): boolean {
  return raw.errored !== null && error instanceof Error && 'code' in error && ['ECONNRESET', 'ERR_STREAM_PREMATURE_CLOSE'].includes(String(error.code))
}

/** Calls back when the response is closed, be it done or cut; perhaps more than once. */
export function onClosed (reply: FastifyReply, closed: () => void): void {
  const { raw } = reply
  raw.once('close', closed)
  // A stream that its client has reset without an error, while bytes wait, Node leaves as it is: it would never close.
  if (raw instanceof Http2ServerResponse) raw.stream.once('aborted', () => { if (raw.stream.rstCode === constants.NGHTTP2_NO_ERROR) raw.stream.destroy() })
  // A pipelined response has no socket yet, and does not hear of its end.
  else if (raw.socket === null) raw.once('close', onSocketClosed(reply.request.raw.socket, closed))
}

const pipelined = new WeakMap<Socket, Set<() => void>>()

/** One listener for all responses that wait for a socket. Gives back what takes `closed` off again. */
function onSocketClosed (socket: Socket, closed: () => void): () => void {
  const waiting = pipelined.get(socket) ?? new Set()
  if (!pipelined.has(socket)) {
    pipelined.set(socket, waiting)
    socket.once('close', () => { waiting.forEach(closed => { closed() }) })
  }
  waiting.add(closed)
  return () => { waiting.delete(closed) }
}

/**
 * Lifts the timeouts for idle connections from a response that may rightly be quiet.
 *
 * @returns puts them back, when the connection has no other event stream; `undefined` where there is none to lift
 */
export function liftTimeouts ({ raw, request }: FastifyReply): (() => void) | undefined {
  if (raw instanceof Http2ServerResponse) {
    const { session } = raw.stream
    return session && lift(session, Number(request.server.initialConfig.http2SessionTimeout), () => !session.destroyed)
  }
  const { socket } = request.raw
  if (!socket.timeout && !lifted.has(socket)) return undefined
  // A server that keeps the connection alive sets a timeout of its own.
  return lift(socket, Number(socket.timeout), () => socket.timeout === 0)
}

const lifted = new WeakMap<Socket | Http2Session, { streams: number, timeout: number }>()

function lift (connection: Socket | Http2Session, timeout: number, isStillLifted: () => boolean): () => void {
  const state = lifted.get(connection) ?? { streams: 0, timeout }
  lifted.set(connection, state)
  state.streams++
  connection.setTimeout(0)
  return () => {
    if (--state.streams > 0) return
    lifted.delete(connection)
    if (isStillLifted()) connection.setTimeout(state.timeout)
  }
}

/**
 * Cuts a response so that its client can tell it from one that has ended: without the final chunk on HTTP/1.1
 * (RFC 9112 8), with an error code on HTTP/2 (RFC 9113 5.4.2), and, where the close is the end of the body, by a reset.
 */
export function cut (reply: FastifyReply): void {
  const { raw } = reply
  if (raw instanceof Http2ServerResponse) {
    // Node before 22.23.3 frees a stream twice, which may end the process, when it is reset while frames of its
    // connection are received (nodejs/node#64113). A turn of its own is never within that.
    const { stream } = raw
    setImmediate(() => { stream.destroy(new Error('The event stream was cut')) })
  } else if (raw.headersSent && !raw.chunkedEncoding && raw.socket !== null) {
    reset(raw.socket)
  } else {
    raw.destroy()
  }
}

/**
 * Fails a transform between a body and its response, which would not hear of the body's error: once whoever is behind
 * it has had time to listen.
 */
export function failTransform (transform: Target, error: Error, reply: FastifyReply): void {
  setImmediate(() => {
    if (transform.listenerCount('error') > 0) {
      transform.destroy?.(error)
    } else {
      reply.request.log.error({ err: error }, 'event stream failed')
      cut(reply)
    }
  })
}

/** Only TCP knows a reset: TLS, a pipe or whatever else stands in for a socket is destroyed. */
function reset (socket: Socket): void {
  try {
    socket.resetAndDestroy()
  } catch {
    socket.destroy()
  }
}
