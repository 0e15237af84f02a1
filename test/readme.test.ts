import { EventEmitter, on, once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setInterval } from 'node:timers/promises'
import { createGzip } from 'node:zlib'
import accepts from '@fastify/accepts'
import { Type } from '@fastify/type-provider-typebox'
import Fastify, { type FastifyInstance } from 'fastify'
import { createClient } from 'redis'
import t, { type Test } from 'tap'
import { ModuleKind, ScriptTarget, transpile } from 'typescript'
import { fetch } from 'undici'
import { redisBackplane } from '../plugin/backplane/redis'
import ssePlugin from '../plugin/index'
import { EVENT_SOURCE, open } from './helpers/client'
import { deferred } from './helpers/deferred'
import { startRedis } from './helpers/redis'
import { redisServer } from './helpers/services'

const README = readFileSync(join(__dirname, '..', 'README.md'), 'utf8')
const SNIPPETS = [...README.matchAll(/```[jt]s\n(.*?)```/gs)].map(([, code = '']) => code)

/** The snippet that has this text in it. */
function snippet (text: string): string {
  const found = SNIPPETS.filter(code => code.includes(text))
  if (found.length !== 1) throw new Error(`${found.length} snippets of the README have ${text}`)
  return String(found[0])
}

const AsyncFunction: new (...source: string[]) => (...values: unknown[]) => Promise<unknown> =
  Object.getPrototypeOf(async () => {}).constructor

/** Runs a snippet as it stands, but for its types and imports, which are given; so is what its reader has elsewhere. */
async function run (code: string, given: Record<string, unknown>): Promise<void> {
  const js = transpile(code.replace(/^import .*\n/gm, ''), { target: ScriptTarget.ESNext, module: ModuleKind.ESNext })
  const body = js.replace(/^const app = .*\n/m, '').replace(/^await app\.(register\(ssePlugin\)|listen).*\n/gm, '')
  await new AsyncFunction(...Object.keys(given), body)(...Object.values(given))
}

/** A server with the snippet's routes. */
async function serve (t: Test, text: string, given: Record<string, unknown> | ((app: FastifyInstance) => Record<string, unknown>) = {}): Promise<{ app: FastifyInstance, url: string }> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(ssePlugin)
  const elsewhere = typeof given === 'function' ? given(app) : given
  const { PassThrough } = await import('node:stream')
  await run(snippet(text), { app, setInterval, on, once, fetch, PassThrough, ...elsewhere })
  return { app, url: await app.listen({ host: '127.0.0.1', port: 0 }) }
}

const tested = new Set<string>()

function feature (text: string, title: string, test: (t: Test) => Promise<void>): void {
  tested.add(snippet(text))
  t.test(title, test)
}

feature("app.get('/clock'", 'the clock ticks', async t => {
  const { url } = await serve(t, "app.get('/clock'")
  const stream = await open(t, `${url}/clock`)
  const tick = await stream.next()
  t.equal(tick?.event, 'tick')
  t.match(tick?.data, /^\d{4}-\d\d-\d\dT/)
})

feature("app.get('/jobs'", 'what is written to a PassThrough arrives', async t => {
  const { url } = await serve(t, "app.get('/jobs'")
  const events = await (await open(t, `${url}/jobs`)).rest()
  t.same(events.map(({ event, data }) => [event, JSON.parse(data).state]), [['job', 'queued'], ['job', 'done']])
})

feature("app.post('/tokens'", 'tokens from upstream go through as they come', async t => {
  const upstream = Fastify()
  t.teardown(() => upstream.close())
  upstream.post('/', (request, reply) => reply.send('snow ☃'))
  const { url } = await serve(t, "app.post('/tokens'", { upstream: await upstream.listen({ host: '127.0.0.1', port: 0 }) })
  const events = await (await open(t, `${url}/tokens`, { method: 'POST' })).rest()
  t.equal(events.map(({ data }) => data).join(''), 'snow ☃')
})

feature("app.get('/jobs/:id'", 'one route answers in JSON and as a stream', async t => {
  const job = { state: { percent: 40 }, changes: (from: string) => [{ id: 2, data: `after ${from}` }] }
  const { url } = await serve(t, "app.get('/jobs/:id'", app => {
    app.register(accepts)
    return { find: (id: string) => id === '7' ? job : undefined }
  })
  t.same(await (await fetch(`${url}/jobs/7`)).json(), { percent: 40 })
  const changes = await open(t, `${url}/jobs/7`, { headers: { ...EVENT_SOURCE, 'last-event-id': '1' } })
  t.match(await changes.rest(), [{ id: '2', data: 'after 1' }])
})

feature("app.get('/market/:symbol'", 'events go out as their schemas have them', async t => {
  const { url } = await serve(t, "app.get('/market/:symbol'", {
    Type,
    async * quotes (symbol: string) { yield { symbol, bid: 12, ask: 12.5 } }
  })
  t.same((await (await open(t, `${url}/market/ACME`)).rest()).map(({ event, data }) => [event, data]), [
    ['quote', '{"bid":12,"ask":12.5}'],
    [undefined, 'the market has closed']
  ])
})

