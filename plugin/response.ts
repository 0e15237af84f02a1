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
