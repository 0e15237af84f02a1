import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { mock } from 'node:test'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { inspect } from 'node:util'
import Fastify, { type FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { fetch } from 'undici'
import { resolveChannelOptions } from '../plugin/channel/channel-options'
import ssePlugin from '../plugin/index'
import type { Channel, ChannelOptions } from '../plugin/types'
import { gapOf, publishAll, read, serveChannel, Steps, take } from './helpers/channels'
import { EVENT_SOURCE, open } from './helpers/client'
import { deferred } from './helpers/deferred'
import { FaultyBackplane } from './helpers/faulty-backplane'
import { serve, type Served } from './helpers/serve'
import { connectTo, get } from './helpers/socket'

const KIB = 1024
const NO_REASONS = { finished: 0, client: 0, stalled: 0, error: 0, shutdown: 0, expired: 0, slow: 0, limit: 0, disconnected: 0 }
const NO_GAPS = { evicted: 0, epoch: 0, ahead: 0, unknown: 0, dropped: 0 }

async function ready (t: Test, plugin: ssePlugin.PluginOptions = {}) {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(ssePlugin, plugin)
  await app.ready()
  return app
}

/** Waits until so many streams have been closed, and gives the reasons. */
async function reasons ({ log }: Served, count: number): Promise<unknown[]> {
  return (await log.take('event stream closed', count)).map(({ reason }) => reason)
}

t.test('the name of a channel', async t => {
  const app = await ready(t)

  for (const name of ['a', '0', 'x'.repeat(128), 'user/1', 'a.b_c~d:e@f/g+h=i-j', '.', '-', '__proto__', 'constructor']) {
    t.test(`may be ${name.slice(0, 40)}`, async t => {
      const channel = app.sse.channel(name)
      const steps = new Steps(channel)
      const { next } = await steps.begin()
      t.same(Object.keys(app.sse.stats().channels), [name])
      await channel.publish('x')
      t.match(await next, { data: 'x' })
      await steps.leave()
    })
  }

  for (const name of ['', 'x'.repeat(129), ' ', 'a b', 'a,b', 'a\n', '\na', 'é', 'a\0', 'a?b', 'a#b', '{a}', 'a*', '"a"', '<a>', 'a%20', 5, null, undefined, {}, ['a'], { toString: () => 'a' }]) {
    t.test(`is not ${inspect(name).slice(0, 40)}`, async t => {
      t.throws(() => app.sse.channel(name as never), { code: 'FST_ERR_SSE_CHANNEL', message: /its name must be 1 to 128 characters of A-Z a-z 0-9/ })
    })
  }

  t.test('that is hostile is shown in one short line', async t => {
    const { message } = catchError(() => app.sse.channel('a\nb'.repeat(1_000)))
    t.ok(message.length < 400)
    t.notMatch(message, '\n')
  })
})

function catchError (call: () => unknown): Error {
  try {
    call()
  } catch (error) {
    return error as Error
  }
  throw new Error('nothing was thrown')
}

t.test('the options of a channel', async t => {
  const NO_COUNT = [0, -1, 1.5, NaN, Infinity, '5', null, false, {}]
  const NO_FUNCTION = [null, true, 'ip', {}]
  const rules: Record<string, { says: string, allowed: unknown[], refused: unknown[] }> = {
    history: {
      says: 'false, or { size, maxAge, maxBytes } of positive integers',
      allowed: [false, {}, { size: 1 }, { maxAge: 1, maxBytes: 1, size: 1, mode: 'all' }, { mode: 'latest' }, { mode: undefined, size: undefined }],
      refused: [true, null, 5, 'all', [], new Map(), { size: 0 }, { size: '5' }, { maxAge: -1 }, { maxBytes: 1.5 }, { mode: 'newest' }, { mode: null }, { siz: 5 }]
    },
    authorize: { says: 'a function', allowed: [() => true], refused: NO_FUNCTION },
    maxSubscribers: { says: 'a positive integer', allowed: [1, 2 ** 40], refused: NO_COUNT },
    maxEventBytes: { says: 'a positive integer', allowed: [1, 2 ** 40], refused: NO_COUNT },
    idempotencyWindow: { says: 'an integer of milliseconds from 1 to 2147483647', allowed: [1, 2 ** 31 - 1], refused: [...NO_COUNT, 2 ** 31] },
    serializer: { says: 'a function', allowed: [String], refused: NO_FUNCTION },
    events: { says: 'an object with a schema for each name of an event', allowed: [{}, { tick: {} }], refused: [null, 5, 'tick', [], () => {}] }
  }

  for (const [option, { says, allowed, refused }] of Object.entries(rules)) {
    t.test(`${option} must be ${says}`, async t => {
      const app = await ready(t)
      for (const value of [...allowed, undefined]) t.doesNotThrow(() => app.sse.channel('news', { [option]: value }), inspect(value))
      for (const value of refused) {
        const { code, message } = catchError(() => app.sse.channel('news', { [option]: value })) as Error & { code?: string }
        t.equal(code, 'FST_ERR_SSE_OPTION', inspect(value))
        t.ok([`'${option}'`, says, `got ${inspect(value)}`].every(part => message.includes(part)), message)
      }
    })
  }

  t.test('that are unknown are refused with the names of all that there are', async t => {
    const app = await ready(t)
    for (const option of ['histroy', 'constructor', 'maxChannels', 'slow']) {
      const { code, message } = catchError(() => app.sse.channel('news', { [option]: 1 } as never)) as Error & { code?: string }
      t.equal(code, 'FST_ERR_SSE_OPTION')
      t.ok(Object.keys(rules).every(name => message.includes(name)), message)
    }
    for (const options of [null, 5, 'news', []]) t.throws(() => app.sse.channel('news', options as never), { code: 'FST_ERR_SSE_OPTION', message: /must be an object/ })
  })

  t.test('have the defaults of the documentation', async t => {
    t.strictSame(resolveChannelOptions({}), {
      history: { size: 1_000, maxAge: 300_000, maxBytes: 4_194_304, isLatest: false },
      authorize: undefined,
      maxSubscribers: Infinity,
      maxEventBytes: 65_536,
      idempotencyWindow: 120_000,
      events: undefined
    })
    t.same(resolveChannelOptions({ events: { tick: {}, tock: {} } }).events, ['tick', 'tock'])
    t.strictSame(resolveChannelOptions({ history: false }).history, { size: 0, maxAge: 0, maxBytes: 0, isLatest: false })
    t.strictSame(resolveChannelOptions({ history: { mode: 'latest', size: 5 } }).history, { size: 5, maxAge: 300_000, maxBytes: 4_194_304, isLatest: true })
  })
})

t.test('maxSubscribers', async t => {
  t.test('answers a client more with 503, and the time to come back', async t => {
    const served = await serveChannel(t, { maxSubscribers: 1 }, { shutdown: { retry: 2_500 } })
    const first = await served.read()
    const response = await fetch(served.url)
    t.equal(response.status, 503)
    t.equal(response.headers.get('retry-after'), '3')
    t.match(await response.json(), { code: 'FST_ERR_SSE_LIMIT' })
    t.same(await reasons(served, 1), ['limit'])
    const [id] = await served.publishAll('one')
    t.match(await first.next(), { id })
  })

  t.test('tells an EventSource more when to come back, by a stream that ends', async t => {
    const { read } = await serveChannel(t, { maxSubscribers: 1 }, { shutdown: { retry: 2_500 } })
    await read()
    const { response, rest, retry } = await read()
    t.equal(response.status, 200)
    t.match(response.headers.get('content-type'), 'text/event-stream')
    t.same(await rest(), [])
    t.equal(retry(), 2_500)
  })

  t.test('has room again when a client has left', async t => {
    const served = await serveChannel(t, { maxSubscribers: 1 })
    const first = await served.read()
    t.equal((await fetch(served.url)).status, 503)
    first.close()
    await reasons(served, 2)
    t.equal((await open(t, served.url)).response.status, 200)
  })

  t.test('counts those who read a part of the channel, or several channels', async t => {
    const served = await serve(t, app => {
      const news = app.sse.channel('news', { maxSubscribers: 2 })
      app.sse.channel('other')
      app.get('/part', (request, reply) => reply.sse(news.subscribe({ filter: () => true })))
      app.get('/several', (request, reply) => reply.sse(app.sse.subscribe(['other', 'news'])))
      app.get('/other', (request, reply) => reply.sse(app.sse.channel('other')))
    })
    for (const path of ['/part', '/several']) t.equal((await open(t, served.url + path)).response.status, 200)
    for (const path of ['/part', '/several']) t.equal((await open(t, served.url + path)).response.status, 503)
    t.equal((await open(t, `${served.url}/other`)).response.status, 200)
  })

  t.test('counts iterations', async t => {
    const { url, channel } = await serveChannel(t, { maxSubscribers: 1 })
    const steps = new Steps(channel)
    await steps.begin()
    t.equal((await fetch(url)).status, 503)
    await steps.leave()
    t.equal((await open(t, url)).response.status, 200)
  })

  t.test('refuses an iteration more', async t => {
    const { channel, read } = await serveChannel(t, { maxSubscribers: 1 })
    await read()
    const { next } = await new Steps(channel).begin()
    await t.rejects(Promise.race([next, setImmediate()]), { code: /^FST_ERR_SSE_/ })
    t.equal(channel.subscribers, 1)
  })

  t.test('holds where several are let in at the same time', async t => {
    const asked = deferred()
    const answer = deferred<boolean>()
    let count = 0
    const { url, channel } = await serveChannel(t, {
      maxSubscribers: 1,
      authorize: () => {
        if (++count === 2) asked.resolve()
        return answer.promise
      }
    })
    const opening = [open(t, url), open(t, url)]
    await asked.promise
    answer.resolve(true)
    t.same((await Promise.all(opening)).map(({ response }) => response.status).sort(), [200, 503])
    t.equal(channel.subscribers, 1)
  })

  t.test('sends an EventSource away that comes too late by a time to come back, not for ever', async t => {
    const asked = deferred()
    const answer = deferred<boolean>()
    let count = 0
    const { url, channel } = await serveChannel(t, {
      maxSubscribers: 1,
      authorize: () => {
        if (++count === 2) asked.resolve()
        return answer.promise
      }
    })
    const bodies: Array<Promise<string>> = []
    const request = async (): Promise<number> => {
      const response = await fetch(url, { headers: { accept: 'text/event-stream' }, signal: left.signal })
      bodies.push(response.text())
      return response.status
    }
    const left = new AbortController()
    const statuses = Promise.all([request(), request()])
    await asked.promise
    answer.resolve(true)
    t.same(await statuses, [200, 200])
    t.match(await Promise.race(bodies), /^retry: \d+\n$/)
    t.equal(channel.subscribers, 1)
    left.abort()
    await Promise.allSettled(bodies)
  })

  t.test('holds for channels that a source function returns', async t => {
    const { url, channel, read } = await serveChannel(t, { maxSubscribers: 1 }, {}, (app, channel) => {
      app.get('/function', (request, reply) => reply.sse(async () => channel))
    })
    await read()
    t.equal((await fetch(`${url}/function`)).status, 503)
    t.equal(channel.subscribers, 1)
  })
})

t.test('maxChannels', async t => {
  async function serveUsers (t: Test, maxChannels: number) {
    return serve(t, app => {
      app.get<{ Params: { name: string } }>('/user/:name', (request, reply) => reply.sse(app.sse.channel(request.params.name)))
      app.get<{ Params: { one: string, other: string } }>('/users/:one/:other', (request, reply) => {
        return reply.sse(app.sse.subscribe([app.sse.channel(request.params.one), app.sse.channel(request.params.other)]))
      })
    }, { plugin: { maxChannels } })
  }

  t.test('is how many channels may be read at a time', async t => {
    const served = await serveUsers(t, 2)
    const clients = [await open(t, `${served.url}/user/a`), await open(t, `${served.url}/user/b`)]
    t.equal((await open(t, `${served.url}/user/a`)).response.status, 200, 'once more one of these')
    const refused = await fetch(`${served.url}/user/c`)
    t.equal(refused.status, 500)
    t.match(await refused.json(), { code: 'FST_ERR_SSE_CHANNEL', message: /'c': 2 channels are being read already; raise 'maxChannels'/ })
    t.match(await served.log.find('event stream closed'), { reason: 'error' })
    clients[1]?.close()
    await reasons(served, 2)
    t.equal((await open(t, `${served.url}/user/c`)).response.status, 200)
  })

  t.test('counts all of a stream over several, and takes none where there is no room for all', async t => {
    const served = await serveUsers(t, 3)
    t.equal((await open(t, `${served.url}/users/a/b`)).response.status, 200)
    t.equal((await fetch(`${served.url}/users/c/d`)).status, 500)
    t.same(Object.keys(served.app.sse.stats().channels).sort(), ['a', 'b'])
    t.equal((await open(t, `${served.url}/users/b/c`)).response.status, 200)
  })

  t.test('refuses an iteration too', async t => {
    const app = await ready(t, { maxChannels: 1 })
    const steps = new Steps(app.sse.channel('a'))
    await steps.begin()
    await t.rejects(new Steps(app.sse.channel('b')).next(), { code: 'FST_ERR_SSE_CHANNEL' })
    await steps.leave()
    t.same(app.sse.stats().channels, {})
  })

  t.test('is how many the default backplane keeps', async t => {
    const app = await ready(t, { maxChannels: 2 })
    await app.sse.channel('a').publish('x')
    await app.sse.channel('b').publish('x')
    await t.rejects(app.sse.channel('c').publish('x'), { code: 'FST_ERR_SSE_CHANNEL', message: /'c': there are 2 already/ })
    await t.rejects(app.sse.channel('c').position(), { code: 'FST_ERR_SSE_CHANNEL' })
  })
})

t.test('authorize', async t => {
  const refusals: Record<string, [authorize: ChannelOptions['authorize'], status: number, body: object]> = {
    'that gives false answers 403': [() => false, 403, { code: 'FST_ERR_SSE_FORBIDDEN' }],
    'that resolves to false answers 403': [async () => false, 403, { code: 'FST_ERR_SSE_FORBIDDEN' }],
    'that gives something else than true answers 403': [(() => 1) as never, 403, { code: 'FST_ERR_SSE_FORBIDDEN' }],
    'that gives nothing answers 403': [(() => undefined) as never, 403, { code: 'FST_ERR_SSE_FORBIDDEN' }],
    'that throws answers with its error': [() => { throw Object.assign(new Error('who are you?'), { statusCode: 401 }) }, 401, { message: 'who are you?' }],
    'that rejects answers with its error': [async () => { throw new Error('no database') }, 500, { message: 'no database' }]
  }

  for (const [title, [authorize, status, body]] of Object.entries(refusals)) {
    t.test(title, async t => {
      const served = await serveChannel(t, { authorize })
      const [id = ''] = await served.publishAll('one', 'two')
      for (const headers of [{}, EVENT_SOURCE, { ...EVENT_SOURCE, 'last-event-id': id }]) {
        const response = await fetch(served.url, { headers })
        const text = await response.text()
        t.equal(response.status, status)
        t.match(JSON.parse(text), body)
        t.match(response.headers.get('content-type'), 'application/json')
        t.equal(response.headers.get('x-accel-buffering'), null)
        t.notMatch(text + JSON.stringify([...response.headers]), id.split('-')[0] as string, 'nothing of its IDs')
      }
      t.same(await reasons(served, 3), ['error', 'error', 'error'])
      t.same(served.app.sse.stats().channels, {})
    })
  }

  t.test('is asked with the request and the name of the channel', async t => {
    const asked: unknown[] = []
    const { read, url } = await serveChannel(t, {
      authorize: ({ headers }, channel) => {
        asked.push([headers.authorization, channel])
        return true
      }
    })
    await open(t, url, { headers: { authorization: 'me' } })
    await read()
    t.same(asked, [['me', 'news'], [undefined, 'news']])
  })

  t.test('may take its time, longer than prime, before the headers are sent', async t => {
    const { url, channel } = await serveChannel(t, {
      authorize: async () => {
        await setTimeout(30)
        return false
      }
    }, { prime: 1 })
    t.equal((await fetch(url)).status, 403)
    t.equal(channel.subscribers, 0)
  })

  t.test('comes before the headers with prime 0', async t => {
    const { url } = await serveChannel(t, { authorize: async () => false }, { prime: 0 })
    t.equal((await fetch(url)).status, 403)
  })

  t.test('comes before the headers where a source function returns the channel', async t => {
    for (const prime of [0, 1]) {
      const { url } = await serveChannel(t, {
        authorize: async () => {
          await setTimeout(30)
          return false
        }
      }, { prime }, (app, channel) => app.get('/function', (request, reply) => reply.sse(() => channel)))
      t.equal((await fetch(`${url}/function`)).status, 403)
    }
  })

  t.test('is asked again when a client comes back', async t => {
    const allowed = new Set(['ann'])
    const { url, publishAll } = await serveChannel(t, { authorize: ({ headers }) => allowed.has(String(headers['user'])) })
    const client = await open(t, url, { headers: { user: 'ann' } })
    const [id = ''] = await publishAll('one')
    await client.next()
    client.close()
    allowed.delete('ann')
    t.equal((await fetch(url, { headers: { ...EVENT_SOURCE, user: 'ann', 'last-event-id': id } })).status, 403)
  })

  t.test('is asked for each of several channels, of which nothing is read before all have agreed', async t => {
    const asked: string[] = []
    const backplane = new FaultyBackplane()
    const { app, url } = await serve(t, app => {
      const authorize = ({ headers }: FastifyRequest, channel: string): boolean => {
        asked.push(channel)
        return headers['refused'] !== channel
      }
      for (const name of ['a', 'b', 'c']) app.sse.channel(name, { authorize })
      app.sse.channel('free')
      app.get('/', (request, reply) => reply.sse(app.sse.subscribe(['c', 'a', 'free', 'b'])))
    }, { plugin: { backplane } })
    for (const refused of ['a', 'b', 'c']) {
      const response = await fetch(url, { headers: { refused } })
      t.equal(response.status, 403)
      t.notMatch(await response.text(), new RegExp(`\\b${refused}\\b`), 'its name is not told')
    }
    t.same(backplane.asked, [])
    asked.length = 0
    t.equal((await open(t, url)).response.status, 200)
    t.same(asked, ['a', 'b', 'c'])
    t.match(app.sse.stats().channels, { a: {}, b: {}, c: {}, free: {} })
  })

  t.test('that is still asked when the client leaves lets it in no more', async t => {
    const asked = deferred()
    const answer = deferred<boolean>()
    const served = await serveChannel(t, { authorize: () => { asked.resolve(); return answer.promise } })
    const client = await connectTo(t, served.port, get('/'))
    await asked.promise
    client.socket.destroy()
    t.same(await reasons(served, 1), ['client'])
    answer.resolve(true)
    await setImmediate()
    t.equal(served.channel.subscribers, 0)
    t.same(served.log.complaints, [])
  })

  t.test('that throws when the client has left is a line of the log', async t => {
    const asked = deferred()
    const answer = deferred()
    const served = await serveChannel(t, { authorize: async () => { asked.resolve(); await answer.promise; throw new Error('late') } })
    const client = await connectTo(t, served.port, get('/'))
    await asked.promise
    client.socket.destroy()
    await reasons(served, 1)
    answer.resolve()
    await setImmediate()
    t.equal(served.channel.subscribers, 0)
    t.equal(served.log.all.filter(({ level }) => level >= 50).length, 0)
  })

  t.test('is not asked by iterations, which have no request', async t => {
    const { channel } = await serveChannel(t, { authorize: () => false })
    const steps = new Steps(channel)
    const { next } = await steps.begin()
    await publishAll(channel, 'one')
    t.match(await next, { data: 'one' })
    await steps.leave()
  })
})

t.test('disconnect', async t => {
  const isUser = (name: string) => ({ headers }: FastifyRequest): boolean => headers['user'] === name

  t.test('ends the streams that are meant, and says how many', async t => {
    const allowed = new Set(['ann', 'bob'])
    const served = await serveChannel(t, { authorize: ({ headers }) => allowed.has(String(headers['user'])) }, { shutdown: { retry: 7 } })
    const { url, channel, publishAll } = served
    const [ann, anns, bob] = await Promise.all(['ann', 'ann', 'bob'].map(user => open(t, url, { headers: { ...EVENT_SOURCE, user } }))) as [Client, Client, Client]
    const [one = ''] = await publishAll('one')
    for (const client of [ann, anns, bob]) await client.next()
    allowed.delete('ann')
    t.equal(channel.disconnect(isUser('ann')), 2)
    for (const client of [ann, anns]) t.same(await client.rest(), [], 'a clean end')
    t.same(await reasons(served, 2), ['disconnected', 'disconnected'])
    t.equal(channel.subscribers, 1)
    t.equal((await fetch(url, { headers: { ...EVENT_SOURCE, user: 'ann', 'last-event-id': one } })).status, 403, 'and they do not come back')
    const [two] = await publishAll('two')
    t.match(await bob.next(), { id: two })
    t.equal(channel.disconnect(isUser('nobody')), 0)
  })

  t.test('ends streams over several channels, and those with a filter', async t => {
    const served = await serve(t, app => {
      const news = app.sse.channel('news')
      app.sse.channel('other')
      app.get('/several', (request, reply) => reply.sse(app.sse.subscribe(['news', 'other'])))
      app.get('/part', (request, reply) => reply.sse(news.subscribe({ filter: () => true })))
      app.get('/other', (request, reply) => reply.sse(app.sse.channel('other')))
    })
    const [several, part, other] = await Promise.all(['several', 'part', 'other'].map(path => read(t, `${served.url}/${path}`))) as [Client, Client, Client]
    t.equal(served.app.sse.channel('news').disconnect(() => true), 2)
    for (const client of [several, part]) t.same(await client.rest(), [])
    await served.app.sse.channel('other').publish('one')
    t.match(await other.next(), { data: 'one' })
  })

  t.test('ends a stream that has just begun, which an EventSource does not take for its end', async t => {
    const backplane = new FaultyBackplane()
    const served = await serveChannel(t, {}, { backplane })
    const held = backplane.hold('read')
    const opening = served.read()
    await held.asked
    t.equal(served.channel.disconnect(() => true), 1)
    const { response, rest } = await opening
    t.equal(response.status, 200)
    t.match(response.headers.get('content-type'), 'text/event-stream')
    t.same(await rest(), [])
    held.release()
    await setImmediate()
    t.same(await reasons(served, 1), ['disconnected'])
    t.same(served.log.complaints, [])
    t.equal(served.channel.subscribers, 0)
  })

  t.test('leaves iterations alone, which have no request', async t => {
    const { channel } = await serveChannel(t)
    const steps = new Steps(channel)
    const { next } = await steps.begin()
    t.equal(channel.disconnect(() => true), 0)
    await publishAll(channel, 'one')
    t.match(await next, { data: 'one' })
    await steps.leave()
  })

  t.test('takes a function and nothing else', async t => {
    const { channel, read, publishAll } = await serveChannel(t)
    const client = await read()
    for (const [wrong, shown] of [[undefined, 'undefined'], [null, 'null'], [true, 'true'], ['ann', "'ann'"], [{}, '{}']] as const) {
      t.throws(() => channel.disconnect(wrong as never), { code: 'FST_ERR_SSE_CHANNEL', message: `The channel 'news': disconnect takes a function of the request, got ${shown}` })
    }
    await publishAll('one')
    t.match(await client.next(), { data: 'one' })
  })

  t.test('ends only those for whom its predicate gives true, and nobody for a promise', async t => {
    const { channel, read, publishAll } = await serveChannel(t)
    const client = await read()
    for (const answer of [Promise.resolve(true), 1, 'yes', {}, undefined, null]) t.equal(channel.disconnect((() => answer) as never), 0)
    await publishAll('one')
    t.match(await client.next(), { data: 'one' })
  })

  t.test('has authorize asked again where it is being asked, so that a right withdrawn meanwhile counts', async t => {
    const allowed = new Set(['ann', 'bob'])
    const asked: string[] = []
    const isAsked = deferred()
    const answer = deferred()
    const served = await serveChannel(t, {
      async authorize ({ headers }) {
        const user = String(headers['user'])
        const isAllowed = allowed.has(user)
        if (asked.push(user) === 2) isAsked.resolve()
        await answer.promise
        return isAllowed
      }
    })
    const left = new AbortController()
    const opening = ['ann', 'bob'].map(user => fetch(served.url, { headers: { user }, signal: left.signal }))
    await isAsked.promise
    allowed.delete('ann')
    t.equal(served.channel.disconnect(isUser('ann')), 0, 'there is no stream yet')
    answer.resolve()
    const [ann, bob] = await Promise.all(opening)
    t.equal(ann?.status, 403)
    t.match(await ann?.json(), { code: 'FST_ERR_SSE_FORBIDDEN' })
    t.equal(bob?.status, 200)
    t.same(asked.sort(), ['ann', 'ann', 'bob', 'bob'])
    t.equal(served.channel.subscribers, 1)
    left.abort()
    t.same((await reasons(served, 2)).sort(), ['client', 'error'])
  })

  t.test('has authorize asked as often as somebody is disconnected while it is asked', async t => {
    const answers: Array<(answer: boolean) => void> = []
    const asked = [deferred(), deferred(), deferred()] as const
    const served = await serveChannel(t, {
      authorize: () => new Promise(resolve => { asked[answers.push(resolve) - 1]?.resolve() })
    })
    const opening = served.read()
    for (const [index, { promise }] of asked.entries()) {
      await promise
      if (index < 2) served.channel.disconnect(() => false)
      answers[index]?.(true)
    }
    t.equal((await opening).response.status, 200)
    t.equal(answers.length, 3)
  })

  t.test('has authorize not asked again for a client that has left', async t => {
    const asked = deferred()
    const answer = deferred<boolean>()
    let count = 0
    const served = await serveChannel(t, { authorize: () => { count++; asked.resolve(); return answer.promise } })
    const client = await connectTo(t, served.port, get('/'))
    await asked.promise
    client.socket.destroy()
    t.same(await reasons(served, 1), ['client'])
    served.channel.disconnect(() => true)
    answer.resolve(true)
    await setImmediate()
    t.equal(count, 1)
    t.equal(served.channel.subscribers, 0)
    t.same(served.log.complaints, [])
  })

  t.test('throws what its predicate throws, and ends nothing', async t => {
    const { channel, read, publishAll } = await serveChannel(t)
    const client = await read()
    t.throws(() => channel.disconnect(() => { throw new Error('oops') }), { message: 'oops' })
    await publishAll('one')
    t.match(await client.next(), { data: 'one' })
  })
})

type Client = Awaited<ReturnType<typeof read>>

t.test('slow', async t => {
  /** A client that reads nothing until it is told to, and data that is published until something is so. */
  async function stalled (t: Test, plugin: ssePlugin.PluginOptions) {
    const served = await serveChannel(t, { history: { maxBytes: 2 ** 30, size: 1e6 } }, { maxBuffer: 256 * KIB, heartbeat: false, ...plugin })
    const client = await connectTo(t, served.port, get('/'))
    await client.until('\r\n\r\n')
    client.socket.pause()
    const ids: string[] = []
    return {
      ...served,
      client,
      ids,
      /** Publishes until it is so; each turn of the event loop lets the streams take what they can. */
      async until (isSo: () => boolean) {
        for (let n = 0; !isSo(); n++) {
          ids.push(await served.channel.publish({ event: n % 2 === 0 ? 'even' : 'odd', data: `${n} `.padEnd(32 * KIB, 'x') }))
          await setImmediate()
        }
      }
    }
  }

  t.test('disconnect ends the connection, and the client resumes without loss', async t => {
    const { client, until, ids, read, log, app, publishAll } = await stalled(t, {})
    const other = await read()
    const others = take(other, 1)
    await until(() => log.all.some(({ msg }) => msg === 'event stream closed'))
    t.match(await log.find('event stream closed'), { reason: 'slow' })
    t.match(await others, [{ id: ids[0] }])
    t.match(app.sse.stats(), { streams: { open: 1, closed: { slow: 1 } } })
    client.socket.resume()
    await client.closed
    t.notOk(client.received.endsWith('\r\n0\r\n\r\n'), 'torn, not ended')
    const seen = [...client.received.matchAll(/^id: (.*)\n(?:.*\n){2}\n/gm)].map(([, id]) => id)
    t.same(seen, ids.slice(0, seen.length))
    const back = await read(seen.at(-1))
    ids.push(...await publishAll('live'))
    t.match(await take(back, ids.length - seen.length), ids.slice(seen.length).map(id => ({ id })))
  })

  t.test('drop-oldest tells what was dropped, and goes on', async t => {
    const { client, until, ids, app, publishAll } = await stalled(t, { slow: 'drop-oldest' })
    await until(() => app.sse.stats().dropped > 0)
    const { dropped, streams, channels } = app.sse.stats()
    t.ok(streams.queued > 0 && streams.queued + (channels['news']?.queued ?? NaN) <= 256 * KIB, `${streams.queued} bytes are on the way, ${channels['news']?.queued} wait`)
    const [last] = await publishAll('last')
    client.socket.resume()
    await client.until(`id: ${last}\n`)
    const seen = [...client.received.matchAll(/^id: (.*)\n(event: gap)?/gm)].map(([, id, gap]) => ({ id, isGap: gap !== undefined }))
    const at = seen.findIndex(({ isGap }) => isGap)
    const gap = gapOf({ event: 'gap', data: /event: gap\ndata: (.*)\n/.exec(client.received)?.[1] ?? '', id: seen[at]?.id ?? '' })
    t.same(seen.slice(0, at).map(({ id }) => id), ids.slice(0, at))
    t.match(gap, { channel: 'news', reason: 'dropped', requested: ids[at - 1], resumedAt: ids[at + dropped - 1], id: ids[at + dropped - 1] })
    t.same(seen.slice(at + 1).map(({ id }) => id), [...ids, last].slice(at + dropped))
    t.match(app.sse.stats(), { dropped, gaps: { dropped: 1 } })
  })

  t.test('latest keeps the newest of each name', async t => {
    const { client, until, ids, app } = await stalled(t, { slow: 'latest' })
    await until(() => app.sse.stats().dropped > 0)
    const { dropped } = app.sse.stats()
    client.socket.resume()
    await client.until(`id: ${ids.at(-1)}\n`)
    const seen = [...client.received.matchAll(/^id: (.*)\n(event: gap)?/gm)].map(([, id, gap]) => ({ id, isGap: gap !== undefined }))
    const at = seen.findIndex(({ isGap }) => isGap)
    t.same(seen.slice(0, at).map(({ id }) => id), ids.slice(0, at))
    t.equal(seen[at]?.id, ids[at - 1], 'a client that is cut off now comes back for the rest')
    t.same(seen.slice(at + 1).map(({ id }) => id), ids.slice(-2))
    t.equal(dropped, ids.length - at - 2)
  })
})

t.test('app.sse.stats()', async t => {
  t.test('counts from the registration on', async t => {
    const app = await ready(t)
    t.strictSame(app.sse.stats(), {
      streams: { open: 0, opened: 0, closed: NO_REASONS, queued: 0 },
      events: 0,
      bytes: 0,
      dropped: 0,
      gaps: NO_GAPS,
      replayed: 0,
      channels: {},
      backplane: 'connected'
    })
  })

  t.test('counts streams, whatever their source', async t => {
    const served = await serveChannel(t, { maxSubscribers: 2 }, {}, app => {
      app.get('/two', (request, reply) => reply.sse(['one', 'two']))
      app.get('/broken', (request, reply) => reply.sse(async function * () { throw new Error('broken') }))
    })
    const { app, url, publishAll } = served
    const clients = [await served.read(), await served.read()]
    t.match(app.sse.stats(), { streams: { open: 2, opened: 2, closed: NO_REASONS, queued: 0 }, channels: { news: { subscribers: 2, events: 0, queued: 0 } } })
    const [id] = await publishAll('one')
    for (const client of clients) await client.next()
    await fetch(url)
    await (await fetch(`${url}/two`)).text()
    await fetch(`${url}/broken`)
    await fetch(`${url}/two`, { method: 'HEAD' })
    await reasons(served, 3)
    const [one, two] = [`:\nid: ${id}\ndata: one\n\n`, 'data: one\n\ndata: two\n\n'].map(text => text.length) as [number, number]
    t.match(app.sse.stats(), {
      streams: { open: 2, opened: 3, closed: { ...NO_REASONS, finished: 1, limit: 1, error: 1 }, queued: 0 },
      events: 4,
      bytes: 2 * one + two,
      replayed: 0,
      channels: { news: { subscribers: 2, events: 1, queued: 0 } }
    })
    for (const client of clients) client.close()
    await reasons(served, 5)
    t.match(app.sse.stats(), { streams: { open: 0, closed: { client: 2 } }, events: 4, bytes: 2 * one + two, channels: {} })
  })

  t.test('counts what is replayed, and gaps', async t => {
    const { app, read, publishAll, channel } = await serveChannel(t, { history: { size: 3 } })
    const ids = await publishAll(1, 2, 3, 4, 5)
    await take(await read(ids[3]), 1)
    t.match(app.sse.stats(), { replayed: 1, gaps: NO_GAPS })
    await take(await read(ids[0]), 4)
    t.match(app.sse.stats(), { replayed: 4, gaps: { evicted: 1 } })
    await take(await read('rubbish'), 1)
    await take(await read(`${ids[0]?.split('-')[0]}-99`), 1)
    await take(await read('other-1'), 4)
    t.match(app.sse.stats(), { replayed: 7, gaps: { evicted: 1, unknown: 1, ahead: 1, epoch: 1, dropped: 0 } })
    const steps = new Steps(channel.subscribe({ from: 'earliest' }))
    await steps.take(3)
    t.equal(app.sse.stats().replayed, 10)
    await steps.leave()
  })

  t.test('counts what is replayed of channels with a filter, of several, and of the newest of each name', async t => {
    const app = await ready(t)
    const [a, b] = ['a', 'b'].map(name => app.sse.channel(name)) as [Channel, Channel]
    await publishAll(a, 1, 2, 3)
    await publishAll(b, 1)
    await new Steps(a.subscribe({ from: 'earliest', filter: ({ data }) => data === 2 })).take(1)
    t.equal(app.sse.stats().replayed, 1)
    await new Steps(app.sse.subscribe([a, b], { from: 'earliest' })).take(4)
    t.equal(app.sse.stats().replayed, 5)
    const latest = app.sse.channel('latest', { history: { mode: 'latest' } })
    for (const event of ['x', 'y', 'x']) await latest.publish({ event })
    await new Steps(latest.subscribe({ from: 'earliest' })).take(2)
    t.equal(app.sse.stats().replayed, 7)
  })

  t.test('says what waits for iterations', async t => {
    const app = await ready(t)
    const channel = app.sse.channel('news')
    const steps = new Steps(channel)
    const { next } = await steps.begin()
    const ids = await publishAll(channel, 'one', 'two')
    await next
    t.match(app.sse.stats().channels, { news: { subscribers: 1, events: 2, queued: `id: ${ids[1]}\ndata: two\n\n`.length } })
    await steps.leave()
  })

  t.test('says how the backplane is', async t => {
    const backplane = new FaultyBackplane()
    const app = await ready(t, { backplane })
    t.equal(app.sse.stats().backplane, 'connected')
    backplane.setAway(true)
    t.equal(app.sse.stats().backplane, 'degraded')
    await app.close()
    t.equal(app.sse.stats().backplane, 'down')
  })

  t.test('gives numbers of its own each time', async t => {
    const app = await ready(t)
    const stats = app.sse.stats()
    stats.streams.closed.client = 7
    stats.gaps.evicted = 7
    t.match(app.sse.stats(), { streams: { closed: NO_REASONS }, gaps: NO_GAPS })
  })
})

t.test('diagnostics_channel', async t => {
  /** What is published on one of our channels during the test. */
  function listen<Message> (t: Test, name: string): Message[] {
    const heard: Message[] = []
    const listener = (message: unknown): void => { heard.push(message as Message) }
    subscribe(`fastify-event-stream:${name}`, listener)
    t.teardown(() => { unsubscribe(`fastify-event-stream:${name}`, listener) })
    return heard
  }

  t.test('has streams that are opened and closed', async t => {
    const opened = listen<{ request: FastifyRequest }>(t, 'opened')
    const closed = listen<ssePlugin.ClosedMessage>(t, 'closed')
    const served = await serveChannel(t)
    const client = await served.read()
    t.same(opened.map(({ request }) => request.url), ['/'])
    const [id] = await served.publishAll('one')
    await client.next()
    client.close()
    await reasons(served, 1)
    t.match(closed, [{ reason: 'client', events: 1, bytes: `:\nid: ${id}\ndata: one\n\n`.length, duration: Number }])
    t.equal(closed[0]?.request, opened[0]?.request)
  })

  t.test('has streams that were turned away as closed', async t => {
    const opened = listen(t, 'opened')
    const closed = listen<ssePlugin.ClosedMessage>(t, 'closed')
    const { url, read } = await serveChannel(t, { maxSubscribers: 1 })
    await read()
    await fetch(url)
    t.equal(opened.length, 1)
    t.match(closed, [{ reason: 'limit', events: 0, bytes: 0, duration: 0 }])
  })

  t.test('has gaps', async t => {
    const gaps = listen(t, 'gap')
    const { read, publishAll } = await serveChannel(t)
    const [one] = await publishAll('one')
    const gap = { channel: 'news', reason: 'unknown', requested: 'rubbish', resumedAt: one }
    t.same(gapOf(await (await read('rubbish')).next()), { ...gap, id: one })
    t.same(gaps, [gap])
  })

  t.test('has what was dropped, and the gap that tells of it', async t => {
    const dropped = listen(t, 'dropped')
    const gaps = listen<ssePlugin.Gap>(t, 'gap')
    const app = await ready(t, { maxBuffer: 100, slow: 'drop-oldest' })
    const channel = app.sse.channel('news')
    const steps = new Steps(channel)
    const { next } = await steps.begin()
    await publishAll(channel, 'zero')
    await next
    await publishAll(channel, ...'12345')
    await setImmediate()
    t.same(dropped, [{ channel: 'news', events: 3 }])
    t.same(gaps, [], 'which nobody was told yet')
    await steps.next()
    t.match(gaps, [{ channel: 'news', reason: 'dropped' }])
    t.match(app.sse.stats(), { dropped: 3, gaps: { dropped: 1 } })
    await steps.leave()
  })

  t.test('has the states of the backplane', async t => {
    const states = listen(t, 'backplane')
    const backplane = new FaultyBackplane()
    const app = await ready(t, { backplane })
    backplane.setAway(true)
    backplane.setAway(false)
    await app.close()
    t.same(states, [{ state: 'degraded' }, { state: 'connected' }, { state: 'down' }])
  })
})

t.test('memory', async t => {
  t.test('of the past is let go in time while a channel is read', async t => {
    mock.timers.enable({ apis: ['Date', 'setTimeout', 'setInterval'], now: 1_000_000 })
    t.teardown(() => { mock.timers.reset() })
    const backplane = new FaultyBackplane()
    const app = await ready(t, { backplane })
    const channel = app.sse.channel('news', { history: { maxAge: 1_000 } })
    const steps = new Steps(channel)
    const { next } = await steps.begin()
    await publishAll(channel, 'old')
    await next
    mock.timers.tick(1_000_000)
    const late = new Steps(channel.subscribe({ from: 'first-0' }))
    t.match(await late.next(), { event: 'gap', data: { reason: 'evicted', resumedAt: 'first-1' } })
    for (const each of [steps, late]) await each.leave()
  })
})
