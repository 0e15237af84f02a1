import type { FastifyRequest, RegisterOptions } from 'fastify'
import { memoryBackplane } from './backplane/memory'
import type { Backplane } from './backplane/types'
import { FST_ERR_SSE_OPTION } from './errors'
import type { Serializer, SseEvent } from './event'
import { checkOptions, PLUGIN_CHECKS, STREAM_CHECKS } from './option-checks'
import { bySerializer, type ToText } from './to-text'

/** A range in milliseconds, from which a value is drawn anew for each connection. */
export interface Range {
  min: number
  max: number
}

/** When a stream is to end: milliseconds from its opening, or the moment itself. */
export type Expiry = number | Date

/** What a channel does with a client for whom too much waits. */
export type SlowPolicy = 'disconnect' | 'drop-oldest' | 'latest'

/** Options of an event stream. The registration sets the defaults, a call of `reply.sse` overrides them. */
export interface SseOptions {
  /**
   * No stream is quiet for longer than this many milliseconds: a comment line goes out in time, also before the first
   * event. `false` turns it off. Default: 15,000.
   */
  heartbeat?: number | false | undefined
  /** The reconnection time in milliseconds that is sent as the stream opens. Default: not sent, the client has its own. */
  retry?: number | Range | undefined
  /**
   * How many milliseconds the response waits for the first event before its headers are sent. Within it a source that
   * throws becomes an ordinary HTTP error, and one that ends without an event a 204 for an `EventSource`, which makes
   * it stop reconnecting, and an empty 200 for other clients. `0` sends the headers at once. Default: 100.
   */
  prime?: number | undefined
  /** Bytes that may be queued for one client, the socket's own buffer included. Default: 1 MiB. */
  maxBuffer?: number | undefined
  /**
   * What a channel does with a client for whom more than `maxBuffer` waits: `'disconnect'` ends its connection, and it
   * comes back for the rest; `'drop-oldest'` lets go of the oldest events, `'latest'` of all but the newest of each name,
   * and both tell it by a gap. Default: `'disconnect'`.
   */
  slow?: SlowPolicy | undefined
  /**
   * A client for which the system takes no byte more for this many milliseconds, while bytes wait, is cut. The system's
   * own buffer has to empty by some part before it takes more. Default: 30,000.
   */
  writeTimeout?: number | undefined
  /**
   * The stream is ended, between two events, when this is over, and the client reconnects. A number of milliseconds is
   * shortened by up to a fifth, so that clients that came together do not come back together; a `Date` is kept. A
   * function is asked for each request and may return `undefined` for no end. Default: none.
   */
  maxAge?: Expiry | ((request: FastifyRequest) => Expiry | undefined) | undefined
  /** Streams that may be open at a time: in all where it is set at registration, else of the route. Default: no limit. */
  maxStreams?: number | undefined
  /** As `maxStreams`, for each key that `key` gives. Default: no limit. */
  maxStreamsPerKey?: number | undefined
  /** Whom a request counts for in `maxStreamsPerKey`; `undefined` counts for nobody. */
  key?: ((request: FastifyRequest) => string | undefined) | undefined
  /**
   * On `app.close()` a source has `grace` milliseconds to finish after its `signal` aborted; then the client is sent a
   * reconnection time drawn from `retry`, and the stream ends. Also what a client is told that is turned away by a
   * limit. `grace` must be 2,000 less than Fastify's `pluginTimeout`, which ends `app.close()` too, unless that is 0.
   * Default: `{ grace: 5_000, retry: { min: 1_000, max: 10_000 } }`.
   */
  shutdown?: { grace?: number | undefined, retry?: number | Range | undefined } | undefined
  /**
   * The last event that a client sees when the source throws after the stream was opened, or `undefined` for none.
   * Without it nothing of the error leaves the server.
   */
  onError?: ((error: unknown, request: FastifyRequest) => SseEvent | undefined) | undefined
  /** Turns data that is not a string or a `Uint8Array` into text. Default: `JSON.stringify`. */
  serializer?: Serializer | undefined
}

/** Options of all channels. */
export interface ChannelSettings {
  /** What carries the channels' events and keeps their history. Default: one within this process. */
  backplane?: Backplane | undefined
  /** Channels that may be read at a time, and be kept by the default backplane. Default: 10,000. */
  maxChannels?: number | undefined
}

/** Options of the plugin's registration. */
export interface PluginOptions extends SseOptions, ChannelSettings, RegisterOptions {
  /** The query parameter for clients that cannot set `Last-Event-ID`, or `false` for none. Default: `'lastEventId'`. */
  lastEventIdParameter?: string | false | undefined
}

