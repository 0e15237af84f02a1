import { once } from 'node:events'
import { mock } from 'node:test'
import { inspect } from 'node:util'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { request } from 'undici'
import { memoryBackplane } from '../plugin/backplane/memory'
import ssePlugin from '../plugin/index'
import { resolveOptions, resolvePluginOptions } from '../plugin/options'
import { deferred } from './helpers/deferred'
import { FaultyBackplane } from './helpers/faulty-backplane'
import { serve } from './helpers/serve'
import { connectTo, get } from './helpers/socket'

type Options = ssePlugin.SseOptions

interface Rule {
  /** How a message says what is allowed. */
  says: string
  allowed: unknown[]
  refused: unknown[]
  /** Options that this one does not go without. */
  beside?: Options
}

const MAX = 2 ** 31 - 1
const NO_NUMBER = [-1, 1.5, NaN, Infinity, 5n, '5', null, true, [], () => 5]
const NO_DELAY = [...NO_NUMBER, MAX + 1, {}]
const NO_FUNCTION = [null, true, 0, 'ip', {}, []]
const key = (): undefined => undefined

const RULES: Record<keyof Options, Rule> = {
  heartbeat: {
    says: 'false or an integer of milliseconds from 1 to 2147483647',
    allowed: [false, 1, MAX],
    refused: [...NO_DELAY, 0]
  },
  retry: {
    says: 'an integer of milliseconds from 0 to 2147483647, or { min, max }',
    allowed: [0, MAX, { min: 0, max: 0 }, { min: 1, max: MAX }],
    refused: [
      ...NO_DELAY, false, [1, 2], { min: 1 }, { max: 1 }, { min: 2, max: 1 }, { min: -1, max: 1 }, { min: 0, max: MAX + 1 },
      { min: '1', max: '2' }, { min: 1, max: 2, mean: 1 }
    ]
  },
  prime: {
    says: 'an integer of milliseconds from 0 to 2147483647',
    allowed: [0, 1, MAX],
    refused: [...NO_DELAY, false]
  },
  maxBuffer: {
    says: 'a positive integer of bytes',
    allowed: [1, 1024, 2 ** 40],
    refused: [...NO_NUMBER, 0, false, {}, '1 MiB', 2 ** 53]
  },
  slow: {
    says: "'disconnect', 'drop-oldest' or 'latest'",
    allowed: ['disconnect', 'drop-oldest', 'latest'],
    refused: [null, false, true, '', 'drop', 'Latest', 'newest', 0, {}, ['latest']]
  },
  writeTimeout: {
    says: 'an integer of milliseconds from 1 to 2147483647',
    allowed: [1000, MAX],
    refused: [...NO_DELAY, 0, false]
  },
  maxAge: {
    says: 'a positive integer of milliseconds, a valid Date, or a function',
    allowed: [1000, 2 ** 40, new Date('9999-01-01'), () => undefined, () => 1000, () => new Date('9999-01-01')],
    refused: [-1, 1.5, NaN, Infinity, 5n, '5', null, true, [], 0, false, {}, new Date(NaN)]
  },
  maxStreams: {
    says: 'a positive integer',
    allowed: [1, 2 ** 40],
    refused: [...NO_NUMBER, 0, false, {}]
  },
  maxStreamsPerKey: {
    says: 'a positive integer',
    allowed: [1, 2 ** 40],
    refused: [...NO_NUMBER, 0, false, {}],
    beside: { key }
  },
  key: {
    says: 'a function',
    allowed: [key, () => 'a'],
    refused: NO_FUNCTION
  },
  shutdown: {
    says: '{ grace, retry }',
    allowed: [{}, { grace: 0 }, { grace: 8_000 }, { grace: undefined, retry: undefined }, { retry: 0 }, { grace: 1, retry: { min: 1, max: 2 } }],
    refused: [
      null, false, 5000, '5', [], new Map(), () => {}, { grace: -1 }, { grace: null }, { grace: false }, { grace: MAX + 1 }, { grace: '5' },
      { retry: -1 }, { retry: null }, { retry: false }, { retry: { min: 2, max: 1 } }, { retry: {} }, { grace: 1, grce: 1 }
    ]
  },
  onError: {
    says: 'a function',
    allowed: [() => undefined],
    refused: NO_FUNCTION
  },
  serializer: {
    says: 'a function',
    allowed: [String],
    refused: NO_FUNCTION
  }
}

interface Refusal {
  code?: string
  message?: string
}

