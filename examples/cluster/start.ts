/**
 * Three processes behind one port, with one feed: what one of them publishes all of their pages receive, and a page whose
 * process is killed goes on at another, with nothing missing.
 *
 *     npm run example:cluster                  three processes, and a Redis of their own while they run
 *     npm run example:cluster -- --memory      one process without Redis
 *     npm run example:cluster -- --ports       three processes with a port each, for a proxy in front: see docs/proxies
 *
 * The environment's PORT and HOST are heeded, and REDIS_URL for a Redis that runs already.
 *
 * One port for several processes is the business of Node's cluster module: the primary opens it and hands it to each
 * process. So there is no proxy to install, and the port stays open while processes come and go. Nothing else is shared; on
 * several machines it would work the same.
 */
import cluster from 'node:cluster'
import { join } from 'node:path'
import { runClock } from './clock'
import { portsOf } from './ports'
import { isRedisInstalled, Redis } from './redis'
import { Workers } from './workers'

const { HOST = '127.0.0.1', PORT = '8848', REDIS_URL } = process.env
const PROCESSES = 3

async function start (): Promise<void> {
  const wantsRedis = !process.argv.includes('--memory')
  const isMissing = wantsRedis && REDIS_URL === undefined && !isRedisInstalled()
  const redis = wantsRedis && REDIS_URL === undefined && !isMissing ? await Redis.start() : undefined
  const redisUrl = wantsRedis ? REDIS_URL ?? redis?.url : undefined
  if (isMissing) console.warn(HINT)

  const ports = await portsOf(redisUrl === undefined ? 1 : PROCESSES, Number(PORT), process.argv.includes('--ports') ? 'own' : 'same')

  // All processes accept from the same queue of the system. By default the primary would accept, and hand connections over in
  // turn, which spreads them evenly; but one that it hands to a process that has just been killed would hang for good.
  cluster.schedulingPolicy = cluster.SCHED_NONE
  cluster.setupPrimary({ exec: join(__dirname, 'server.ts'), args: [] })
  // A REDIS_URL that is not to be used is not for the processes either.
  delete process.env['REDIS_URL']
  const workers = new Workers(ports.map(port => ({ HOST, PORT: String(port), ...(redisUrl === undefined ? {} : { REDIS_URL: redisUrl }) })))
  const ending = new AbortController()

  async function end (): Promise<void> {
    if (ending.signal.aborted) return
    ending.abort()
    await workers.end()
    await redis?.end()
    process.exit()
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, end)

  try {
    await workers.start()
  } catch (error) {
    if (ending.signal.aborted) return
    console.error(error)
    process.exitCode = 1
    return end()
  }

  const urls = [...new Set(ports)].map(port => `http://${HOST}:${port}/`)
  console.log(`${workers.list.length === 1 ? 'One process' : `${workers.list.length} processes`} with one feed. Open ${urls.join(' or ')}`)
  console.log('\nEnd one, and watch the page go on:')
  for (const { pid } of workers.list) console.log(`    kill -9 ${pid}`)
  if (redis !== undefined) {
    console.log('\nStop Redis, and let it go on:')
    console.log(`    kill -STOP ${redis.pid}\n    kill -CONT ${redis.pid}`)
  }
  console.log(`\nWhether it is ready, and whether it lives:\n    curl -i ${urls[0]}ready\n    curl -i ${urls[0]}live\n\nCtrl-C ends everything.`)

  await runClock(workers, redisUrl === undefined ? 'memory' : 'redis', ending.signal)
}

const HINT = `
************************************************************************
*  redis-server is not installed, so there is only ONE process, on the  *
*  memory backplane: when it dies, so does the history of its feed.     *
*  On Debian:  apt-get install redis-server    or set REDIS_URL         *
************************************************************************
`

start()