/** Options with every default filled in: what the rest of the code works with. */
export interface ResolvedOptions {
  heartbeat: number | false
  retry: number | Range | undefined
  prime: number
  maxBuffer: number
  slow: SlowPolicy
  writeTimeout: number
  maxAge: SseOptions['maxAge']
  maxStreams: number
  maxStreamsPerKey: number
  key: SseOptions['key']
  shutdown: { grace: number, longestGrace: number, retry: number | Range }
  onError: SseOptions['onError']
  toText: ToText
  /** The names of the events that `toText` has the schemas of a route for, where it does: no serializer replaces it. */
  events: readonly string[] | undefined
}

export interface ResolvedPluginOptions {
  lastEventIdParameter: string | false
  maxChannels: number
  backplane: Backplane
  stream: ResolvedOptions
}

// What a farewell takes at most, and some more.
const FAREWELL_MS = 2_000

export const DEFAULTS: ResolvedOptions = {
  heartbeat: 15_000,
  retry: undefined,
  prime: 100,
  maxBuffer: 1024 * 1024,
  slow: 'disconnect',
  writeTimeout: 30_000,
  maxAge: undefined,
  maxStreams: Infinity,
  maxStreamsPerKey: Infinity,
  key: undefined,
  shutdown: { grace: 5_000, longestGrace: Infinity, retry: { min: 1_000, max: 10_000 } },
  onError: undefined,
  toText: bySerializer(JSON.stringify),
  events: undefined
}

/**
 * Checks options and lays them over others, once, so that nothing behind it meets an option that is not there.
 *
 * @throws FST_ERR_SSE_OPTION for an option that is unknown or has a value that is not allowed
 */
export function resolveOptions (given: SseOptions, over: ResolvedOptions): ResolvedOptions {
  checkOptions(given, STREAM_CHECKS)
  const options = {
    heartbeat: given.heartbeat ?? over.heartbeat,
    retry: given.retry ?? over.retry,
    prime: given.prime ?? over.prime,
    maxBuffer: given.maxBuffer ?? over.maxBuffer,
    slow: given.slow ?? over.slow,
    writeTimeout: given.writeTimeout ?? over.writeTimeout,
    maxAge: given.maxAge ?? over.maxAge,
    maxStreams: given.maxStreams ?? over.maxStreams,
    maxStreamsPerKey: given.maxStreamsPerKey ?? over.maxStreamsPerKey,
    key: given.key ?? over.key,
    shutdown: {
      grace: given.shutdown?.grace ?? over.shutdown.grace,
      longestGrace: over.shutdown.longestGrace,
      retry: given.shutdown?.retry ?? over.shutdown.retry
    },
    onError: given.onError ?? over.onError,
    toText: given.serializer === undefined || over.events !== undefined ? over.toText : bySerializer(given.serializer),
    events: over.events
  }
  if (options.maxStreamsPerKey !== Infinity && options.key === undefined) {
    throw new FST_ERR_SSE_OPTION("'key' must be a function where 'maxStreamsPerKey' is set", 'undefined')
  }
  const { grace, longestGrace } = options.shutdown
  if (grace > longestGrace) {
    throw new FST_ERR_SSE_OPTION(`'shutdown.grace' must be at most ${longestGrace}: the pluginTimeout of Fastify ends app.close() too; raise that, or make it 0`, String(grace))
  }
  return options
}

/**
 * As {@link resolveOptions}, for the registration.
 *
 * @param pluginTimeout of Fastify, in milliseconds; 0 for none
 * @throws FST_ERR_SSE_OPTION for an option that is unknown or has a value that is not allowed
 */
export function resolvePluginOptions (given: PluginOptions, pluginTimeout: number): ResolvedPluginOptions {
  // The three that Fastify itself takes from the same object are not ours to judge.
  const { prefix, logLevel, logSerializers, ...ours } = given
  checkOptions(ours, PLUGIN_CHECKS)
  const { lastEventIdParameter = 'lastEventId', maxChannels = 10_000, backplane = memoryBackplane({ maxChannels }), ...stream } = ours
  const longestGrace = pluginTimeout === 0 ? Infinity : Math.max(0, pluginTimeout - FAREWELL_MS)
  const shutdown = { ...DEFAULTS.shutdown, grace: Math.min(DEFAULTS.shutdown.grace, longestGrace), longestGrace }
  return { lastEventIdParameter, maxChannels, backplane, stream: resolveOptions(stream, { ...DEFAULTS, shutdown }) }
}
