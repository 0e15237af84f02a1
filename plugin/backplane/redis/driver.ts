import { FST_ERR_SSE_OPTION } from '../../errors'
import { show } from '../../inspect'
import type { IoredisClient, IoredisCluster, NodeRedisClient, NodeRedisCluster } from './client'
import type { Driver } from './connection'
import { ioredis, ioredisCluster } from './ioredis'
import { nodeRedis, nodeRedisCluster } from './node-redis'

const ANY = ['on', 'off', 'duplicate', 'connect']
const NODE_REDIS = [...ANY, 'destroy', 'sendCommand', 'sSubscribe', 'sUnsubscribe']
const IOREDIS = [...ANY, 'disconnect', 'call', 'ssubscribe', 'sunsubscribe']

const isNodeRedis = (client: object): client is NodeRedisClient => missing(client, NODE_REDIS).length === 0
const isNodeRedisCluster = (client: object): client is NodeRedisCluster => isNodeRedis(client) && 'nodeClient' in client
const isNodeRedisSentinel = (client: object): boolean => isNodeRedis(client) && 'getSentinelNode' in client
const isIoredis = (client: object): client is IoredisClient => missing(client, IOREDIS).length === 0
const isIoredisCluster = (client: object): client is IoredisCluster => isIoredis(client) && 'nodes' in client

/**
 * How to come by connections like those of a client.
 *
 * @throws FST_ERR_SSE_OPTION when it is not a client that is known
 */
export function driverOf (client: unknown): Driver {
  if (typeof client !== 'object' || client === null) throw notAClient(show(client))
  if (isNodeRedisSentinel(client)) throw notAClient('a client of createSentinel(), for which there is the option sentinels of ioredis')
  if (isNodeRedisCluster(client)) return nodeRedisCluster(client)
  if (isNodeRedis(client)) return nodeRedis(client)
  if (isIoredisCluster(client)) return ioredisCluster(client)
  if (isIoredis(client)) return ioredis(client)
  throw notAClient(`an object without ${missing(client, 'call' in client ? IOREDIS : NODE_REDIS).join(', ')}`)
}

// The values of a client are not shown: a password may be among them.
function notAClient (what: string): Error {
  return new FST_ERR_SSE_OPTION("'client' must be one of createClient() or createCluster() of the package redis, or a Redis or Cluster of the package ioredis, both from version 5 on", what)
}

function missing (client: object, methods: readonly string[]): string[] {
  return methods.filter(method => typeof Reflect.get(client, method) !== 'function')
}
