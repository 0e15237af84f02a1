import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate, setTimeout } from 'node:timers/promises'
import t from 'tap'
import { backplaneConformance, type Backplane, type Entry, type HistoryLimits, type Message, type Position } from '../plugin/backplane/conformance'
import { memoryBackplane } from '../plugin/backplane/memory'
import { FST_ERR_SSE_BACKPLANE } from '../plugin/errors'

const PLENTY = { size: 100, maxAge: 3_600_000, maxBytes: 1_000_000, isLatest: false }

const AsyncFunction: new (...source: string[]) => (...values: unknown[]) => Promise<unknown> =
  Object.getPrototypeOf(async () => {}).constructor

type Factory = () => Promise<Backplane>

/** Instances that share what they keep, as two processes do. */
function sharedMemory (): Factory {
  const store = memoryBackplane()
  return async () => {
    const leaves: Array<() => Promise<void>> = []
    const listeners: Array<(state: 'down') => void> = []
    let state: Backplane['state'] = 'connected'
    let isStarted = false
    const opened = (): Backplane => {
      if (state === 'down' || !isStarted) throw new FST_ERR_SSE_BACKPLANE('it is not open')
      return store
    }
    return {
      get state () { return state },
      start: async () => { isStarted = true },
      onStateChange: changed => { listeners.push(changed) },
      publish: async (...args) => opened().publish(...args),
      read: async (...args) => opened().read(...args),
      position: async (...args) => opened().position(...args),
      subscribe: async (...args) => {
        const leave = await opened().subscribe(...args)
        leaves.push(leave)
        return leave
      },
      close: async () => {
        if (state === 'down') return
        state = 'down'
        for (const leave of leaves) await leave()
        for (const changed of listeners) changed(state)
      }
    }
  }
}

t.test('instances that share what they keep conform', async t => {
  for (const { title, run } of backplaneConformance(sharedMemory(), { shared: true })) t.test(title, run)
})

/** Backplanes that do one thing otherwise than they should. */
const broken = (otherwise: (inner: Backplane) => Partial<Backplane>): Factory => async () => {
  const inner = memoryBackplane()
  return {
    get state () { return inner.state },
    onStateChange: changed => { inner.onStateChange(changed) },
    publish: (...args) => inner.publish(...args),
    read: (...args) => inner.read(...args),
    position: name => inner.position(name),
    subscribe: (...args) => inner.subscribe(...args),
    close: () => inner.close(),
    ...otherwise(inner)
  }
}

/** A backplane that keeps by other limits than it was told to. */
const keeping = (limits: (message: Message, given: HistoryLimits) => Partial<HistoryLimits>): Factory => broken(inner => ({
  publish: (name, message, options) =>
    inner.publish(name, message, { ...options, history: { ...options.history, ...limits(message, options.history) } })
}))

const withOffset = ({ epoch, offset }: Position, change: (offset: number) => number): Position => ({ epoch, offset: change(offset) })

const isolated: Factory = async () => memoryBackplane()

