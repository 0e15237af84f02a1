import { FST_ERR_SSE_BACKPLANE, FST_ERR_SSE_OPTION } from '../../errors'

interface NodeRedisPackage {
  createClient (options: { url: string }): unknown
}

/**
 * A client for a server, from the package `redis`, which is loaded only here: who hands in a client may not have it.
 *
 * @param url `redis://` or, with TLS, `rediss://`
 * @throws FST_ERR_SSE_OPTION for anything else
 * @throws FST_ERR_SSE_BACKPLANE when the package cannot be loaded
 */
export function clientOf (url: unknown, load: (name: string) => unknown = require): unknown {
  // It is not shown: a password may be in it.
  if (typeof url !== 'string' || !/^rediss?:\/\//.test(url) || !URL.canParse(url)) {
    throw new FST_ERR_SSE_OPTION("'url' must be a URL that begins with redis:// or rediss://", `a ${typeof url} that is none`)
  }
  return loadRedis(load).createClient({ url })
}

function loadRedis (load: (name: string) => unknown): NodeRedisPackage {
  try {
    const redis = load('redis')
    if (isNodeRedis(redis)) return redis
    throw new Error('it is another')
  } catch (error) {
    const [reason] = String(error).split('\n')
    throw new FST_ERR_SSE_BACKPLANE(`the option 'url' needs the package redis: npm install redis (${reason})`)
  }
}

const isNodeRedis = (redis: unknown): redis is NodeRedisPackage =>
  typeof redis === 'object' && redis !== null && 'createClient' in redis