/** Checks that an option was refused with its name, what is allowed and the value. */
function isRefusal (t: Test, { code, message = '' }: Refusal, option: string, allowed: string, value: unknown): void {
  const shown = inspect(value, { breakLength: Infinity })
  t.equal(code, 'FST_ERR_SSE_OPTION', `${option}: ${shown}`)
  t.ok([`'${option}'`, allowed, `got ${shown}`].every(part => message.includes(part)), message)
}

/** Registers the plugin; gives the error it is refused with. */
async function register (options: unknown, pluginTimeout = 10_000): Promise<Refusal | undefined> {
  const app = Fastify({ pluginTimeout })
  app.register(ssePlugin, options as ssePlugin.PluginOptions)
  try {
    await app.ready()
    return undefined
  } catch (error) {
    return error as Refusal
  } finally {
    await app.close()
  }
}

/** A server whose route is called with given options, and answers a JSON body where they are refused. */
async function startCalls (t: Test, plugin: ssePlugin.PluginOptions = {}) {
  let given: unknown
  const { url } = await serve(t, app => app.get('/', (request, reply) => reply.sse([{ data: {} }], given as Options)), { plugin })

  return async function call (options: unknown): Promise<{ status: number, text: string, error: Refusal }> {
    given = options
    const { statusCode, body } = await request(url)
    const text = await body.text()
    return { status: statusCode, text, error: statusCode === 500 ? JSON.parse(text) : {} }
  }
}

