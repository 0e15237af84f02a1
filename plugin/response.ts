import type { FastifyReply, FastifyRequest } from 'fastify'

/** Headers of every event stream. `X-Accel-Buffering` is what makes nginx pass events on as they come. */
const HEADERS = [
  ['content-type', 'text/event-stream'],
  ['cache-control', 'no-cache, no-store, no-transform'],
  ['x-accel-buffering', 'no']
] as const

/** Sets the headers of an event stream, but for those the handler has chosen itself. */
export function setHeaders (reply: FastifyReply): void {
  for (const [name, value] of HEADERS) {
    if (name === 'content-type' ? !isEventStream(reply.getHeader(name)) : !reply.hasHeader(name)) reply.header(name, value)
  }
}

/** Sends the head, with what a generator has set of it since Fastify handed it over. */
export function writeHead (reply: FastifyReply): void {
  for (const [name, value] of Object.entries(reply.getHeaders())) if (value !== undefined) reply.raw.setHeader(name, value)
  reply.raw.writeHead(reply.raw.statusCode)
}

/** Takes off again what no other answer in place of the event stream may have. */
export function removeHeaders (reply: FastifyReply): void {
  for (const [name, value] of HEADERS) if (reply.getHeader(name) === value) reply.removeHeader(name)
  reply.removeHeader('content-type').removeHeader('content-encoding')
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
