import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import { connect, type IncomingHttpHeaders } from 'node:http2'
import type { Readable } from 'node:stream'
import { mock } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { createGunzip, createGzip } from 'node:zlib'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { EventSource, fetch } from 'undici'
import ssePlugin from '../plugin/index'
import { turnIsOver } from '../plugin/turn'
import type { MapResult } from '../plugin/channel/subscription'
import type { Channel, ChannelEvent, ChannelOptions, TypedChannelOptions } from '../plugin/types'
import { dataOf, publishAll, read, serveChannel, Steps, take } from './helpers/channels'
import { readFrom } from './helpers/chunks'
import { EVENT_SOURCE } from './helpers/client'
import { deferred } from './helpers/deferred'
import { serve } from './helpers/serve'
import { connectTo, get, RawClient } from './helpers/socket'

const ID = /^[0-9A-Za-z]{1,8}-\d+$/

/** An app that is ready, without a port, and closed at the end of the test. */
async function ready (t: Test, declare: (app: FastifyInstance) => unknown = () => {}, plugin: ssePlugin.PluginOptions = {}) {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(ssePlugin, plugin)
  await declare(app)
  await app.ready()
  return app
}

async function readyChannel (t: Test, options?: ChannelOptions, plugin?: ssePlugin.PluginOptions): Promise<Channel> {
  const app = await ready(t, app => app.sse.channel('news', options), plugin)
  return app.sse.channel('news')
}

t.test('publish', async t => {
  t.test('resolves to the ID of the event, which says its place', async t => {
    const channel = await readyChannel(t)
    const ids = await publishAll(channel, 'one', 'two', 'three')
    for (const id of ids) t.match(id, ID)
    t.same(ids.map(id => id.split('-')[1]), ['1', '2', '3'])
    t.equal(new Set(ids.map(id => id.split('-')[0])).size, 1)
  })

  t.test('that does not wait for the one before keeps the order', async t => {
    const { channel, read } = await serveChannel(t)
    const stream = await read()
    const ids = await Promise.all(['one', 'two', 'three'].map(data => channel.publish({ data })))
    t.match(await take(stream, 3), ids.map((id, index) => ({ id, data: ['one', 'two', 'three'][index] })))
  })

  interface Kind {
    published: Parameters<Channel['publish']>[0]
    event?: string
    wire: string
    data: unknown
  }

  const kinds: Record<string, Kind> = {
    'a string is the data of an unnamed event': { published: 'text', wire: 'text', data: 'text' },
    'an empty string is sent': { published: '', wire: '', data: '' },
    'a string that looks like JSON stays a string': { published: { data: '{"a":1}' }, wire: '{"a":1}', data: '{"a":1}' },
    'lines are kept': { published: 'a\nb\r\nc\rd', wire: 'a\nb\nc\nd', data: 'a\nb\r\nc\rd' },
    'an object goes as JSON, under its name': { published: { event: 'tick', data: { n: 1 } }, event: 'tick', wire: '{"n":1}', data: { n: 1 } },
    'an empty name is none': { published: { event: '', data: 'x' }, wire: 'x', data: 'x' },
    'the name of the unnamed may be said': { published: { event: 'message', data: 'x' }, event: 'message', wire: 'x', data: 'x' },
    'an array goes as JSON': { published: { data: [1, [2]] }, wire: '[1,[2]]', data: [1, [2]] },
    'a number goes as JSON': { published: { data: 5 }, wire: '5', data: 5 },
    'false goes as JSON': { published: { data: false }, wire: 'false', data: false },
    'null goes as JSON': { published: { data: null }, wire: 'null', data: null },
    'a Date arrives as JSON has it': { published: { data: new Date(0) }, wire: '"1970-01-01T00:00:00.000Z"', data: '1970-01-01T00:00:00.000Z' },
    'bytes go as base64': { published: { data: new Uint8Array([104, 105]) }, wire: 'aGk=', data: 'aGk=' },
    'an event without data has empty data': { published: { event: 'ping' }, event: 'ping', wire: '', data: '' },
    'data that is undefined is empty': { published: { data: undefined }, wire: '', data: '' },
    'text beyond ASCII is kept': { published: { event: 'é☃', data: '😀' }, event: 'é☃', wire: '😀', data: '😀' },
    'half a surrogate pair becomes U+FFFD': { published: { event: 'a\ud800', data: '\udc00b' }, event: 'a\ufffd', wire: '\ufffdb', data: '\ufffdb' }
  }

  t.test('takes all kinds of data', async t => {
    const { channel, read } = await serveChannel(t)
    const stream = await read()
    const steps = new Steps(channel)
    for (const [title, { published, event, wire, data }] of Object.entries(kinds)) {
      const { next } = await steps.begin()
      const id = await channel.publish(published)
      t.match(await stream.next(), { id, event, data: wire }, title)
      t.strictSame(await next, { id, event, data }, title)
    }
    await steps.leave()
  })

  const circular: Record<string, unknown> = {}
  circular['self'] = circular

  const refused: Record<string, [published: unknown, error: object]> = {
    'an ID, which the channel gives': [{ data: 'x', id: '1' }, { code: 'FST_ERR_SSE_EVENT', message: /gives the IDs itself; got an object with data, id$/ }],
    'a reconnection time': [{ data: 'x', retry: 5 }, { code: 'FST_ERR_SSE_EVENT' }],
    'a comment': [{ comment: 'x' }, { code: 'FST_ERR_SSE_EVENT' }],
    'a field that no event has': [{ event: 'tick', dta: 1 }, { code: 'FST_ERR_SSE_EVENT' }],
    'an empty object': [{}, { code: 'FST_ERR_SSE_EVENT' }],
    'a number': [5, { code: 'FST_ERR_SSE_EVENT', message: /got 5/ }],
    null: [null, { code: 'FST_ERR_SSE_EVENT' }],
    undefined: [undefined, { code: 'FST_ERR_SSE_EVENT' }],
    'an array': [['x'], { code: 'FST_ERR_SSE_EVENT' }],
    'bytes that are no data': [new Uint8Array([1]), { code: 'FST_ERR_SSE_EVENT' }],
    'a function': [() => {}, { code: 'FST_ERR_SSE_EVENT' }],
    'the name of gaps': [{ event: 'gap', data: 'x' }, { code: 'FST_ERR_SSE_FIELD', message: /'event' .* other than 'gap', got 'gap'/ }],
    'a name with LF': [{ event: 'a\nb' }, { code: 'FST_ERR_SSE_FIELD', message: /'event'/ }],
    'a name with CR': [{ event: 'a\rb' }, { code: 'FST_ERR_SSE_FIELD', message: /'event'/ }],
    'a name with NUL': [{ event: 'a\0b' }, { code: 'FST_ERR_SSE_FIELD', message: /'event'/ }],
    'a name that is no string': [{ event: 5, data: 'x' }, { code: 'FST_ERR_SSE_FIELD', message: /'event'/ }],
    'a function as data': [{ data: () => {} }, { code: 'FST_ERR_SSE_FIELD', message: /'data'/ }],
    'a symbol as data': [{ data: Symbol('x') }, { code: 'FST_ERR_SSE_FIELD', message: /'data'/ }],
    'what JSON cannot have': [{ data: circular }, { code: 'FST_ERR_SSE_FIELD', message: /circular/ }],
    'data that is a promise': [{ data: Promise.resolve('x') }, { code: 'FST_ERR_SSE_FIELD', message: /await it/ }],
    'a BigInt': [{ data: 5n }, { code: 'FST_ERR_SSE_FIELD', message: /BigInt/ }]
  }

  t.test('rejects what is no event for a channel, and nothing of it is published', async t => {
    const { channel, read } = await serveChannel(t)
    const stream = await read()
    for (const [title, [published, error]] of Object.entries(refused)) {
      await t.rejects(channel.publish(published as never), error as Error, title)
    }
    const id = await channel.publish('after')
    t.match(id, /-1$/)
    t.match(await stream.next(), { id, data: 'after' })
  })

  t.test('rejects an event of more bytes than maxEventBytes, with its name', async t => {
    const channel = await readyChannel(t, { maxEventBytes: 10 })
    t.match(await channel.publish({ event: 'tick', data: '123456' }), ID)
    t.match(await channel.publish({ event: 'é', data: '☃☃xy' }), ID)
    await t.rejects(channel.publish({ event: 'tick', data: '1234567' }), { code: 'FST_ERR_SSE_FIELD', message: /at most 10 bytes .*'maxEventBytes'.*got 11 bytes/ })
    await t.rejects(channel.publish({ event: 'é', data: '☃☃xyz' }), { code: 'FST_ERR_SSE_FIELD' })
    await t.rejects(channel.publish({ data: { text: 'x' } }), { code: 'FST_ERR_SSE_FIELD' }, 'the JSON counts')
  })

  t.test('takes 64 KiB where nothing else is said', async t => {
    const channel = await readyChannel(t)
    t.match(await channel.publish('x'.repeat(65_536)), ID)
    await t.rejects(channel.publish('x'.repeat(65_537)), { code: 'FST_ERR_SSE_FIELD' })
  })

  t.test('an event with the same idempotency key is published once, within the window', async t => {
    mock.timers.enable({ apis: ['Date'], now: 1_000_000 })
    t.teardown(() => { mock.timers.reset() })
    const app = await ready(t)
    const channel = app.sse.channel('news', { idempotencyWindow: 1_000 })
    const steps = new Steps(channel)
    const { next } = await steps.begin()
    const first = await channel.publish('one', { idempotencyKey: 'a' })
    t.equal(await channel.publish('again', { idempotencyKey: 'a' }), first)
    const second = await channel.publish('two', { idempotencyKey: 'b' })
    t.not(second, first, 'another key counts for itself')
    await publishAll(app.sse.channel('other'), 'three')
    const [elsewhere] = await Promise.all([app.sse.channel('other').publish('x', { idempotencyKey: 'a' })])
    t.match(elsewhere, /-2$/, 'another channel has its own keys')
    mock.timers.tick(999)
    t.equal(await channel.publish('again', { idempotencyKey: 'a' }), first)
    mock.timers.tick(1)
    const third = await channel.publish('after', { idempotencyKey: 'a' })
    t.match(third, /-3$/)
    t.match([await next, ...await steps.take(2)], [{ id: first, data: 'one' }, { id: second, data: 'two' }, { id: third, data: 'after' }])
    await steps.leave()
  })

  t.test('refuses options that it does not know', async t => {
    const channel = await readyChannel(t)
    for (const idempotencyKey of ['', 5, null, {}]) {
      await t.rejects(channel.publish('x', { idempotencyKey: idempotencyKey as never }), { code: 'FST_ERR_SSE_OPTION', message: /'idempotencyKey' must be a non-empty string/ })
    }
    await t.rejects(channel.publish('x', { key: 'a' } as never), { code: 'FST_ERR_SSE_OPTION', message: /none called 'key'/ })
    t.match(await channel.publish('x', { idempotencyKey: undefined }), /-1$/)
  })

  t.test('may come before the server is ready', async t => {
    let id = ''
    const app = await ready(t, async app => { id = await app.sse.channel('news').publish('early') })
    t.equal(await app.sse.channel('news').position(), id)
  })

  t.test('rejects when the server is closed', async t => {
    const app = Fastify()
    await app.register(ssePlugin)
    const channel = app.sse.channel('news')
    await app.close()
    await t.rejects(channel.publish('x'), { code: 'FST_ERR_SSE_BACKPLANE' })
    await t.rejects(channel.position(), { code: 'FST_ERR_SSE_BACKPLANE' })
    await t.rejects(channel.close(), { code: 'FST_ERR_SSE_BACKPLANE' })
  })
})