feature('interface Clock', 'events are typed by hand', async t => {
  const { url } = await serve(t, 'interface Clock')
  t.match(await (await open(t, `${url}/typed`)).rest(), [{ event: 'tick' }, { data: 'an unnamed event, with the type of `message`' }])
  t.match(await (await open(t, `${url}/by-call`)).rest(), [{ event: 'tick' }])
})

feature('redisBackplane({', 'what is published on one process arrives on another', async t => {
  const redis = redisServer(t)
  if (redis === undefined) return
  const { url } = await startRedis(t, redis)
  const processes = await Promise.all([1, 2].map(async () => {
    const app = Fastify()
    t.teardown(() => app.close())
    await run(snippet('redisBackplane({'), { app, ssePlugin, redisBackplane, createClient: () => createClient({ url }) })
    app.get('/prices', { sse: true }, () => app.sse.channel('prices'))
    return { app, url: await app.listen({ host: '127.0.0.1', port: 0 }) }
  }))
  const stream = await open(t, `${processes[0]?.url}/prices`)
  const id = await processes[1]?.app.sse.channel('prices').publish('one')
  t.match(await stream.next(), { id, data: 'one' })
})

feature("app.get('/events'", 'every field of an event goes over', async t => {
  const { url } = await serve(t, "app.get('/events'")
  t.same(await (await open(t, `${url}/events`)).rest(), [
    { id: undefined, event: undefined, data: 'two\nlines' },
    { id: '1', event: 'price', data: '{"symbol":"ACME","bid":12.5}' },
    { id: undefined, event: 'bell', data: '' }
  ])
})

feature("app.get('/countdown'", 'the countdown goes on where the client left', async t => {
  const { url } = await serve(t, "app.get('/countdown'")
  const ids = async (path: string, headers = {}): Promise<unknown[]> =>
    (await (await open(t, url + path, { headers })).rest()).map(({ id }) => id)
  t.same(await ids('/countdown'), ['5', '4', '3', '2', '1'])
  t.same(await ids('/countdown', { 'last-event-id': '3' }), ['2', '1'])
  t.same(await ids('/countdown?lastEventId=2'), ['1'])
})

feature("app.get('/orders'", 'orders arrive, and the generator ends with its client', async t => {
  const orders = new EventEmitter()
  const { url } = await serve(t, "app.get('/orders'", { orders })
  const listening = new Promise<void>(resolve => {
    orders.on('newListener', name => { if (name === 'order') setImmediate(resolve) })
  })
  const opened = open(t, `${url}/orders`)
  await listening
  orders.emit('order', { id: 1 })
  const stream = await opened
  t.match(await stream.next(), { event: 'order', data: '{"id":1}' })
  const left = new Promise<void>(resolve => {
    orders.on('removeListener', name => { if (name === 'order') resolve() })
  })
  stream.close()
  await left
  t.equal(orders.listenerCount('order'), 0)
})

feature("app.get('/report'", 'a missing report is a 404', async t => {
  const { url } = await serve(t, "app.get('/report'", { load: async () => undefined })
  const response = await fetch(`${url}/report?id=1`)
  t.equal(response.status, 404)
  t.match(await response.json(), { message: 'No such report' })
})

feature("app.get('/progress'", 'the last event of a failed stream is what onError says, then the connection is torn', async t => {
  const { url } = await serve(t, "app.get('/progress'")
  const stream = await open(t, `${url}/progress`)
  t.match(await stream.next(), { event: 'progress', data: '10' })
  t.match(await stream.next(), { event: 'failed', data: '{"request":"req-1"}' })
  await t.rejects(stream.next())
})

feature("app.get('/inbox'", 'the fourth stream of a user is told to come back', async t => {
  const { url } = await serve(t, "app.get('/inbox'")
  const init = { headers: { ...EVENT_SOURCE, authorization: 'me' } }
  await Promise.all([1, 2, 3].map(() => open(t, `${url}/inbox`, init)))
  const fourth = await open(t, `${url}/inbox`, init)
  t.same(await fourth.rest(), [])
  t.ok(Number(fourth.retry()) >= 1000)
})

feature("app.get('/game'", 'a game is saved when the server closes', async t => {
  const { app, url } = await serve(t, "app.get('/game'")
  const stream = await open(t, `${url}/game`)
  t.match(await stream.next(), { data: 'running' })
  const closed = app.close()
  t.match(await stream.next(), { data: 'saved' })
  t.equal(await stream.next(), undefined)
  t.ok(Number(stream.retry()) >= 1000)
  await closed
})

feature("app.get('/finite'", 'a finite stream is injected whole', async t => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(ssePlugin)
  const printed: string[] = []
  await run(snippet("app.get('/finite'"), { app, console: { log: (text: string) => printed.push(text) } })
  t.same(printed, ['data: one\n\ndata: two\n\n'])
})

