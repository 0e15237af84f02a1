import createError from '@fastify/error'

/**
 * Every error this package throws, by its `code`. Each message says what was wrong, shows the value and names the mend.
 */

/** An option is unknown, or its value is not allowed. Thrown where the option is given: at registration or at the call. */
export const FST_ERR_SSE_OPTION = createError<[problem: string, value: string]>(
  'FST_ERR_SSE_OPTION', 'Event stream options: %s, got %s', 500, TypeError)

/** What was handed to `reply.sse` cannot be a source of events. */
export const FST_ERR_SSE_SOURCE = createError<[value: string]>(
  'FST_ERR_SSE_SOURCE', 'The source of an event stream must be an iterable, an async iterable, an unlocked stream, or a function that returns one, got %s', 500, TypeError)

/** `reply.sse` was called on a reply that was sent already, or twice on the same reply. */
export const FST_ERR_SSE_ALREADY_SENT = createError<[method: string, url: string]>(
  'FST_ERR_SSE_ALREADY_SENT', 'The reply to %s %s was sent already: call reply.sse once, in place of reply.send', 500)

/** The source yielded something that is not an event. A source error: the stream fails. */
export const FST_ERR_SSE_EVENT = createError<[problem: string]>(
  'FST_ERR_SSE_EVENT', 'Not an event: %s', 500, TypeError)

/** A field of an event has a value that cannot go over the wire. A source error: the stream fails. */
export const FST_ERR_SSE_FIELD = createError<[field: string, allowed: string, value: string, options?: { cause: unknown }]>(
  'FST_ERR_SSE_FIELD', "The field '%s' of an event must be %s, got %s", 500, TypeError)

/** `maxStreams` or `maxStreamsPerKey` is reached, or the server is closing; answered to clients other than an `EventSource`. */
export const FST_ERR_SSE_LIMIT = createError(
  'FST_ERR_SSE_LIMIT', 'Too many event streams are open: try again later', 503)

/** The reason a stream's `signal` aborts with; its `reason` property is the close reason. */
export const FST_ERR_SSE_CLOSED = createError<[reason: string]>(
  'FST_ERR_SSE_CLOSED', 'The event stream was closed: %s', 500)

/** A route is declared as an event stream in a way that cannot work. Thrown where the route is declared, or at start. */
export const FST_ERR_SSE_ROUTE = createError<[route: string, problem: string]>(
  'FST_ERR_SSE_ROUTE', 'The event stream route %s: %s', 500, TypeError)

/** A channel is declared, named, published to or subscribed to in a way that cannot work. */
export const FST_ERR_SSE_CHANNEL = createError<[channel: string, problem: string]>(
  'FST_ERR_SSE_CHANNEL', 'The channel %s: %s', 500, TypeError)

/** The channel has ended, by its `close()`: nothing can be published to it any more. */
export const FST_ERR_SSE_CHANNEL_CLOSED = createError<[channel: string]>(
  'FST_ERR_SSE_CHANNEL_CLOSED', 'The channel %s was closed: nothing can be published to it any more', 500)

/** A backplane cannot do what it was asked for, now or at all. Whether a publish was done before it failed is not known. */
export const FST_ERR_SSE_BACKPLANE = createError<[problem: string]>(
  'FST_ERR_SSE_BACKPLANE', 'The backplane: %s', 503)

/** `authorize` of a channel did not let the request read it. */
export const FST_ERR_SSE_FORBIDDEN = createError(
  'FST_ERR_SSE_FORBIDDEN', 'This event stream may not be read', 403)