t.test('the serializer of a channel', async t => {
  t.test('makes the text of its data, but not of strings and bytes', async t => {
    const channel = await readyChannel(t, { serializer: data => JSON.stringify({ data }) })
    const steps = new Steps(channel)
    const { next } = await steps.begin()
    for (const data of [{ n: 1 }, 'text', new Uint8Array([1])]) await channel.publish({ data })
    t.strictSame(dataOf([await next, ...await steps.take(2)]), [{ data: { n: 1 } }, 'text', 'AQ=='])
    await steps.leave()
  })

  t.test('may make something else than JSON, which stays as it is', async t => {
    const { channel, read } = await serveChannel(t, { serializer: () => '<n>1</n>' })
    const steps = new Steps(channel)
    const { next } = await steps.begin()
    const stream = await read()
    await channel.publish({ data: { n: 1 } })
    t.match(await stream.next(), { data: '<n>1</n>' })
    t.equal((await next)?.data, '<n>1</n>')
    await steps.leave()
  })

  t.test('that gives no string is an error of publish', async t => {
    const channel = await readyChannel(t, { serializer: (() => undefined) as never })
    await t.rejects(channel.publish({ data: {} }), { code: 'FST_ERR_SSE_FIELD', message: /its serializer/ })
  })
})

t.test('the schemas of a channel', async t => {
  const tick = { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'] }
  const broken = { type: 'object', properties: { n: { $ref: '#/definitions/none' } } }

  t.test('compile the serializers of its events', async t => {
    const { app, url } = await serve(t, app => {
      const channel = app.sse.channel('news', { events: { tick, message: { type: 'string' } } })
      app.get('/', (request, reply) => reply.sse(channel))
    })
    const channel: Channel = app.sse.channel('news')
    const stream = await read(t, url)
    await channel.publish({ event: 'tick', data: { n: 1, secret: 'not in the schema' } })
    await channel.publish('text')
    await channel.publish({ data: new Uint8Array([1]) })
    t.match(await take(stream, 3), [{ event: 'tick', data: '{"n":1}' }, { event: undefined, data: 'text' }, { data: 'AQ==' }])
    await t.rejects(channel.publish({ event: 'tock', data: {} }), { code: 'FST_ERR_SSE_EVENT', message: /no schema .* 'tock', only for tick, message/ })
    await t.rejects(channel.publish({ event: 'tick', data: {} }), { code: 'FST_ERR_SSE_FIELD', message: /"n" is required/ })
    await t.rejects(channel.publish({ event: 'tick' }), { code: 'FST_ERR_SSE_FIELD', message: /there is none/ })
    await t.rejects(channel.publish({ event: 'tick', data: () => {} }), { code: 'FST_ERR_SSE_FIELD', message: /there is none/ })
  })

  t.test('may refer to shared schemas, which may be added later', async t => {
    const app = await ready(t, app => {
      app.sse.channel('news', { events: { tick: { $ref: 'tick#' } } })
      app.addSchema({ $id: 'tick', ...tick })
    })
    const channel: Channel = app.sse.channel('news')
    const steps = new Steps(channel)
    const { next } = await steps.begin()
    await channel.publish({ event: 'tick', data: { n: 1, other: 2 } })
    t.strictSame((await next)?.data, { n: 1 })
    await steps.leave()
  })

  t.test('are compiled as those of routes are', async t => {
    const seen: unknown[] = []
    const app = await ready(t, app => {
      app.setSerializerCompiler(({ schema, url, method, httpStatus }) => {
        seen.push({ schema, url, method, httpStatus })
        return data => `"ours ${JSON.stringify(data)}"`.replaceAll('{}', 'nothing')
      })
      app.sse.channel('news', { events: { tick } })
    })
    t.strictSame(seen, [{ schema: tick, url: 'news', method: 'GET', httpStatus: '200' }])
    const channel: Channel = app.sse.channel('news')
    const steps = new Steps(channel)
    const { next } = await steps.begin()
    await channel.publish({ event: 'tick', data: {} })
    t.equal((await next)?.data, 'ours nothing')
    await steps.leave()
  })

  t.test('are compiled by the compiler that Fastify makes for a route', async t => {
    const app = await ready(t, app => {
      app.get('/', { schema: { response: { 200: tick } } }, async () => ({ n: 1 }))
      app.sse.channel('news', { events: { tick } })
    })
    t.match(await app.sse.channel('news').publish({ event: 'tick', data: { n: 1 } }), ID)
  })

  t.test('that are broken keep the server from starting, and say where', async t => {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(ssePlugin)
    app.sse.channel('news', { events: { tick: broken } })
    await t.rejects(async () => app.ready(), { code: 'FST_ERR_SSE_CHANNEL', message: /The channel 'news': events\.tick cannot be compiled: / })
  })

  t.test('that are broken are refused at once where the server is ready', async t => {
    const app = await ready(t)
    t.throws(() => app.sse.channel('news', { events: { tick: broken } }), { code: 'FST_ERR_SSE_CHANNEL', message: /events\.tick/ })
    const channel = app.sse.channel('news', { events: { tick } })
    t.match(await channel.publish({ event: 'tick', data: { n: 1 } }), ID)
  })

  t.test('that a compiler does not like are refused with what it throws', async t => {
    const thrown: unknown = 'not today'
    const app = await ready(t, app => { app.setSerializerCompiler(() => { throw thrown }) })
    t.throws(() => app.sse.channel('news', { events: { tick } }), { code: 'FST_ERR_SSE_CHANNEL', message: /events\.tick cannot be compiled: 'not today'/ })
  })

  t.test('are no place for a serializer beside them', async t => {
    const app = await ready(t)
    const options: TypedChannelOptions & ChannelOptions = { events: { tick }, serializer: String }
    t.throws(() => app.sse.channel('news', options as TypedChannelOptions), { code: 'FST_ERR_SSE_OPTION', message: /serializer/ })
  })

  t.test('say so where something is published before they are compiled', async t => {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(ssePlugin)
    const channel = app.sse.channel('news', { events: { tick } })
    await t.rejects(channel.publish({ event: 'tick', data: { n: 1 } }), { message: /ready/ })
  })
})

t.test('app.sse.channel', async t => {
  t.test('gives the channel that was declared by its name', async t => {
    const app = await ready(t, app => {
      const news = app.sse.channel('news', { maxSubscribers: 5 })
      t.equal(app.sse.channel('news'), news)
      t.throws(() => app.sse.channel('news', {}), { code: 'FST_ERR_SSE_CHANNEL', message: /'news'.*declared already.*leave them out/ })
    })
    t.match(app.sse.channel('news'), { name: 'news', options: { maxSubscribers: 5 } })
    t.throws(() => app.sse.channel('news', {}), { code: 'FST_ERR_SSE_CHANNEL' })
  })

  t.test('makes any number of channels later, of which nothing is kept by name', async t => {
    const app = await ready(t)
    const one = app.sse.channel('user/1')
    const other = app.sse.channel('user/1', { history: false })
    t.not(one, other)
    const steps = new Steps(other)
    const { next } = await steps.begin()
    const id = await one.publish('hello')
    t.match(await next, { id, data: 'hello' }, 'both are the same channel')
    t.throws(() => app.sse.subscribe(['user/1']), { code: 'FST_ERR_SSE_CHANNEL', message: /'user\/1'.*not declared/ })
    await steps.leave()
  })

  t.test('is that of the whole app, in plugins too', async t => {
    await ready(t, async app => {
      const news = app.sse.channel('news')
      await app.register(async app => { t.equal(app.sse.channel('news'), news) })
    })
  })
})

t.test('a stream of a channel', async t => {
  t.test('has what is published from now on, with its ID, for each client', async t => {
    const { channel, read, publishAll } = await serveChannel(t)
    await publishAll('before')
    const clients = [await read(), await read()]
    t.equal(channel.subscribers, 2)
    const ids = await publishAll('one', 'two')
    for (const client of clients) t.match(await take(client, 2), [{ id: ids[0], data: 'one' }, { id: ids[1], data: 'two' }])
  })

  t.test('is opened at once', async t => {
    const { read } = await serveChannel(t, {}, { prime: 2 ** 31 - 1 })
    const { response } = await read()
    t.equal(response.status, 200)
    t.match(response.headers.get('content-type'), 'text/event-stream')
  })

  t.test('brings what is published in one turn of the event loop in one piece, and the next in another', async t => {
    const { channel, port } = await serveChannel(t)
    const client = await readFrom(t, port, get('/'))
    await client.head()
    t.equal(String(await client.chunk()), ':\n')
    const ids = await Promise.all(['one', 'two', 'three'].map(data => channel.publish({ data })))
    t.equal(String(await client.chunk()), ['one', 'two', 'three'].map((data, index) => `id: ${ids[index]}\ndata: ${data}\n\n`).join(''))
    const id = await channel.publish('four')
    t.equal(String(await client.chunk()), `id: ${id}\ndata: four\n\n`)
  })

  t.test('that is long is sent whole', async t => {
    const { channel, read } = await serveChannel(t, { maxEventBytes: 1_000_000 })
    const stream = await read()
    const long = ['a', 'b', 'c'].map(letter => letter.repeat(100_000))
    await publishAll(channel, ...long)
    t.same(dataOf(await take(stream, 3)), long)
  })

  const routes: Record<string, (app: FastifyInstance, channel: Channel) => unknown> = {
    'reply.sse in an async handler': (app, channel) => app.get('/other', async (request, reply) => reply.sse(channel)),
    'a handler that returns the channel': (app, channel) => app.get('/other', { sse: true }, () => channel),
    'an async handler that returns the channel': (app, channel) => app.get('/other', { sse: { retry: 5 } }, async () => channel),
    'a handler that returns a subscription': (app, channel) => app.get('/other', { sse: true }, () => channel.subscribe()),
    'a source function that returns the channel': (app, channel) => app.get('/other', (request, reply) => reply.sse(() => channel)),
    'an async source function that returns a subscription': (app, channel) => app.get('/other', (request, reply) => reply.sse(async () => channel.subscribe())),
    'a handler that returns such a function': (app, channel) => app.get('/other', { sse: true }, async () => () => channel),
    'a subscription by names': (app, channel) => app.get('/other', (request, reply) => reply.sse(app.sse.subscribe(['news']))),
    'a generator that iterates': (app, channel) => app.get('/other', { sse: true }, async function * (request, reply, { signal }) { yield * channel.subscribe({ signal }) })
  }

  for (const [title, declare] of Object.entries(routes)) {
    t.test(`may be made by ${title}`, async t => {
      const { channel, url, log } = await serveChannel(t, {}, { prime: 0 }, declare)
      const stream = await read(t, `${url}/other`)
      await subscribersOf(channel, 1)
      const id = await channel.publish({ event: 'tick', data: { n: 1 } })
      t.match(await stream.next(), { id, event: 'tick', data: '{"n":1}' })
      stream.close()
      await log.find('event stream closed')
      t.equal(channel.subscribers, 0)
      t.same(log.complaints, [])
    })
  }

  t.test('of a route with event schemas is as it was published, gaps too', async t => {
    const events: Record<string, unknown> = { tick: { type: 'object', properties: { n: { type: 'integer' } } } }
    const { app, url } = await serve(t, app => {
      const channel: Channel = app.sse.channel('news', { events })
      app.get('/channel', { sse: true, schema: { events } }, () => channel)
      app.get('/iterate', { sse: true, schema: { events } }, async function * (request, reply, { signal, lastEventId }) {
        yield * channel.subscribe({ signal, from: lastEventId })
      })
    })
    for (const path of ['/channel', '/iterate']) {
      const stream = await read(t, url + path, 'rubbish')
      t.match(await stream.next(), { event: 'gap', data: /^{"channel":"news","reason":"unknown"/ }, path)
      const id = await app.sse.channel('news').publish({ event: 'tick', data: { n: 1 } })
      t.match(await stream.next(), { id, event: 'tick', data: '{"n":1}' }, path)
      stream.close()
    }
  })

  t.test('of a route with event schemas that its events might not go by is refused', async t => {
    const tick = { type: 'object', properties: { n: { type: 'integer' } } }
    const events: Record<string, unknown> = { tick, tock: tick }
    const { app, url } = await serve(t, app => {
      const plain = app.sse.channel('plain')
      const less = app.sse.channel('less', { events: { tick } })
      const same: Channel = app.sse.channel('same', { events })
      const more = app.sse.channel('more', { events: { ...events, extra: {} } })
      const sources = {
        plain,
        part: plain.subscribe({ filter: () => true }),
        more,
        mapped: same.subscribe({ map: event => event }),
        several: app.sse.subscribe([same, more, plain]),
        function: () => plain,
        less,
        same,
        filtered: same.subscribe({ filter: () => true }),
        both: app.sse.subscribe([same, less])
      }
      for (const [name, source] of Object.entries(sources)) app.get(`/${name}`, { sse: true, schema: { events } }, () => source as never)
    })
    const odd = { plain: 'plain', part: 'plain', more: 'more', mapped: 'same', several: 'more', function: 'plain' }
    for (const [path, name] of Object.entries(odd)) {
      const response = await fetch(`${url}/${path}`)
      t.equal(response.status, 500, path)
      t.match(await response.json(), { code: 'FST_ERR_SSE_CHANNEL', message: new RegExp(`'${name}': its events do not go through the schemas of the route: declare the same \`events\``) })
    }
    t.same(app.sse.stats().channels, {})
    for (const path of ['less', 'same', 'filtered', 'both']) t.equal((await read(t, `${url}/${path}`)).response.status, 200, path)
  })

  t.test('opens with retry', async t => {
    const { port } = await serveChannel(t, {}, { retry: 1_234 })
    const client = await readFrom(t, port, get('/'))
    await client.head()
    t.equal(String(await client.chunk()), 'retry: 1234\n:\n')
  })

  t.test('opens with retry, also where it has an event at once', async t => {
    const { port, publishAll } = await serveChannel(t, {}, { retry: 1_234 })
    const [first = '', second = ''] = await publishAll('one', 'two')
    const client = await readFrom(t, port, get('/', { 'last-event-id': first }))
    await client.head()
    t.equal(String(await client.chunk()), `retry: 1234\nid: ${second}\ndata: two\n\n`)
  })

  t.test('sends its headers at once where prime is 0', async t => {
    const { read, publishAll } = await serveChannel(t, {}, { prime: 0 })
    const stream = await read()
    const [id] = await publishAll('one')
    t.match(await stream.next(), { id })
  })

  t.test('is kept warm by heartbeats', async t => {
    const { port } = await serveChannel(t, {}, { heartbeat: 20 })
    const client = await readFrom(t, port, get('/'))
    await client.head()
    for (let count = 0; count < 3; count++) t.equal(String(await client.chunk()), ':\n')
  })

  t.test('ends when maxAge is over, and its client goes on where it was', async t => {
    const { read, log, publishAll, channel } = await serveChannel(t, {}, { maxAge: 50 })
    const stream = await read()
    const [one = ''] = await publishAll('one')
    t.match(await stream.rest(), [{ id: one }])
    t.match(await log.find('event stream closed'), { reason: 'expired', events: 1 })
    t.equal(channel.subscribers, 0)
    const [two] = await publishAll('two')
    t.match(await (await read(one)).next(), { id: two })
  })

  t.test('is not started for HEAD', async t => {
    const { url, channel, app, log } = await serveChannel(t)
    const response = await fetch(url, { method: 'HEAD', headers: EVENT_SOURCE })
    t.equal(response.status, 200)
    t.match(response.headers.get('content-type'), 'text/event-stream')
    t.match(await log.find('request completed'), { res: { statusCode: 200 } })
    t.equal(channel.subscribers, 0)
    t.equal(app.sse.stats().streams.opened, 0)
  })

  t.test('leaves its connection to the next request', async t => {
    const { channel, port } = await serveChannel(t, {}, {}, app => app.get('/alive', async () => 'alive'))
    const client = await readFrom(t, port, get('/'))
    await client.head()
    await client.chunk()
    const id = await channel.publish('last')
    await channel.close()
    t.equal(await client.body(), `id: ${id}\ndata: last\n\n`)
    client.send(get('/alive'))
    t.match(await client.head(), /^HTTP\/1.1 200 /)
  })

  t.test('goes to a client of HTTP/1.0 as it is', async t => {
    const { port, channel } = await serveChannel(t)
    const client = await connectTo(t, port, get('/', {}, '1.0'))
    await client.until('\r\n\r\n:\n')
    const id = await channel.publish('☃')
    await channel.close()
    await client.closed
    t.equal(client.received.split('\r\n\r\n')[1], `:\nid: ${id}\ndata: ☃\n\n`)
  })

  t.test('goes over HTTP/2', async t => {
    const fastify: object = { http2: true }
    const { app, port } = await serve(t, app => {
      const channel = app.sse.channel('news')
      app.get('/', (request, reply) => reply.sse(channel))
    }, { fastify })
    const channel = app.sse.channel('news')
    const session = connect(`http://127.0.0.1:${port}`)
    t.teardown(() => { session.destroy() })
    const stream = session.request({ ':path': '/' })
    const client = new RawClient(stream)
    const [headers] = await once(stream, 'response') as [IncomingHttpHeaders]
    t.match(headers, { ':status': 200, 'content-type': 'text/event-stream' })
    const id = await channel.publish('one')
    await client.until('data: one\n\n')
    await channel.close()
    t.equal(await client.closed, undefined)
    t.equal(client.received, `:\nid: ${id}\ndata: one\n\n`)
  })

  t.test('goes to inject', async t => {
    const { app, channel, publishAll } = await serveChannel(t)
    const [one = '', two] = await publishAll('one', 'two')
    await channel.close()
    const { statusCode, body } = await app.inject({ url: '/', headers: { 'last-event-id': one } })
    t.equal(statusCode, 200)
    t.equal(body, `id: ${two}\ndata: two\n\n`)
  })

  t.test('goes through a transform of an onSend hook', async t => {
    const { channel, port } = await serveChannel(t, {}, {}, app => app.addHook('onSend', async (request, reply, payload) => {
      reply.header('content-encoding', 'gzip')
      return (payload as Readable).pipe(createGzip())
    }))
    const client = await readFrom(t, port, get('/'))
    t.match(await client.head(), /content-encoding: gzip/)
    const gunzip = createGunzip().setEncoding('utf8')
    const text: string[] = []
    gunzip.on('data', (piece: string) => { text.push(piece) })
    const decompress = (chunk: Buffer | undefined): Promise<unknown> => new Promise(resolve => { gunzip.write(chunk, resolve) })
    while (text.join('') !== ':\n') await decompress(await client.chunk())
    const [one, two] = await Promise.all(['one', 'two'].map(data => channel.publish({ data })))
    const expected = `:\nid: ${one}\ndata: one\n\nid: ${two}\ndata: two\n\n`
    while (text.join('').length < expected.length) await decompress(await client.chunk())
    await channel.close()
    for (const chunk of await client.chunks()) await decompress(chunk)
    t.equal(text.join(''), expected)
  })

  t.test('that is of another client is not touched by one that leaves', async t => {
    const { read, channel, publishAll, log } = await serveChannel(t)
    const [staying, leaving] = [await read(), await read()]
    leaving.close()
    await log.find('event stream closed')
    t.equal(channel.subscribers, 1)
    const [id] = await publishAll('one')
    t.match(await staying.next(), { id })
  })

  t.test('releases the channel with its last client', async t => {
    const { app, read, log, channel } = await serveChannel(t)
    const clients = [await read(), await read()]
    t.match(app.sse.stats().channels, { news: { subscribers: 2 } })
    for (const client of clients) client.close()
    await log.take('event stream closed', 2)
    t.same(app.sse.stats().channels, {})
    t.equal(channel.subscribers, 0)
  })
})

/** Waits until a channel has so many subscribers; each turn of the event loop may bring one. */
async function subscribersOf (channel: Channel, count: number): Promise<void> {
  while (channel.subscribers !== count) await setImmediate()
  await setImmediate()
}

t.test('subscribe', async t => {
  const isEven = ({ data }: ChannelEvent): boolean => typeof data === 'number' && data % 2 === 0

  t.test('filter says which events a stream has', async t => {
    const { channel, url, publishAll } = await serveChannel(t, {}, {}, (app, channel) => {
      const even = channel.subscribe({ filter: isEven })
      app.get('/even', (request, reply) => reply.sse(even))
    })
    const stream = await read(t, `${url}/even`)
    const ids = await publishAll(1, 2, 3, 4)
    t.match(await take(stream, 2), [{ id: ids[1], data: '2' }, { id: ids[3], data: '4' }])
    t.equal(channel.subscribers, 1)
  })

  t.test('a filter is asked once for each event, whatever the number of clients', async t => {
    const asked: unknown[] = []
    const { url, publishAll } = await serveChannel(t, {}, {}, (app, channel) => {
      const all = channel.subscribe({ filter: ({ data }) => asked.push(data) > 0 })
      app.get('/all', (request, reply) => reply.sse(all))
    })
    const clients = [await read(t, `${url}/all`), await read(t, `${url}/all`), await read(t, `${url}/all`)]
    await publishAll('one', 'two')
    for (const client of clients) t.same(dataOf(await take(client, 2)), ['one', 'two'])
    t.same(asked, ['one', 'two'])
  })

  t.test('a filter of the request decides for its stream alone', async t => {
    const { url, channel } = await serveChannel(t, {}, {}, (app, channel) => {
      app.get<{ Params: { user: string } }>('/of/:user', (request, reply) => reply.sse(channel.subscribe({
        filter: ({ data }) => (data as { owner: string }).owner === request.params.user
      })))
    })
    const [ann, bob] = [await read(t, `${url}/of/ann`), await read(t, `${url}/of/bob`)]
    for (const owner of ['bob', 'ann', 'bob']) await channel.publish({ data: { owner } })
    t.match(await take(ann, 1), [{ id: /-2$/ }])
    t.match(await take(bob, 2), [{ id: /-1$/ }, { id: /-3$/ }])
  })

  t.test('what filter and map are given is frozen, and the same for all', async t => {
    const given: ChannelEvent[] = []
    const channel = await readyChannel(t)
    const note = (event: ChannelEvent): boolean => given.push(event) > 0
    const readers = [new Steps(channel.subscribe({ filter: note })), new Steps(channel.subscribe({ filter: note }))]
    const waiting = await Promise.all(readers.map(reader => reader.begin()))
    const id = await channel.publish({ event: 'tick', data: { n: 1 } })
    for (const { next } of waiting) t.match(await next, { id })
    t.equal(given[0], given[1])
    t.strictSame(given[0], { id, event: 'tick', data: { n: 1 } })
    t.throws(() => { Object.assign(given[0] ?? {}, { id: 'other' }) }, TypeError)
    for (const reader of readers) await reader.leave()
  })

  t.test('a filter keeps an event by what is true, as an if does, and drops it in doubt', async t => {
    const channel = await readyChannel(t)
    const answers: unknown[] = [undefined, null, 0, '', NaN, 0n, false, true, 1, 'no', {}, []]
    const steps = new Steps(channel.subscribe({ filter: (({ data }: ChannelEvent) => answers[data as number]) as never }))
    const { next } = await steps.begin()
    await publishAll(channel, ...answers.keys())
    t.same(dataOf([await next, ...await steps.take(4)]), [7, 8, 9, 10, 11])
    await steps.leave()
  })

  const wrong: Record<string, [options: object, error: { code: string, message: RegExp }]> = {
    'a filter that gives a promise': [{ filter: async () => true }, { code: 'FST_ERR_SSE_OPTION', message: /'filter' must return a boolean, got a promise/ }],
    'a filter whose promise rejects': [{ filter: async () => { throw new Error('nobody waits for it') } }, { code: 'FST_ERR_SSE_OPTION', message: /must return a boolean/ }],
    'a filter that gives a thenable': [{ filter: () => ({ then () {} }) }, { code: 'FST_ERR_SSE_OPTION', message: /must return a boolean/ }],
    'a map that gives null': [{ map: () => null }, { code: 'FST_ERR_SSE_EVENT', message: /got null/ }],
    'a map that gives a number': [{ map: () => 5 }, { code: 'FST_ERR_SSE_EVENT', message: /got 5/ }],
    'a map that gives a promise': [{ map: async () => 'text' }, { code: 'FST_ERR_SSE_EVENT', message: /a channel takes strings or objects/ }],
    'a map whose promise rejects': [{ map: async () => { throw new Error('nobody waits for it') } }, { code: 'FST_ERR_SSE_EVENT', message: /a channel takes strings or objects/ }],
    'a map whose data is a promise': [{ map: () => ({ data: Promise.reject(new Error('nobody waits for it')) }) }, { code: 'FST_ERR_SSE_FIELD', message: /await it/ }]
  }

  for (const [title, [options, error]] of Object.entries(wrong)) {
    t.test(`${title} fails the stream, and whoever publishes is not told`, async t => {
      const { url, log, channel, publishAll } = await serveChannel(t, {}, {}, (app, channel) => {
        app.get('/wrong', (request, reply) => reply.sse(channel.subscribe(options)))
      })
      const stream = await read(t, `${url}/wrong`)
      const [first] = await publishAll('one')
      await t.rejects(stream.rest(), 'torn, not ended')
      t.match(await log.find('event stream failed'), { err: error })
      t.equal(channel.subscribers, 0)
      const [missed] = await publishAll('two')
      const response = await fetch(`${url}/wrong`, { headers: { 'last-event-id': String(first) } })
      t.equal(response.status, 500, `${missed} was missed`)
      t.match(await response.json(), error)
    })
  }

  t.test('filter and map find the AsyncLocalStorage of whoever subscribed, not of whoever publishes', async t => {
    const storage = new AsyncLocalStorage<string>()
    const found: Array<string | undefined> = []
    const { app, url } = await serve(t, app => {
      const channel = app.sse.channel('news')
      app.addHook('onRequest', (request, reply, done) => { storage.run(`request ${request.url}`, done) })
      app.get('/:user', (request, reply) => reply.sse(channel.subscribe({
        filter: () => found.push(storage.getStore()) > 0,
        map: ({ data }) => `${data} for ${storage.getStore()}`
      })))
    })
    const streams = await Promise.all(['ann', 'bob'].map(user => read(t, `${url}/${user}`)))
    await storage.run('publisher', () => app.sse.channel('news').publish('one'))
    t.same(dataOf(await Promise.all(streams.map(stream => stream.next()))), ['one for request /ann', 'one for request /bob'])
    t.same(found.sort(), ['request /ann', 'request /bob'])
  })

  t.test('map gives another event in the place of each, which keeps its ID', async t => {
    const maps: Record<string, [map: (event: ChannelEvent) => MapResult | undefined, mapped: object]> = {
      another: [({ data }) => ({ event: 'even', data: { data } }), { event: 'even', data: '{"data":1}' }],
      text: [({ data }) => `text ${data}`, { event: undefined, data: 'text 1' }],
      'a changed copy': [event => ({ ...event, data: 'changed' }), { event: 'tick', data: 'changed' }],
      'its own ID, which does not count': [() => ({ id: 'other', data: 'x' }), { data: 'x' }],
      'the event itself': [event => event, { event: 'tick', data: '1' }],
      bytes: [() => ({ data: new Uint8Array([1]) }), { data: 'AQ==' }],
      'more than maxEventBytes': [() => ({ data: 'x'.repeat(100) }), { data: 'x'.repeat(100) }]
    }
    const { channel, url } = await serveChannel(t, { maxEventBytes: 10 }, {}, (app, channel) => {
      Object.values(maps).forEach(([map], index) => app.get(`/${index}`, (request, reply) => reply.sse(channel.subscribe({ map }))))
    })
    for (const [index, [title, [, mapped]]] of Object.entries(maps).entries()) {
      const stream = await read(t, `${url}/${index}`)
      const id = await channel.publish({ event: 'tick', data: 1 })
      t.match(await stream.next(), { id, ...mapped }, title)
      stream.close()
    }
  })

  t.test('map leaves an event out by giving undefined', async t => {
    const channel = await readyChannel(t)
    const steps = new Steps(channel.subscribe({ map: ({ data }) => data === 1 ? undefined : { event: 'n', data } }))
    const { next } = await steps.begin()
    await publishAll(channel, 1, 2)
    t.match(await next, { id: /-2$/, event: 'n', data: 2 })
    await steps.leave()
  })

  t.test('filter comes before map', async t => {
    const channel = await readyChannel(t)
    const mapped: unknown[] = []
    const steps = new Steps(channel.subscribe({ filter: isEven, map: ({ data }) => { mapped.push(data); return `n ${data}` } }))
    const { next } = await steps.begin()
    await publishAll(channel, 1, 2)
    t.match(await next, { data: 'n 2' })
    t.same(mapped, [2])
    await steps.leave()
  })

  const failing: Record<string, (channel: Channel) => ReturnType<Channel['subscribe']>> = {
    'a filter that throws': channel => channel.subscribe({ filter: ({ data }) => { if (data === 2) throw new Error('no even'); return true } }),
    'a map that throws': channel => channel.subscribe({ map: event => { if (event.data === 2) throw new Error('no even'); return event } }),
    'a map that gives no event': channel => channel.subscribe({ map: event => event.data === 2 ? { dta: 1 } as never : event }),
    'a map that gives the name of gaps': channel => channel.subscribe({ map: event => event.data === 2 ? { event: 'gap' } : event })
  }

  for (const [title, subscribe] of Object.entries(failing)) {
    t.test(`${title} fails its streams, and no other`, async t => {
      const { url, log, channel, publishAll } = await serveChannel(t, {}, {}, (app, channel) => {
        const subscription = subscribe(channel)
        app.get('/failing', (request, reply) => reply.sse(subscription))
      })
      const streams = [await read(t, `${url}/failing`), await read(t, `${url}/failing`)]
      const other = await read(t, url)
      await publishAll(1)
      for (const stream of streams) t.match(await stream.next(), { data: '1' })
      await publishAll(2, 3)
      for (const stream of streams) await t.rejects(stream.rest(), 'torn, not ended')
      t.match(await log.take('event stream failed', 2), [{ level: 50 }, { level: 50 }])
      t.same(dataOf(await take(other, 3)), ['1', '2', '3'])
      t.equal(channel.subscribers, 1)
    })
  }

  t.test('a filter that throws for what was missed is an HTTP error', async t => {
    const { url, publishAll, channel } = await serveChannel(t, {}, {}, (app, channel) => {
      app.get('/failing', (request, reply) => reply.sse(channel.subscribe({ filter: () => { throw new Error('no') } })))
    })
    const [first] = await publishAll(1, 2)
    t.equal((await read(t, `${url}/failing`, first)).response.status, 500)
    t.equal(channel.subscribers, 0)
  })

  t.test('a filter that throws for what was missed, after something was sent, tears the stream', async t => {
    const { url, log, publishAll, channel } = await serveChannel(t, {}, {}, (app, channel) => {
      const filter = ({ data }: ChannelEvent): boolean => { if (data === 2) throw new Error('no even'); return true }
      app.get('/failing', (request, reply) => reply.sse(channel.subscribe({ filter })))
    })
    const large = 'x'.repeat(40_000)
    const [first] = await publishAll(0, large, 2, 3)
    const stream = await read(t, `${url}/failing`, first)
    t.match(await stream.next(), { data: large })
    await t.rejects(stream.rest(), 'torn, not ended')
    t.match(await log.find('event stream failed'), { err: { message: 'no even' } })
    t.equal(channel.subscribers, 0)
  })

  t.test('from says where a client without an ID begins, and one with an ID goes on from that', async t => {
    const { url, publishAll } = await serveChannel(t, {}, {}, (app, channel) => {
      app.get<{ Querystring: { from: string } }>('/from', (request, reply) => reply.sse(channel.subscribe(request.query)))
    })
    const [one = '', two = '', three = ''] = await publishAll('one', 'two', 'three')
    const streams: Array<[from: string, lastEventId: string | undefined, expected: unknown[]]> = [
      ['latest', undefined, ['live']],
      ['', undefined, ['live']],
      ['earliest', undefined, ['one', 'two', 'three', 'live']],
      [one, undefined, ['two', 'three', 'live']],
      [three, undefined, ['live']],
      [one, two, ['three', 'live']],
      ['earliest', two, ['three', 'live']],
      ['latest', one, ['two', 'three', 'live']]
    ]
    const opened = await Promise.all(streams.map(([from, id]) => read(t, `${url}/from?from=${from}`, id)))
    await publishAll('live')
    for (const [index, [from, id, expected]] of streams.entries()) {
      const stream = opened[index] as Awaited<ReturnType<typeof read>>
      t.same(dataOf(await take(stream, expected.length)), expected, `from ${from}, with ${id}`)
    }
  })

  t.test('earliest is the oldest event that is kept', async t => {
    const { publishAll, url } = await serveChannel(t, { history: { size: 2 } }, {}, (app, channel) => {
      const earliest = channel.subscribe({ from: 'earliest' })
      app.get('/earliest', (request, reply) => reply.sse(earliest))
    })
    await publishAll('one', 'two', 'three')
    t.same(dataOf(await take(await read(t, `${url}/earliest`), 2)), ['two', 'three'])
  })

  t.test('refuses options that it does not know, and values that it does not take', async t => {
    const channel = await readyChannel(t)
    const wrong: Array<[options: unknown, message: RegExp]> = [
      [{ form: 'latest' }, /none called 'form'/],
      [{ from: 5 }, /'from' must be 'latest', 'earliest' or the ID of an event, got 5/],
      [{ from: null }, /'from'/],
      [{ filter: 'even' }, /'filter' must be a function/],
      [{ map: {} }, /'map' must be a function/],
      [{ signal: new EventTarget() }, /'signal' must be an AbortSignal/],
      ['latest', /must be an object/]
    ]
    for (const [options, message] of wrong) {
      t.throws(() => channel.subscribe(options as never), { code: 'FST_ERR_SSE_OPTION', message })
    }
    t.doesNotThrow(() => channel.subscribe({ from: undefined, signal: undefined }))
  })
})

t.test('position', async t => {
  t.test('is the ID of the newest event', async t => {
    const channel = await readyChannel(t)
    const before = await channel.position()
    t.match(before, /-0$/)
    const id = await channel.publish('one')
    t.equal(await channel.position(), id)
    t.equal(before.split('-')[0], id.split('-')[0])
  })

  t.test('is where a page begins that has loaded its state, and misses nothing', async t => {
    const { channel, read, publishAll } = await serveChannel(t)
    const empty = await channel.position()
    await publishAll('one')
    const position = await channel.position()
    await publishAll('two')
    t.same(dataOf(await take(await read(empty), 2)), ['one', 'two'])
    t.same(dataOf(await take(await read(position), 1)), ['two'])
  })

  t.test('after close makes a client stay away', async t => {
    const { channel, read, publishAll } = await serveChannel(t)
    const { next } = await new Steps(channel).begin()
    await publishAll('one')
    await next
    await channel.close()
    const { response, rest } = await read(await channel.position())
    t.same(await rest(), [])
    t.equal(response.status, 204)
  })
})

t.test('several channels', async t => {
  async function serveSeveral (t: Test, names = ['prices', 'news']) {
    const served = await serve(t, app => {
      for (const name of names) app.sse.channel(name)
      app.get('/', (request, reply) => reply.sse(app.sse.subscribe(names)))
    })
    const channelOf = (name: string): Channel => served.app.sse.channel(name)
    return { ...served, channelOf }
  }

  t.test('come as one stream, in the order they were published', async t => {
    const { url, channelOf } = await serveSeveral(t)
    const stream = await read(t, url)
    for (const [name, data] of [['prices', 'p1'], ['news', 'n1'], ['prices', 'p2']] as const) await channelOf(name).publish({ event: name, data })
    t.match(await take(stream, 3), [{ event: 'prices', data: 'p1' }, { event: 'news', data: 'n1' }, { event: 'prices', data: 'p2' }])
  })

  t.test('have one ID, which says where all of them stand', async t => {
    const { url, channelOf } = await serveSeveral(t)
    const stream = await read(t, url)
    for (const [name, data] of [['prices', 'p1'], ['news', 'n1'], ['prices', 'p2'], ['news', 'n2']] as const) await channelOf(name).publish({ data })
    const events = await take(stream, 4)
    for (const [index, event] of events.entries()) {
      t.match(event.id, /^[A-Za-z0-9._~,;=-]{1,128}$/)
      const others = events.slice(index + 1)
      const again = await read(t, url, event.id)
      await channelOf('news').publish('live')
      // What was published at different times comes channel by channel.
      t.same(dataOf(await take(again, others.length + index + 1)).sort(), [...dataOf(others), ...Array<string>(index + 1).fill('live')].sort())
    }
  })

  t.test('may be named in any order, of which clients take no notice', async t => {
    const { app, url } = await serve(t, app => {
      for (const name of ['a', 'b']) app.sse.channel(name)
      app.get('/ab', (request, reply) => reply.sse(app.sse.subscribe(['a', 'b'])))
      app.get('/ba', (request, reply) => reply.sse(app.sse.subscribe([app.sse.channel('b'), 'a'])))
    })
    const stream = await read(t, `${url}/ab`)
    await app.sse.channel('b').publish('one')
    const first = await stream.next()
    await app.sse.channel('a').publish('two')
    t.match(await (await read(t, `${url}/ba`, first?.id)).next(), { data: 'two' })
  })

  t.test('may be as many as six, and one alone has the IDs of the channel', async t => {
    const names = ['a', 'b', 'c', 'd', 'e', 'f']
    const { url, channelOf, app } = await serveSeveral(t, names)
    const stream = await read(t, url)
    const steps = new Steps(app.sse.subscribe(['a']))
    const { next } = await steps.begin()
    for (const name of names) await channelOf(name).publish(name)
    const events = await take(stream, 6)
    t.same(dataOf(events), names)
    t.ok(events.every(({ id = '' }) => id.length <= 128))
    t.match(await next, { id: /^\w+-1$/ })
    await steps.leave()
  })

  t.test('are refused where they cannot be one stream', async t => {
    const app = await ready(t, app => { for (let n = 0; n < 7; n++) app.sse.channel(`c${n}`) })
    const wrong: Array<[names: string[], message: RegExp]> = [
      [[], /The channel \(none\): a stream is over 1 to 6 different channels/],
      [['c0', 'c1', 'c2', 'c3', 'c4', 'c5', 'c6'], /1 to 6 different channels/],
      [['c0', 'c0'], /'c0', 'c0': a stream is over 1 to 6 different channels/],
      [['c0', 'none'], /The channel 'none': it is not declared/]
    ]
    for (const [names, message] of wrong) t.throws(() => app.sse.subscribe(names), { code: 'FST_ERR_SSE_CHANNEL', message })
    t.throws(() => app.sse.subscribe(['c0'], { from: 5 as never }), { code: 'FST_ERR_SSE_OPTION' })
    for (const [channels, shown] of [['c0', "'c0'"], [undefined, 'undefined'], [null, 'null'], [new Set(['c0']), 'Set'], [{ 0: 'c0', length: 1 }, '{']] as const) {
      t.throws(() => app.sse.subscribe(channels as never), {
        code: 'FST_ERR_SSE_CHANNEL',
        message: new RegExp(`^The channel ${shown}.*: subscribe takes a list of channels, or of their names$`)
      })
    }
  })

  t.test('may be filtered, mapped and iterated as one', async t => {
    const app = await ready(t, app => { for (const name of ['a', 'b']) app.sse.channel(name) })
    const steps = new Steps(app.sse.subscribe(['a', 'b'], { filter: ({ data }) => data !== 'no', map: ({ event, data }) => ({ event: 'mapped', data: `${event} ${data}` }) }))
    const { next } = await steps.begin()
    await app.sse.channel('a').publish({ event: 'e', data: 'no' })
    await app.sse.channel('b').publish({ event: 'e', data: 'yes' })
    t.match(await next, { event: 'mapped', data: 'e yes' })
    await steps.leave()
    t.same(app.sse.stats().channels, {})
  })

  t.test('are read together by all who read the same ones', async t => {
    const { url, channelOf, app, log } = await serveSeveral(t)
    const clients = [await read(t, url), await read(t, url)]
    t.match(app.sse.stats().channels, { prices: { subscribers: 2 }, news: { subscribers: 2 } })
    await channelOf('news').publish('one')
    const [one, other] = await Promise.all(clients.map(client => client.next()))
    t.same(one, other)
    clients[0]?.close()
    await log.find('event stream closed')
    await channelOf('news').publish('two')
    t.match(await clients[1]?.next(), { data: 'two' })
    clients[1]?.close()
    await log.take('event stream closed', 2)
    t.same(app.sse.stats().channels, {})
  })

  t.test('end when all of them are closed', async t => {
    const { url, channelOf } = await serveSeveral(t)
    const stream = await read(t, url)
    await channelOf('prices').close()
    await channelOf('news').publish('still here')
    t.match(await stream.next(), { data: 'still here' })
    const late = await read(t, url)
    t.equal(late.response.status, 200)
    await channelOf('news').close()
    t.same(await stream.rest(), [])
    t.same(await late.rest(), [])
    t.equal((await fetch(url, { headers: EVENT_SOURCE })).status, 204)
  })
})

t.test('an iteration', async t => {
  t.test('in a generator ends when the client leaves', async t => {
    const ended = deferred<unknown>()
    const { url, channel, log, publishAll } = await serveChannel(t, {}, {}, (app, channel) => {
      app.get('/mapped', { sse: true }, async function * (request, reply, { signal, lastEventId }) {
        try {
          for await (const { id, data } of channel.subscribe({ signal, from: lastEventId })) yield { id, event: 'mapped', data }
        } catch (error) {
          ended.resolve(error)
          throw error
        }
      })
    })
    const opening = read(t, `${url}/mapped`)
    await subscribersOf(channel, 1)
    const [one = ''] = await publishAll('one')
    const stream = await opening
    t.match(await stream.next(), { id: one, event: 'mapped', data: 'one' })
    await publishAll('two')
    t.match(await (await read(t, `${url}/mapped`, one)).next(), { event: 'mapped', data: 'two' })
    stream.close()
    await log.find('event stream closed')
    t.match(await ended.promise, { name: 'AbortError', reason: 'client' })
    await subscribersOf(channel, 1)
    t.same(log.complaints, [])
  })

  t.test('begins with its first next, or with what from says', async t => {
    const channel = await readyChannel(t)
    const steps = new Steps(channel)
    const earliest = new Steps(channel.subscribe({ from: 'earliest' }))
    await publishAll(channel, 'before')
    t.equal(channel.subscribers, 0)
    const { next } = await steps.begin()
    t.equal(channel.subscribers, 1)
    await publishAll(channel, 'one')
    t.match(await next, { data: 'one' })
    t.same(dataOf(await earliest.take(2)), ['before', 'one'])
    for (const each of [steps, earliest]) await each.leave()
    t.equal(channel.subscribers, 0)
  })

  t.test('ends and is released by a break', async t => {
    const channel = await readyChannel(t)
    await publishAll(channel, 'one', 'two')
    const seen = []
    for await (const { data } of channel.subscribe({ from: 'earliest' })) {
      seen.push([data, channel.subscribers])
      if (data === 'two') break
    }
    t.same(seen, [['one', 1], ['two', 1]])
    t.equal(channel.subscribers, 0)
  })

  t.test('that waits is ended by return()', async t => {
    const channel = await readyChannel(t)
    const { iterator, begin } = new Steps(channel)
    const { next } = await begin.call(new Steps({ [Symbol.asyncIterator]: () => iterator }))
    t.strictSame(await iterator.return?.(), { done: true, value: undefined })
    t.equal(await next, undefined)
    t.strictSame(await iterator.next(), { done: true, value: undefined })
    t.strictSame(await iterator.return?.(), { done: true, value: undefined })
    t.equal(channel.subscribers, 0)
  })

  t.test('that is returned before it has begun never begins', async t => {
    const channel = await readyChannel(t)
    const { iterator } = new Steps(channel)
    await iterator.return?.()
    t.strictSame(await iterator.next(), { done: true, value: undefined })
    t.equal(channel.subscribers, 0)
  })

  t.test('that is returned as it begins is released', async t => {
    const channel = await readyChannel(t)
    const { iterator } = new Steps(channel)
    const next = iterator.next()
    await Promise.resolve()
    await iterator.return?.()
    t.strictSame(await next, { done: true, value: undefined })
    t.equal(channel.subscribers, 0)
  })

  t.test('answers calls of next that do not wait for each other in their order', async t => {
    const channel = await readyChannel(t)
    const steps = new Steps(channel)
    const answers = Promise.all([steps.next(), steps.next(), steps.next()])
    await setImmediate()
    await publishAll(channel, 'one', 'two', 'three')
    t.same(dataOf(await answers), ['one', 'two', 'three'])
    await steps.leave()
  })

  t.test('is an iterable itself', async t => {
    const channel = await readyChannel(t)
    const { iterator } = new Steps(channel)
    t.equal((iterator as AsyncIterableIterator<unknown>)[Symbol.asyncIterator](), iterator)
  })

  t.test('may be one of many of the same subscription', async t => {
    const channel = await readyChannel(t)
    const subscription = channel.subscribe()
    const readers = [new Steps(subscription), new Steps(subscription)]
    const waiting = await Promise.all(readers.map(reader => reader.begin()))
    await publishAll(channel, 'one')
    for (const { next } of waiting) t.match(await next, { data: 'one' })
    for (const reader of readers) await reader.leave()
  })

  t.test('throws the reason when its signal aborts, once', async t => {
    const channel = await readyChannel(t)
    const controller = new AbortController()
    const steps = new Steps(channel.subscribe({ signal: controller.signal }))
    const { next } = await steps.begin()
    const reason = new Error('enough')
    controller.abort(reason)
    t.equal(channel.subscribers, 0, 'released at once')
    await t.rejects(next, reason)
    t.equal(await steps.next(), undefined)
  })

  t.test('does not begin when its signal is aborted already', async t => {
    const channel = await readyChannel(t)
    const reason = new Error('too late')
    const steps = new Steps(channel.subscribe({ signal: AbortSignal.abort(reason) }))
    await t.rejects(steps.next(), reason)
    t.equal(await steps.next(), undefined)
    t.equal(channel.subscribers, 0)
  })

  t.test('leaves its signal alone when it is over', async t => {
    const channel = await readyChannel(t)
    const { signal } = new AbortController()
    const added = mock.method(signal, 'addEventListener')
    const removed = mock.method(signal, 'removeEventListener')
    const steps = new Steps(channel.subscribe({ signal }))
    await steps.begin()
    await steps.leave()
    t.equal(added.mock.callCount(), 1)
    t.same(removed.mock.calls[0]?.arguments.slice(0, 2), added.mock.calls[0]?.arguments.slice(0, 2))
  })

  t.test('throws what its filter throws, and is over', async t => {
    const channel = await readyChannel(t)
    const steps = new Steps(channel.subscribe({ filter: () => { throw new Error('no') } }))
    const { next } = await steps.begin()
    await publishAll(channel, 'one')
    await t.rejects(next, { message: 'no' })
    t.equal(await steps.next(), undefined)
    t.equal(channel.subscribers, 0)
    const missed = new Steps(channel.subscribe({ from: 'earliest', filter: () => { throw new Error('no') } }))
    await t.rejects(missed.next(), { message: 'no' })
    t.equal(channel.subscribers, 0)
  })

  t.test('gives what is left, and ends with the channel', async t => {
    const channel = await readyChannel(t)
    const steps = new Steps(channel)
    const { next } = await steps.begin()
    await publishAll(channel, 'one', 'two')
    await channel.close()
    t.same(dataOf([await next, ...await steps.rest()]), ['one', 'two'])
    t.equal(channel.subscribers, 0)
    t.same(await new Steps(channel).rest(), [], 'a closed channel')
    t.same(dataOf(await new Steps(channel.subscribe({ from: 'earliest' })).rest()), ['one', 'two'])
  })

  const block = (id: string, data: string): number => `id: ${id}\ndata: ${data}\n\n`.length

  t.test('over maxBuffer throws an AbortError where slow is disconnect', async t => {
    const channel = await readyChannel(t, {}, { maxBuffer: 1_000 })
    const steps = new Steps(channel)
    const { next } = await steps.begin()
    await publishAll(channel, 'first', 'x'.repeat(900))
    t.match(await next, { data: 'first' })
    await publishAll(channel, 'x'.repeat(900))
    await setImmediate()
    t.equal(channel.subscribers, 0)
    await t.rejects(steps.next(), { name: 'AbortError', reason: 'slow' })
    t.equal(await steps.next(), undefined)
  })

  t.test('does not count what it missed before it came, but what comes then', async t => {
    const channel = await readyChannel(t, {}, { maxBuffer: 1_000 })
    const many = Array.from({ length: 10 }, (_, index) => String(index).repeat(900))
    await publishAll(channel, ...many)
    const steps = new Steps(channel.subscribe({ from: 'earliest' }))
    const first = await steps.take(1)
    await publishAll(channel, 'small')
    await setImmediate()
    t.same(dataOf([...first, ...await steps.take(10)]), [...many, 'small'])
    await steps.leave()
  })

  t.test('over maxBuffer is told what was dropped where slow is drop-oldest', async t => {
    const channel = await readyChannel(t, {}, { maxBuffer: 190, slow: 'drop-oldest' })
    const steps = new Steps(channel)
    const { next } = await steps.begin()
    const [zero = ''] = await publishAll(channel, 'zero')
    await next
    const ids = await publishAll(channel, ...'123456789')
    const size = block(zero, '1')
    const kept = Math.floor(95 / size)
    await setImmediate()
    const dropped = ids.length - kept
    const resumedAt = ids[dropped - 1]
    t.match(await steps.next(), { id: resumedAt, event: 'gap', data: { channel: 'news', reason: 'dropped', requested: zero, resumedAt } })
    t.match(await steps.take(kept), ids.slice(dropped).map(id => ({ id })))
    await steps.leave()
  })

  t.test('over maxBuffer throws what its filter throws for what would be dropped', async t => {
    const channel = await readyChannel(t, {}, { maxBuffer: 190, slow: 'drop-oldest' })
    await publishAll(channel, 1, 2)
    const filter = ({ data }: ChannelEvent): boolean => { if (data === 2) throw new Error('no even'); return true }
    const steps = new Steps(channel.subscribe({ from: 'earliest', filter }))
    t.match(await steps.next(), { data: 1 })
    await publishAll(channel, ...'abcdefghi')
    await setImmediate()
    t.equal(channel.subscribers, 0, 'it is over')
    await t.rejects(steps.next(), { message: 'no even' })
    t.equal(await steps.next(), undefined)
  })

  t.test('over maxBuffer is left the newest of each name where slow is latest', async t => {
    const channel = await readyChannel(t, {}, { maxBuffer: 200, slow: 'latest' })
    const steps = new Steps(channel)
    const { next } = await steps.begin()
    const [zero] = await publishAll(channel, 'zero')
    await next
    let last = ''
    for (let n = 0; n < 10; n++) last = await channel.publish({ event: n === 7 ? 'b' : 'a', data: n })
    await setImmediate()
    t.match(await steps.take(3), [
      { id: zero, event: 'gap', data: { channel: 'news', reason: 'dropped', requested: zero, resumedAt: last } },
      { event: 'b', data: 7 },
      { id: last, event: 'a', data: 9 }
    ])
    await publishAll(channel, 'after')
    t.match(await steps.next(), { data: 'after' })
    await steps.leave()
  })
})

t.test('close', async t => {
  t.test('ends every stream after what is left for it', async t => {
    const { channel, read, log, publishAll } = await serveChannel(t)
    const streams = [await read(), await read()]
    const ids = await publishAll('one', 'two')
    await channel.close()
    for (const stream of streams) t.match(await stream.rest(), ids.map(id => ({ id })))
    t.match(await log.take('event stream closed', 2), [{ reason: 'finished', events: 2 }, { reason: 'finished', events: 2 }])
    t.equal(channel.subscribers, 0)
  })

  t.test('may come twice', async t => {
    const channel = await readyChannel(t)
    t.equal(await channel.close(), undefined)
    t.equal(await channel.close(), undefined)
  })

  t.test('lets nothing be published any more', async t => {
    const channel = await readyChannel(t)
    await channel.close()
    await t.rejects(channel.publish('x'), { code: 'FST_ERR_SSE_CHANNEL_CLOSED', message: /'news' was closed/ })
  })

  t.test('keeps an EventSource away that comes back, by 204', async t => {
    const { channel, url, publishAll } = await serveChannel(t, {}, { retry: 1 })
    const source = new EventSource(url)
    t.teardown(() => { source.close() })
    await once(source, 'open')
    const message = once(source, 'message')
    await publishAll('one')
    await message
    await channel.close()
    while (source.readyState !== EventSource.CLOSED) await once(source, 'error')
    t.pass('it stays away')
  })

  t.test('is an empty stream for other clients', async t => {
    const { channel, url } = await serveChannel(t)
    await channel.close()
    const response = await fetch(url)
    t.equal(response.status, 200)
    t.match(response.headers.get('content-type'), 'text/event-stream')
    t.equal(await response.text(), '')
    const known = await fetch(url, { headers: { 'last-event-id': await channel.position() } })
    t.equal(await known.text(), '')
  })

  t.test('first gives who comes back what it has missed', async t => {
    const { channel, read, publishAll } = await serveChannel(t)
    const [one = '', two = '', three = ''] = await publishAll('one', 'two', 'three')
    await channel.close()
    const back = await read(one)
    t.equal(back.response.status, 200)
    t.match(await back.rest(), [{ id: two }, { id: three }])
    t.equal((await read(three)).response.status, 204)
    t.match(await (await read('rubbish')).rest(), [{ event: 'gap' }])
  })

  t.test('ends streams with a filter, also those that come later', async t => {
    const { channel, url, publishAll } = await serveChannel(t, {}, {}, (app, channel) => {
      app.get('/none', (request, reply) => reply.sse(channel.subscribe({ filter: () => false })))
    })
    const stream = await read(t, `${url}/none`)
    const [one = ''] = await publishAll('one', 'two')
    await channel.close()
    t.same(await stream.rest(), [])
    t.equal((await read(t, `${url}/none`)).response.status, 204)
    t.equal((await read(t, `${url}/none`, one)).response.status, 204)
  })

  t.test('with prime 0 is a stream that ends at once', async t => {
    const { channel, read } = await serveChannel(t, {}, { prime: 0 })
    await channel.close()
    const { response, rest } = await read()
    t.equal(response.status, 200)
    t.same(await rest(), [])
  })
})

t.test('app.close()', async t => {
  t.test('ends the streams of channels at once, without waiting for the grace', async t => {
    const { app, read, log, publishAll } = await serveChannel(t, {}, { shutdown: { grace: 2 ** 31 - 1, retry: 7 } }, undefined, { pluginTimeout: 0 })
    const streams = [await read(), await read()]
    const [id] = await publishAll('one')
    await app.close()
    for (const stream of streams) {
      t.match(await stream.rest(), [{ id }])
      t.equal(stream.retry(), 7)
    }
    t.match(await log.take('event stream closed', 2), [{ reason: 'shutdown' }, { reason: 'shutdown' }])
    t.same(log.complaints, [])
    t.same(app.sse.stats(), { ...app.sse.stats(), channels: {}, backplane: 'down' })
  })

  t.test('ends generators that iterate and heed their signal at once', async t => {
    const { app, url, channel, log } = await serveChannel(t, {}, { shutdown: { grace: 2 ** 31 - 1, retry: 7 }, prime: 0 }, (app, channel) => {
      app.get('/iterate', { sse: true }, async function * (request, reply, { signal }) { yield * channel.subscribe({ signal }) })
    }, { pluginTimeout: 0 })
    const stream = await read(t, `${url}/iterate`)
    await subscribersOf(channel, 1)
    await app.close()
    t.same(await stream.rest(), [])
    t.match(await log.find('event stream closed'), { reason: 'shutdown' })
    t.same(log.complaints, [])
  })

  t.test('ends iterations that are in no stream, before the first event and after', async t => {
    const app = Fastify()
    await app.register(ssePlugin)
    await app.ready()
    const channel = app.sse.channel('news')
    const readers = [new Steps(channel), new Steps(channel)] as const
    const [{ next }] = await Promise.all(readers.map(reader => reader.begin())) as [{ next: Promise<ChannelEvent | undefined> }]
    await channel.publish('one')
    t.match(await next, { data: 'one' })
    await app.close()
    t.same(dataOf(await readers[0].rest()), [])
    t.equal(channel.subscribers, 0)
  })

  const LARGE = 'x'.repeat(60_000)

  /** A client of a channel that does not read, for whom more is published than its connection holds. */
  async function serveBusy (t: Test, plugin: ssePlugin.PluginOptions, count: number) {
    const served = await serveChannel(t, { history: { size: 1e6, maxBytes: 2 ** 30 } }, { maxBuffer: 2 ** 30, ...plugin })
    const client = await connectTo(t, served.port, get('/'))
    await client.until('\r\n:\n\r\n')
    client.socket.pause()
    for (let n = 0; n < count; n++) await served.channel.publish(`<${n}>${LARGE}`)
    const numbers = Array.from({ length: count }, (_, n) => n)
    return { ...served, client, numbers, received: () => Array.from(client.received.matchAll(/<(\d+)>/g), ([, n]) => Number(n)) }
  }

  t.test('brings a client that is busy, and reads on, what was published before', async t => {
    const { app, client, log, numbers, received } = await serveBusy(t, { shutdown: { retry: 7 } }, 200)
    t.ok(Number(app.sse.stats().channels['news']?.queued) > LARGE.length, 'much waits for it')
    const closed = app.close()
    client.socket.resume()
    await client.closed
    await closed
    t.same(received(), numbers)
    t.ok(client.received.endsWith('\r\nretry: 7\n\r\n0\r\n\r\n'), 'a clean end')
    t.match(await log.find('event stream closed'), { reason: 'shutdown', events: 200 })
    t.same(log.complaints, [])
  })

  t.test('does not wait for a client that is busy with the last that there is', async t => {
    const { app, port, channel, log } = await serveChannel(t, {}, { shutdown: { grace: 2 ** 31 - 1, retry: 7 } }, (app, channel) => {
      const large = 'x'.repeat(8_000_000)
      app.get('/large', (request, reply) => reply.sse(channel.subscribe({ map: () => ({ data: large }) })))
    }, { pluginTimeout: 0 })
    const client = await connectTo(t, port, get('/large'))
    await client.until('\r\n:\n\r\n')
    client.socket.pause()
    await channel.publish('one')
    while (app.sse.stats().streams.queued === 0) await setImmediate()
    t.equal(app.sse.stats().channels['news']?.queued, 0, 'nothing waits behind it')
    const closed = app.close()
    t.match(await log.find('event stream closed'), { reason: 'shutdown', events: 1, duration: Number }, 'while the client does not read')
    client.socket.resume()
    await closed
    await client.closed
    t.ok(client.received.endsWith('\r\nretry: 7\n\r\n0\r\n\r\n'), 'a clean end')
  })

  t.test('ends a client that does not read when the grace is over', async t => {
    const { app, client, log, numbers, received } = await serveBusy(t, { shutdown: { grace: 50, retry: 7 } }, 200)
    await app.close()
    t.match(await log.find('event stream closed'), { reason: 'shutdown' })
    client.socket.resume()
    await client.closed
    const seen = received()
    t.ok(seen.length < 200, `${seen.length} have arrived`)
    t.same(seen, numbers.slice(0, seen.length))
    t.notOk(client.received.endsWith('\r\n0\r\n\r\n'), 'torn, not ended')
    t.same(log.complaints, [])
  })

  t.test('lets a client go at once that leaves while it is brought the rest', async t => {
    const { app, client, log } = await serveBusy(t, { shutdown: { grace: 8_000 } }, 200)
    const closed = app.close()
    client.socket.destroy()
    t.match(await log.find('event stream closed'), { reason: 'client' })
    await closed
  })

  t.test('brings what was published when the turn of the event loop is over, in the next', async t => {
    const app = Fastify()
    t.teardown(() => app.close())
    app.addHook('preClose', async () => {
      await app.sse.channel('news').publish('last')
      while (!turnIsOver());
    })
    await app.register(ssePlugin, { shutdown: { grace: 8_000, retry: 7 } })
    app.get('/', (request, reply) => reply.sse(app.sse.channel('news')))
    const url = await app.listen({ host: '127.0.0.1', port: 0 })
    const streams = [await read(t, url), await read(t, url)]
    await app.close()
    for (const stream of streams) {
      t.same(dataOf(await stream.rest()), ['last'])
      t.equal(stream.retry(), 7)
    }
  })

  t.test('ends a stream that waits to be let in, and tells it to come back', async t => {
    const asked = deferred()
    const answer = deferred<boolean>()
    const { app, read, log } = await serveChannel(t, { authorize: () => { asked.resolve(); return answer.promise } }, { shutdown: { grace: 2 ** 31 - 1, retry: 7 } }, undefined, { pluginTimeout: 0 })
    const opening = read()
    await asked.promise
    const closed = app.close()
    const stream = await opening
    t.equal(stream.response.status, 200)
    t.same(await stream.rest(), [])
    t.equal(stream.retry(), 7)
    await closed
    answer.resolve(true)
    await setImmediate()
    t.match(await log.find('event stream closed'), { reason: 'shutdown' })
    t.same(log.complaints, [])
  })
})
