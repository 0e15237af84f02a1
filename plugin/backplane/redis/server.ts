// The first with sharded Pub/Sub.
const OLDEST_VERSION = 7

/**
 * What is wrong with a server, if anything is.
 *
 * @param info what INFO says of it and of its replication
 * @param isCluster whether the client is one for a Cluster
 */
export function problemOf (info: string, isCluster: boolean): string | undefined {
  const field = (name: string): string => new RegExp(`^${name}:(\\S*)`, 'm').exec(info)?.[1] ?? ''
  // Valkey gives the version of Redis that it is compatible with as well.
  const version = field('redis_version') || field('valkey_version')
  if (!(Number.parseInt(version) >= OLDEST_VERSION)) return `Redis ${OLDEST_VERSION} or later is needed, or Valkey; this is ${version || 'neither'}`
  if (field('redis_mode') === 'cluster' && !isCluster) return "this is a server of a Cluster, which needs a client made for one: createCluster() of 'redis' or a Cluster of 'ioredis'"
  if (field('role') !== 'master') return 'this server is a replica, to which nothing can be published'
  if (field('master_replid') === '') return "INFO does not tell a 'master_replid', by which a restart or a failover is known"
  return undefined
}