t.test('at the registration', async t => {
  for (const [option, { says, allowed, refused, beside }] of Object.entries(RULES)) {
    t.test(`${option} must be ${says}`, async t => {
      for (const value of [...allowed, undefined]) {
        t.equal(await register({ ...beside, [option]: value }), undefined, inspect(value))
      }
      for (const value of refused) {
        isRefusal(t, await register({ ...beside, [option]: value }) ?? {}, option, says, value)
      }
    })
  }

  t.test('lastEventIdParameter must be a non-empty string or false', async t => {
    for (const lastEventIdParameter of ['id', false, undefined]) t.equal(await register({ lastEventIdParameter }), undefined)
    for (const lastEventIdParameter of ['', true, null, 0, 5, ['id'], {}]) {
      isRefusal(t, await register({ lastEventIdParameter }) ?? {}, 'lastEventIdParameter', 'a non-empty string or false', lastEventIdParameter)
    }
  })

  t.test('backplane must be a backplane, such as redisBackplane() gives', async t => {
    const backplane = { onStateChange () {}, publish () {}, read () {}, position () {}, subscribe () {}, close () {} }
    for (const allowed of [backplane, { ...backplane, start () {} }, new FaultyBackplane(), memoryBackplane(), undefined]) {
      t.equal(await register({ backplane: allowed }), undefined)
    }
    for (const method of Object.keys(backplane)) {
      for (const broken of [{ ...backplane, [method]: undefined }, { ...backplane, [method]: true }]) {
        t.match(await register({ backplane: broken }), { code: 'FST_ERR_SSE_OPTION', message: /'backplane' must be a backplane, such as redisBackplane\(\) gives, got \{/ }, method)
      }
    }
    for (const value of [null, 5, true, 'redis', {}, [], () => backplane]) {
      isRefusal(t, await register({ backplane: value }) ?? {}, 'backplane', 'a backplane, such as redisBackplane() gives', value)
    }
  })

  t.test('maxChannels must be a positive integer', async t => {
    for (const maxChannels of [1, 2 ** 40, undefined]) t.equal(await register({ maxChannels }), undefined)
    for (const maxChannels of [...NO_NUMBER, 0, false, {}]) {
      isRefusal(t, await register({ maxChannels }) ?? {}, 'maxChannels', 'a positive integer', maxChannels)
    }
  })

  t.test('a backplane that cannot start keeps the server from starting', async t => {
    const backplane = Object.assign(new FaultyBackplane(), { start: async () => { throw new Error('a Redis of 2009') } })
    t.match(await register({ backplane }), { message: 'a Redis of 2009' })
    t.equal(backplane.state, 'down', 'and is closed')
  })

  t.test('a backplane is started once, before the server is ready, and closed with it', async t => {
    const calls: string[] = []
    const backplane = Object.assign(new FaultyBackplane(), { start: async () => { calls.push('start') } })
    const app = Fastify()
    await app.register(ssePlugin, { backplane })
    app.addHook('onReady', async () => { calls.push('ready') })
    await app.ready()
    t.same(calls, ['start', 'ready'])
    t.equal(backplane.state, 'connected')
    await app.close()
    t.equal(backplane.state, 'down')
  })

  t.test('an unknown option is refused with the names of all that there are', async t => {
    for (const option of ['heartbeet', 'Retry', 'constructor', 'toString', 'signal']) {
      const refusal = await register({ prime: 0, [option]: 1 }) ?? {}
      for (const name of [...Object.keys(RULES), 'backplane', 'maxChannels', 'lastEventIdParameter']) isRefusal(t, refusal, option, name, 1)
    }
    t.match(await register({ heartbeet: undefined }), { code: 'FST_ERR_SSE_OPTION' })
  })

  t.test('what Fastify itself takes there is not refused', async t => {
    t.equal(await register({ prefix: '/events', logLevel: 'warn', logSerializers: {} }), undefined)
  })

  t.test('maxStreamsPerKey is refused without key', async t => {
    isRefusal(t, await register({ maxStreamsPerKey: 1 }) ?? {}, 'key', "where 'maxStreamsPerKey' is set", undefined)
  })

  t.test('no options are needed', async t => {
    t.equal(await register(undefined), undefined)
    t.equal(await register({}), undefined)
  })
})

t.test('at the call', async t => {
  const call = await startCalls(t)

  for (const [option, { says, allowed, refused, beside }] of Object.entries(RULES)) {
    t.test(`${option} must be ${says}`, async t => {
      for (const value of [...allowed, undefined]) {
        t.equal((await call({ ...beside, [option]: value })).status, 200, inspect(value))
      }
      for (const value of refused) {
        isRefusal(t, (await call({ ...beside, [option]: value })).error, option, says, value)
      }
    })
  }

  t.test('an unknown option is refused with the names of all that there are', async t => {
    for (const option of ['heartbeet', 'constructor', '__proto__', 'prefix', 'backplane', 'maxChannels', 'lastEventIdParameter']) {
      const { error } = await call({ prime: 0, ...Object.fromEntries([[option, 1]]) })
      for (const name of Object.keys(RULES)) isRefusal(t, error, option, name, 1)
    }
  })

  t.test('options that are no plain object are refused', async t => {
    for (const options of [null, 5, true, 'prime', '', [], [{ prime: 0 }], () => ({ prime: 0 }), new Map(), new Date()]) {
      const { status, error } = await call(options)
      t.equal(status, 500, inspect(options))
      t.match(error, { code: 'FST_ERR_SSE_OPTION', message: 'object' })
      t.ok(error.message?.includes(inspect(options)), `got ${inspect(options)}`)
    }
  })

  t.test('what a function for maxAge gives is checked like maxAge', async t => {
    for (const value of [0, -1, 1.5, Infinity, '5', null, {}, new Date(NaN)]) {
      isRefusal(t, (await call({ maxAge: () => value })).error, 'maxAge', 'a positive integer of milliseconds, a valid Date or undefined', value)
    }
  })

  t.test('maxStreamsPerKey needs a key, of the call or of the registration', async t => {
    isRefusal(t, (await call({ maxStreamsPerKey: 1 })).error, 'key', "where 'maxStreamsPerKey' is set", undefined)
    t.equal((await call({ maxStreamsPerKey: 1, key })).status, 200)
    const callBesideKey = await startCalls(t, { key })
    t.equal((await callBesideKey({ maxStreamsPerKey: 1 })).status, 200)
  })

  t.test('a bad option goes through the error handler, and the source is not called', async t => {
    let calls = 0
    const source = (): string[] => {
      calls++
      return []
    }
    const { url } = await serve(t, app => {
      app.setErrorHandler((error: Refusal, request, reply) => reply.code(500).send({ handled: error.code }))
      app.get('/sync', (request, reply) => reply.sse(source, { prime: -1 }))
      app.get('/async', async (request, reply) => reply.sse(source, { prime: -1 }))
    })
    for (const path of ['/sync', '/async']) {
      const { statusCode, headers, body } = await request(url + path)
      t.equal(statusCode, 500)
      t.match(headers['content-type'], 'application/json')
      t.strictSame(await body.json(), { handled: 'FST_ERR_SSE_OPTION' })
    }
    t.equal(calls, 0)
  })
})

t.test('a grace that Fastify would not wait for', async t => {
  const MEND = 'the pluginTimeout of Fastify ends app.close() too; raise that, or make it 0'

  t.test('is refused at the registration, at a route and at a call, with the mend', async t => {
    for (const [pluginTimeout, longest] of [[10_000, 8_000], [60_000, 58_000], [2_001, 1], [2_000, 0], [100, 0]] as const) {
      const refused = (grace: number) => ({
        code: 'FST_ERR_SSE_OPTION',
        message: `Event stream options: 'shutdown.grace' must be at most ${longest}: ${MEND}, got ${grace}`
      })
      for (const grace of [longest + 1, MAX]) {
        t.match(await register({ shutdown: { grace } }, pluginTimeout), refused(grace))
        const app = Fastify({ pluginTimeout })
        t.teardown(() => app.close())
        app.register(ssePlugin, { shutdown: { grace: 0 } })
        app.after(() => {
          const route = catchRefusal(() => app.get('/', { sse: { shutdown: { grace } } }, () => []))
          t.match(route, { code: 'FST_ERR_SSE_ROUTE', message: `'shutdown.grace' must be at most ${longest}: ${MEND}` })
          app.get('/call', (request, reply) => reply.sse(['one'], { shutdown: { grace } }))
          app.get('/fits', (request, reply) => reply.sse(['one'], { shutdown: { grace: longest } }))
        })
        const { statusCode, body } = await app.inject('/call')
        t.equal(statusCode, 500)
        t.match(JSON.parse(body), refused(grace))
        t.equal((await app.inject('/fits')).body, 'data: one\n\n')
      }
      t.equal(await register({ shutdown: { grace: longest } }, pluginTimeout), undefined)
    }
  })

  t.test('is none where Fastify has no pluginTimeout', async t => {
    t.equal(await register({ shutdown: { grace: MAX } }, 0), undefined)
    const { app } = await serve(t, app => {
      app.get('/route', { sse: { shutdown: { grace: MAX } } }, () => ['one'])
      app.get('/call', (request, reply) => reply.sse(['one'], { shutdown: { grace: MAX } }))
    }, { fastify: { pluginTimeout: 0 } })
    for (const path of ['/route', '/call']) t.equal((await app.inject(path)).body, 'data: one\n\n')
    t.match(resolvePluginOptions({}, 0).stream.shutdown, { grace: 5_000, longestGrace: Infinity })
  })

  t.test('is not what a short pluginTimeout leaves of the default', async t => {
    for (const [pluginTimeout, grace] of [[60_000, 5_000], [7_000, 5_000], [6_999, 4_999], [2_001, 1], [2_000, 0], [1, 0]] as const) {
      t.equal(resolvePluginOptions({}, pluginTimeout).stream.shutdown.grace, grace)
      t.equal(resolvePluginOptions({ shutdown: { retry: 5 } }, pluginTimeout).stream.shutdown.grace, grace)
    }
    t.equal(await register({}, 500), undefined)
  })

  t.test('lets app.close() come to its end where it is as long as it may be', async t => {
    const { app, port } = await serve(t, app => app.get('/', (request, reply) => reply.sse(async function * () {
      yield 'open'
      await new Promise(() => {})
    })), { plugin: { shutdown: { grace: 1 } }, fastify: { pluginTimeout: 2_001 } })
    const client = await connectTo(t, port, get('/'))
    await client.until('open')
    await app.close()
    await client.closed
    t.match(client.received, /\nretry: \d+\n/)
  })
})

function catchRefusal (call: () => unknown): Refusal | undefined {
  try {
    call()
    return undefined
  } catch (error) {
    return error as Refusal
  }
}

t.test('registering twice says which decorator is there already', async t => {
  const message = "The decorator 'sse' has already been added!"

  t.test('in the same scope', async t => {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(ssePlugin)
    await t.rejects(async () => app.register(ssePlugin), { code: 'FST_ERR_DEC_ALREADY_PRESENT', message })
  })

  t.test('in a scope within', async t => {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(ssePlugin)
    await t.rejects(async () => app.register(async app => { await app.register(ssePlugin) }), { code: 'FST_ERR_DEC_ALREADY_PRESENT', message: /fastify-event-stream/ })
  })
})

t.test('which one counts', async t => {
  t.test('without options those of the documentation', async t => {
    t.match(resolvePluginOptions({}, 10_000), {
      lastEventIdParameter: 'lastEventId',
      maxChannels: 10_000,
      backplane: { state: 'connected' },
      stream: {
        heartbeat: 15_000,
        retry: undefined,
        prime: 100,
        maxBuffer: 1_048_576,
        slow: 'disconnect',
        writeTimeout: 30_000,
        maxAge: undefined,
        maxStreams: Infinity,
        maxStreamsPerKey: Infinity,
        key: undefined,
        shutdown: { grace: 5_000, longestGrace: 8_000, retry: { min: 1_000, max: 10_000 } },
        onError: undefined
      }
    })
    const call = await startCalls(t)
    t.equal((await call(undefined)).text, 'data: {}\n\n')
  })

  const pairs: { [Option in Exclude<keyof Options, 'serializer' | 'shutdown'>]-?: [registration: Options[Option], call: Options[Option]] } = {
    heartbeat: [1000, false],
    retry: [{ min: 1, max: 2 }, 0],
    prime: [1000, 0],
    maxBuffer: [1000, 1],
    slow: ['latest', 'drop-oldest'],
    writeTimeout: [1000, 1],
    maxAge: [1000, new Date()],
    maxStreams: [1000, 1],
    maxStreamsPerKey: [1000, 1],
    key: [() => 'registration', () => 'call'],
    onError: [() => 'registration', () => 'call']
  }

  for (const [option, [ofRegistration, ofCall]] of Object.entries(pairs)) {
    t.test(`${option} of the call lies over that of the registration, and leaves the others alone`, async t => {
      const registration = resolvePluginOptions({ key, [option]: ofRegistration }, 0).stream
      t.match(registration, { [option]: ofRegistration })
      t.strictSame(resolveOptions({}, registration), registration)
      t.strictSame(resolveOptions({ [option]: undefined }, registration), registration)
      t.strictSame(resolveOptions({ [option]: ofCall }, registration), { ...registration, [option]: ofCall })
    })
  }

  t.test('shutdown of the call lies over that of the registration, and a part of it leaves the other part alone', async t => {
    const registration = resolvePluginOptions({ shutdown: { grace: 7 } }, 0).stream
    const shutdown = { grace: 7, longestGrace: Infinity, retry: { min: 1_000, max: 10_000 } }
    t.strictSame(registration.shutdown, shutdown)
    t.strictSame(resolveOptions({ shutdown: { retry: 0 } }, registration), { ...registration, shutdown: { ...shutdown, retry: 0 } })
    t.strictSame(resolveOptions({ shutdown: { grace: 0 } }, registration), { ...registration, shutdown: { ...shutdown, grace: 0 } })
    t.strictSame(resolveOptions({ shutdown: { grace: 0, retry: 0 } }, registration), { ...registration, shutdown: { ...shutdown, grace: 0, retry: 0 } })
    for (const nothing of [undefined, {}, { grace: undefined, retry: undefined }]) {
      t.strictSame(resolveOptions({ shutdown: nothing }, registration), registration)
    }
  })

  t.test('an option of one call is not one of the next', async t => {
    const call = await startCalls(t, { retry: 7, serializer: () => 'ours' })
    t.equal((await call(undefined)).text, 'retry: 7\ndata: ours\n\n')
    t.equal((await call({ retry: 0, serializer: () => 'mine' })).text, 'retry: 0\ndata: mine\n\n')
    t.equal((await call({ retry: undefined })).text, 'retry: 7\ndata: ours\n\n')
  })

  t.test('a farewell takes the retry of the registration beside the grace of the call', async t => {
    const { app, port } = await serve(t, app => app.get('/', (request, reply) => reply.sse(async function * () {
      yield 'open'
      await new Promise(() => {})
    }, { shutdown: { grace: 0 } })), { plugin: { shutdown: { retry: 7 } } })
    const client = await connectTo(t, port, get('/'))
    await client.until('open')
    await app.close()
    await client.closed
    t.match(client.received, 'retry: 7\n')
  })

  t.test('a farewell takes the retry of the call beside the grace of the registration', async t => {
    mock.timers.enable({ apis: ['setTimeout'] })
    t.teardown(() => { mock.timers.reset() })
    const told = deferred()
    const { app, port } = await serve(t, app => app.get('/', (request, reply) => reply.sse(async function * ({ signal }) {
      yield 'open'
      await once(signal, 'abort')
      told.resolve()
      await new Promise(() => {})
    }, { shutdown: { retry: 7 } })), { plugin: { shutdown: { grace: 1_000 } } })
    const client = await connectTo(t, port, get('/'))
    await client.until('open')
    const closed = app.close()
    await told.promise
    mock.timers.tick(1_000)
    await client.until('retry: 7\n')
    await closed
  })
})
