import type { FastifyRequest } from 'fastify'
import type { HistoryLimits } from '../backplane/types'
import { FST_ERR_SSE_OPTION } from '../errors'
import { show } from '../inspect'
import { checkOptions, COUNT, FUNCTION, hasOnly, isObject, isPositive, TIMEOUT } from '../option-checks'
import type { Serializer } from '../event'

/** How much of a channel's past is kept for clients that come back, by all of the limits at once. */
export interface HistoryOptions {
  /** Events. Default: 1,000. */
  size?: number | undefined
  /** Milliseconds. Default: 300,000. */
  maxAge?: number | undefined
  /** Bytes of the events' names and data. Default: 4 MiB. */
  maxBytes?: number | undefined
  /**
   * `'latest'` keeps only the newest event of each name, for channels that carry a state: a client that comes back is
   * given those that are newer than what it has. Default: `'all'`.
   */
  mode?: 'all' | 'latest' | undefined
}

/** Options of a channel. */
export interface ChannelOptions {
  /** What is kept for clients that come back; `false` for nothing. */
  history?: HistoryOptions | false | undefined
  /**
   * Asked for each stream, before its headers are sent, and so also when a client comes back: whether the request may
   * read the channel. If not, it is answered with 403, and learns nothing of the channel. Default: everyone may.
   */
  authorize?: ((request: FastifyRequest, channel: string) => boolean | Promise<boolean>) | undefined
  /** Streams and iterations that may read the channel at a time, in this process. Default: no limit. */
  maxSubscribers?: number | undefined
  /** Bytes of an event's name and data. Default: 65,536. */
  maxEventBytes?: number | undefined
  /** How many milliseconds an idempotency key counts. Default: 120,000. */
  idempotencyWindow?: number | undefined
  /** Turns data that is not a string or a `Uint8Array` into text. Default: `JSON.stringify`. */
  serializer?: Serializer | undefined
}

/** {@link ChannelOptions} with a schema for each name of an event; the unnamed event is `message`. */
export interface TypedChannelOptions<Schemas extends object = Record<string, unknown>> extends Omit<ChannelOptions, 'serializer'> {
  /** Schemas for the data of the events: they type what is published, and compile its serializers. */
  events: Schemas & { gap?: never }
}

/** Options with every default filled in. */
export interface ResolvedChannelOptions {
  history: HistoryLimits
  authorize: ChannelOptions['authorize']
  maxSubscribers: number
  maxEventBytes: number
  idempotencyWindow: number
  /** The names of the events that it has schemas for, where it has. */
  events: readonly string[] | undefined
}

const HISTORY_KEYS = ['size', 'maxAge', 'maxBytes', 'mode']

function isHistory (value: unknown): boolean {
  return value === false || (isObject(value) && hasOnly(value, HISTORY_KEYS) &&
    ['size', 'maxAge', 'maxBytes'].every(key => value[key] === undefined || isPositive(value[key])) &&
    ['all', 'latest', undefined].some(mode => mode === value['mode']))
}

const CHECKS = {
  history: ["false, or { size, maxAge, maxBytes } of positive integers with mode 'all' or 'latest'", isHistory],
  authorize: FUNCTION,
  maxSubscribers: COUNT,
  maxEventBytes: COUNT,
  idempotencyWindow: TIMEOUT,
  serializer: FUNCTION,
  events: ['an object with a schema for each name of an event', isObject]
} as const

/** @throws FST_ERR_SSE_OPTION for an option that is unknown or has a value that is not allowed */
export function resolveChannelOptions (given: ChannelOptions & { events?: object }): ResolvedChannelOptions {
  checkOptions(given, CHECKS)
  if (given.events !== undefined && given.serializer !== undefined) {
    throw new FST_ERR_SSE_OPTION("'serializer' is for data without a schema, and 'events' has one for all: leave one of them out", show(given.serializer))
  }
  const { history = {} } = given
  return {
    history: history === false
      ? { size: 0, maxAge: 0, maxBytes: 0, isLatest: false }
      : {
          size: history.size ?? 1_000,
          maxAge: history.maxAge ?? 300_000,
          maxBytes: history.maxBytes ?? 4 * 1024 * 1024,
          isLatest: history.mode === 'latest'
        },
    authorize: given.authorize,
    maxSubscribers: given.maxSubscribers ?? Infinity,
    maxEventBytes: given.maxEventBytes ?? 65_536,
    idempotencyWindow: given.idempotencyWindow ?? 120_000,
    events: given.events === undefined ? undefined : Object.keys(given.events)
  }
}
