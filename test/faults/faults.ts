import type { Random } from './random'
import type { Tally } from './tally'
import type { World } from './world'

/** What goes wrong, with its parameters drawn, and has been mended when it is done. */
export interface Fault {
  readonly title: string
  run (world: World): Promise<void>
}

export interface Kind {
  readonly name: string
  /** Whether streams stay open meanwhile. */
  readonly keepsStreams: boolean
  draw (random: Random, isShort: boolean): Fault
  /** What shows that it had an effect: without it nothing was tried. */
  isSeen (tally: Tally): boolean
}

const kill: Kind = {
  name: 'process killed',
  keepsStreams: false,
  draw (random) {
    const which = random.integer(0, 2)
    const away = random.integer(300, 2_000)
    return {
      title: `process ${which} is killed, and comes back after ${away} ms`,
      async run (world) {
        const application = at(world.applications, which)
        await application.kill()
        await world.wait(away)
        await world.start(application)
      }
    }
  },
  isSeen: ({ lost }) => lost > 0
}

const stop: Kind = {
  name: 'Redis stopped',
  keepsStreams: true,
  draw (random, isShort) {
    const milliseconds = isShort ? 8_000 : 10_000
    const which = random.integer(0, 2)
    return {
      title: `Redis is stopped for ${milliseconds} ms, while process ${which} publishes more than may be under way`,
      async run (world) {
        world.store.redis.freeze()
        await world.wait(300)
        world.flood(at(world.applications, which))
        await world.wait(milliseconds - 300)
        world.store.redis.thaw()
      }
    }
  },
  isSeen: ({ rejected, degraded, refused }) => Object.keys(rejected).length > 0 && degraded > 0 && refused > 0
}

const restart: Kind = {
  name: 'Redis killed, restarted',
  keepsStreams: true,
  draw (random) {
    const away = random.integer(300, 2_500)
    return {
      title: `Redis is killed, and started with its data after ${away} ms`,
      async run (world) {
        world.expect(world.channels.map(() => 'whole'))
        await world.store.redis.kill()
        await world.wait(away)
        await world.store.redis.start()
      }
    }
  },
  isSeen: ({ rejected, degraded }) => Object.keys(rejected).length > 0 && degraded > 0
}

const flush: Kind = {
  name: 'Redis emptied',
  keepsStreams: true,
  draw () {
    return {
      title: 'Redis is emptied with FLUSHALL',
      async run (world) {
        world.expect(world.channels.map(() => 'lost'))
        await world.store.redis.command('FLUSHALL')
      }
    }
  },
  isSeen: ({ gaps }) => (gaps['epoch'] ?? 0) > 0
}

const failover: Kind = {
  name: 'failover to an older replica',
  keepsStreams: true,
  draw (random) {
    const lag = random.integer(800, 2_500)
    return {
      title: `Redis fails over to a replica that heard nothing for ${lag} ms`,
      async run (world) {
        world.allow()
        const replica = await world.store.replicate()
        await world.publish()
        world.expect(await replica.cut(world.channels))
        await world.wait(lag)
        await replica.promote()
      }
    }
  },
  isSeen: ({ gaps }) => (gaps['epoch'] ?? 0) > 0
}

const cut: Kind = {
  name: 'connection cut in a reply',
  keepsStreams: true,
  draw (random) {
    const places = Array.from({ length: 5 }, () => ({ which: random.integer(0, 2), bytes: random.integer(1, 3_000) }))
    return {
      title: `the connection to Redis is cut within a reply, ${places.map(({ which, bytes }) => `that of process ${which} after ${bytes} bytes`).join(', ')}`,
      async run (world) {
        for (const { which, bytes } of places) {
          const proxy = at(world.store.proxies, which)
          const { cuts } = proxy
          proxy.cutAfter(bytes)
          await world.until(() => proxy.cuts > cuts, 10_000, () => 'Redis answers')
        }
      }
    }
  },
  isSeen: ({ degraded }) => degraded > 0
}

const roll: Kind = {
  name: 'rolling restart',
  keepsStreams: false,
  draw (random) {
    const order = random.shuffle([0, 1, 2])
    return {
      title: `all processes are restarted, ${order.join(', ')}`,
      async run (world) {
        for (const which of order) {
          const application = at(world.applications, which)
          await world.leave(application)
          await world.start(application)
          await world.wait(500)
        }
      }
    }
  },
  isSeen: ({ lost }) => lost > 0
}

export const KINDS: readonly Kind[] = [kill, stop, restart, flush, failover, cut, roll]

function at<One> (all: readonly One[], index: number): One {
  const one = all[index]
  if (one === undefined) throw new Error(`there is no number ${index}`)
  return one
}
