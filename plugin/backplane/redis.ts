import { FST_ERR_SSE_OPTION } from '../errors'
import { checkOptions, MAX_DELAY } from '../option-checks'
import { RedisBackplane } from './redis/backplane'
import type { RedisClient } from './redis/client'
import { driverOf } from './redis/driver'
import { clientOf } from './redis/url'
import type { Backplane } from './types'

export type { IoredisClient, IoredisCluster, NodeRedisClient, NodeRedisCluster, RedisClient } from './redis/client'

/** Either `client` or `url` must be given. */
export interface RedisBackplaneOptions {
  /**
   * A client for the Redis, or the Cluster, to be used: of `createClient()` or `createCluster()` of the package `redis`, or
   * a `Redis` or `Cluster` of the package `ioredis`. Connections like its own are made; it is not used itself, need not
   * be connected, and is not closed.
   */
  readonly client?: RedisClient | undefined
  /** The URL of the Redis to be used, in place of a client. Needs the package `redis`. */
  readonly url?: string | undefined
  /** What all keys and Pub/Sub channels begin with. Default: `'sse:'`. */
  readonly prefix?: string | undefined
  /** How many milliseconds Redis may take for an answer, before its connection is given up. Default: 5,000. */
  readonly timeout?: number | undefined
}

const CHECKS = {
  client: ['a client', () => true],
  url: ['a URL', () => true],
  prefix: ['a string of at most 100 characters without braces', value => typeof value === 'string' && /^[^{}]{0,100}$/.test(value)],
  timeout: [`an integer of milliseconds from 1 to ${MAX_DELAY}`, value => Number.isInteger(value) && Number(value) >= 1 && Number(value) <= MAX_DELAY]
} satisfies Record<keyof RedisBackplaneOptions, [string, (value: unknown) => boolean]>

/**
 * The backplane over Redis 7 or later, or Valkey: all processes that use the same one, with the same prefix, have the
 * same channels.
 *
 * @throws FST_ERR_SSE_OPTION for an option that is unknown or has a value that is not allowed
 * @throws FST_ERR_SSE_BACKPLANE when the option `url` is used without the package `redis`
 */
export function redisBackplane (options: RedisBackplaneOptions): Backplane {
  checkOptions(options, CHECKS)
  const { client, url, prefix = 'sse:', timeout = 5_000 } = options
  if ((client === undefined) === (url === undefined)) {
    throw new FST_ERR_SSE_OPTION("one of 'client' and 'url' must be given", client === undefined ? 'none' : 'both')
  }
  const driver = driverOf(client === undefined ? clientOf(url) : client)
  // A client of the package redis that nobody listens to for errors would end the process with the first of them.
  const overlook = (): void => {}
  client?.on('error', overlook)
  return new RedisBackplane({ driver, prefix, timeout, onClose: () => { client?.off('error', overlook) } })
}