/** For each case a backplane that is to fail it. */
const BROKEN: Record<string, Factory> = {
  'a channel that nobody has published to is at offset 0 of the epoch that its first message has': broken(inner => ({
    position: async name => ({ ...await inner.position(name), epoch: 'other' })
  })),

  'offsets are contiguous from 1, and the position is that of the last message': broken(inner => ({
    publish: async (...args) => withOffset(await inner.publish(...args), offset => offset * 2)
  })),

  'messages that are published at the same time have an offset each, under which they are kept': broken(inner => ({
    publish: async (...args) => {
      const before = await inner.position(args[0])
      await inner.publish(...args)
      return withOffset(before, offset => offset + 1)
    }
  })),

  'a message is in the history when its publishing has resolved': broken(inner => ({
    publish: async (...args) => {
      const before = await inner.position(args[0])
      setImmediate().then(() => inner.publish(...args)).catch(() => {})
      return withOffset(before, offset => offset + 1)
    }
  })),

  'what is read begins behind the offset that was asked for': broken(inner => ({
    read: (name, after, history) => inner.read(name, Math.max(0, after - 1), history)
  })),

  'of more events than the size, the newest are kept': keeping((message, { size }) => ({ size: size + 1 })),

  'a size of 0 keeps nothing': keeping((message, { size }) => ({ size: Math.max(1, size) })),

  'names and data count as bytes of UTF-8, and of more than maxBytes the newest are kept':
    keeping((message, { maxBytes }) => ({ maxBytes: maxBytes * 2 })),

  'a message of more than maxBytes leaves nothing kept':
    keeping((message, { maxBytes }) => ({ maxBytes: Math.max(maxBytes, message.data.length) })),

  'what is older than maxAge is not kept, and offsets go on': keeping(() => ({ maxAge: Infinity })),

  'in latest mode the newest event of each name is kept, and nothing is missing': keeping(() => ({ isLatest: false })),

  'in latest mode the limits hold too, and the floor is at the newest event that went by them': broken(inner => ({
    read: async (name, after, history) => ({ ...await inner.read(name, after, history), floor: after })
  })),

  'channels do not mix, whatever their names': broken(inner => ({
    publish: (name, ...args) => inner.publish(name.trim(), ...args)
  })),

  'a message is brought and kept as it was published, to the last character': broken(inner => ({
    publish: (name, message, options) => inner.publish(name, { ...message, data: message.data.replaceAll('\r\n', '\n') }, options)
  })),

  'a message has the time at which it was published': broken(inner => ({
    read: async (...args) => {
      const tail = await inner.read(...args)
      return { ...tail, entries: tail.entries.map(entry => ({ ...entry, time: Math.floor(entry.time / 1000) })) }
    }
  })),

  'the same key publishes once, and gives the position of the first time': broken(inner => ({
    publish: (name, message, options) => inner.publish(name, message, { ...options, idempotencyKey: undefined })
  })),

  'the same key at the same time publishes once': broken(inner => {
    const published = new Set<unknown>()
    return {
      publish: async (name, message, options) => {
        const isFirst = !published.has(options.idempotencyKey)
        await setImmediate()
        published.add(options.idempotencyKey)
        return isFirst ? inner.publish(name, message, { ...options, idempotencyKey: undefined }) : inner.position(name)
      }
    }
  }),

  'another key, no key, and the same key in another channel publish': broken(inner => ({
    publish: (name, message, options) => inner.publish(name, message, { ...options, idempotencyKey: options.idempotencyKey?.trim() })
  })),

  'a key counts for its window from the first time, and publishes anew afterwards': broken(inner => ({
    publish: (name, message, options) => inner.publish(name, message, { ...options, idempotencyWindow: Infinity })
  })),

  'the end has an offset of its own, is heard and is known from then on': broken(inner => ({
    read: async (...args) => {
      const tail = await inner.read(...args)
      return { ...tail, isEnded: tail.entries.some(({ isEnd }) => isEnd) }
    }
  })),

  'the end is known where nothing is kept, and takes nothing away in latest mode': broken(inner => ({
    read: async (name, after, history) => {
      const tail = await inner.read(name, after, history)
      return { ...tail, isEnded: tail.isEnded && history.size > 0 }
    }
  })),

  'after the end nothing is published, and a key that was used before gives its position': broken(inner => ({
    publish: (...args) => inner.publish(...args).catch(() => inner.position(args[0]))
  })),

  'a subscriber hears all that is published from then on, in order, and nothing from before': broken(inner => ({
    subscribe: async (name, listener) => {
      const { epoch, entries } = await inner.read(name, 0, PLENTY)
      for (const entry of entries) listener.entry(epoch, entry)
      return inner.subscribe(name, listener)
    }
  })),

  'between what is heard and what is read after subscribing there is no hole': broken(inner => ({
    subscribe: async (...args) => {
      const subscribed = setTimeout(20).then(() => inner.subscribe(...args))
      subscribed.catch(() => {})
      return async () => { await (await subscribed)() }
    }
  })),

  'each of several subscribers hears everything': broken(inner => {
    const names = new Set<string>()
    return {
      subscribe: async (name, listener) => {
        if (!names.has(name)) {
          names.add(name)
          return inner.subscribe(name, listener)
        }
        listener.interrupted()
        return async () => {}
      }
    }
  }),

  'who was taken off hears nothing more, and the others do': broken(inner => ({
    subscribe: async (...args) => {
      await inner.subscribe(...args)
      return async () => {}
    }
  })),

  'who was the last to be taken off can come back': broken(inner => {
    const left = new Set<string>()
    return {
      subscribe: async (name, listener) => {
        const leave = await inner.subscribe(name, { ...listener, entry: (...args) => { if (!left.has(name)) listener.entry(...args) } })
        return async () => {
          left.add(name)
          await leave()
        }
      }
    }
  }),

  'what a listener publishes is heard by all after what it was told': broken(inner => ({
    subscribe: (name, listener) => {
      let waiting: Entry[] = []
      return inner.subscribe(name, {
        entry: (epoch, entry) => {
          if (waiting.push(entry) > 1) return
          setImmediate().then(() => {
            for (const each of waiting.reverse()) listener.entry(epoch, each)
            waiting = []
          })
        },
        interrupted: () => {}
      })
    }
  })),

  'it is connected until it is closed, and tells once that it is down': broken(inner => ({
    onStateChange: changed => {
      inner.onStateChange(changed)
      inner.onStateChange(changed)
    }
  })),

  'after its close all is refused, and who is subscribed can still leave': broken(() => ({
    position: () => new Promise(() => {})
  })),

  'what one publishes, the other hears and reads': isolated,
  'a channel that nobody has published to has the same epoch in both': isolated,
  'offsets are contiguous over both, and both hear the same in the same order': isolated,
  'the same key publishes once over both': isolated,
  'both know the end': isolated,

  'the close of one leaves the other as it is': (() => {
    const one = memoryBackplane()
    return async () => one
  })()
}

t.test('a backplane that does one thing wrong fails', async t => {
  const titles = backplaneConformance(isolated, { shared: true }).map(({ title }) => title)
  t.same(Object.keys(BROKEN), titles, 'each case is to be failed by one')
  for (const [title, factory] of Object.entries(BROKEN)) {
    t.test(title, async t => {
      const failing = backplaneConformance(factory, { shared: true, timeout: 100 }).filter(each => each.title === title)
      for (const { run } of failing) await t.rejects(run, { code: 'ERR_ASSERTION' })
    })
  }
})

t.test('the example of the guide hands every case to its test runner', async t => {
  const guide = readFileSync(join(__dirname, '..', 'docs', 'backplanes.md'), 'utf8')
  const [, example = ''] = /```js\n(.*?)```/s.exec(guide) ?? []
  const tests = new Map<string, () => Promise<void>>()
  const given = {
    test: (title: string, run: () => Promise<void>) => { tests.set(title, run) },
    backplaneConformance,
    myBackplane: memoryBackplane
  }
  await new AsyncFunction(...Object.keys(given), example.replace(/^import .*\n/gm, ''))(...Object.values(given))
  t.same([...tests.keys()], Object.keys(BROKEN))
  await t.resolves([...tests.values()][0]?.() ?? Promise.reject(new Error('there is none')))
})