feature('payloadAsStream', 'an endless stream is injected as a stream', async t => {
  const { app } = await serve(t, "app.get('/clock'")
  const printed: string[] = []
  await run(snippet('payloadAsStream'), { app, console: { log: (text: string) => printed.push(text) } })
  t.match(printed.join(''), /event: tick\ndata: /)
})

feature('createGzip', 'each event passes the compression as it is yielded', async t => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(ssePlugin)
  await run(snippet('createGzip'), { app, createGzip })
  const arrived = [deferred(), deferred()]
  app.get('/', (request, reply) => reply.sse(async function * () {
    yield 'one'
    await arrived[0]?.promise
    yield 'two'
    await arrived[1]?.promise
  }))
  app.get('/fails', (request, reply) => reply.sse(async function * () { throw new Error('before the first event') }))
  const url = await app.listen({ host: '127.0.0.1', port: 0 })

  const stream = await open(t, url)
  t.equal(stream.response.headers.get('content-encoding'), 'gzip')
  t.match(await stream.next(), { data: 'one' })
  arrived[0]?.resolve()
  t.match(await stream.next(), { data: 'two' })
  arrived[1]?.resolve()
  t.equal(await stream.next(), undefined)
  const failed = await fetch(`${url}/fails`)
  t.equal(failed.status, 500)
  t.match(await failed.json(), { message: 'before the first event' })
})

feature("app.get('/ticks'", 'a route can be the stream itself', async t => {
  const { url } = await serve(t, "app.get('/ticks'")
  const stream = await open(t, `${url}/ticks`)
  t.match(await stream.next(), { event: 'tick' })
  t.equal(stream.retry(), 1000)
})

t.test('a generator sets the status and headers of its response before the first event', async t => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(ssePlugin)
  app.get('/', { sse: true }, async function * (request, reply) {
    reply.code(203).header('x-from', 'the generator')
    yield 'one'
  })
  const response = await app.inject('/')
  t.match(response, { statusCode: 203, headers: { 'x-from': 'the generator' }, body: 'data: one\n\n' })
})

feature("app.post('/search'", 'a handler may return the source', async t => {
  const { url } = await serve(t, "app.post('/search'", { search: async (query: string) => [{ data: query }] })
  const ask = (query: string) => open(t, `${url}/search`, {
    method: 'POST', body: JSON.stringify({ query }), headers: { 'content-type': 'application/json' }
  })
  t.match(await (await ask('snow')).rest(), [{ data: 'snow' }])
  t.equal((await ask('')).response.status, 400)
})

feature("app.get('/prices'", 'what is published to a channel arrives, and is resumed from', async t => {
  const { url } = await serve(t, "app.get('/prices'")
  const post = async (bid: number): Promise<string> => {
    const body = JSON.stringify({ bid })
    const response = await fetch(`${url}/prices`, { method: 'POST', body, headers: { 'content-type': 'application/json' } })
    return (await response.json() as { id: string }).id
  }
  const stream = await open(t, `${url}/prices`)
  const id = await post(1)
  t.match(await stream.next(), { id, event: 'price', data: '{"bid":1}' })
  stream.close()
  const missed = await post(2)
  const back = await open(t, `${url}/prices`, { headers: { 'last-event-id': id } })
  t.match(await back.next(), { id: missed, data: '{"bid":2}' })
})

feature("app.get('/state'", 'a state and what follows it', async t => {
  let changes = 0
  const { app, url } = await serve(t, "app.get('/state'", app => {
    const prices = app.sse.channel('prices')
    app.get('/prices', (request, reply) => reply.sse(prices))
    return { prices, loadState: async () => { changes++; return { bid: await prices.publish({ data: changes }) } } }
  })
  const { from, state } = await (await fetch(`${url}/state`)).json() as { from: string, state: { bid: string } }
  t.match(await (await open(t, `${url}/prices?lastEventId=${from}`)).next(), { id: state.bid, data: '1' })
  t.equal(app.sse.channel('prices').subscribers, 1)
})

feature("app.get('/mine'", 'parts of a channel, and several in one', async t => {
  const { app, url } = await serve(t, "app.get('/mine'", app => {
    app.sse.channel('news')
    return { prices: app.sse.channel('prices') }
  })
  const prices = app.sse.channel('prices')
  const ids = []
  for (const bid of [1, 200]) ids.push(await prices.publish({ event: 'price', data: { owner: bid === 1 ? 'me' : 'you', bid } }))
  // Published before they came: the streams begin at a place in front of it.
  const before = { headers: { 'last-event-id': ids[0]?.replace(/\d+$/, '0') ?? '' } }
  t.match(await (await open(t, `${url}/mine?user=me`, before)).next(), { id: ids[0], event: 'price', data: '1' })
  t.match(await (await open(t, `${url}/alarms`, before)).next(), { id: ids[1], event: 'alarm', data: '{"owner":"you","bid":200}' })
  const all = await open(t, `${url}/all`)
  await app.sse.channel('news').publish('one')
  t.match(await all.next(), { event: undefined, data: 'one' })
})

t.test('every snippet of the README is run', async t => {
  t.same(SNIPPETS.filter(code => !tested.has(code)), [])
})
