import { once } from 'node:events'
import { mock } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { EventSource, fetch } from 'undici'
import { fromCursor, fromId, MAX_CHANNELS_IN_CURSOR, tagsOf, toCursor, toId } from '../plugin/channel/position'
import ssePlugin from '../plugin/index'
import type { Channel, ChannelEvent, ChannelOptions } from '../plugin/types'
import { dataOf, gapOf, publishAll, read, serveChannel, Steps, take } from './helpers/channels'
import { open } from './helpers/client'
import { FaultyBackplane } from './helpers/faulty-backplane'
import { serve } from './helpers/serve'
import { connectTo, get } from './helpers/socket'

/** A channel over a backplane that does wrong what the test wants. */
async function faulty (t: Test, options?: ChannelOptions) {
  const backplane = new FaultyBackplane()
  const app = Fastify()
  // Without a handle that keeps the process alive a test that waits in vain would end all the others.
  const alive = setInterval(() => {}, 2 ** 30)
  t.teardown(async () => {
    clearInterval(alive)
    await app.close()
  })
  await app.register(ssePlugin, { backplane })
  await app.ready()
  const channel = app.sse.channel('news', options)
  return { app, backplane, kept: backplane.of('news'), channel, steps: (from = 'latest') => new Steps(channel.subscribe({ from })) }
}

/** An iteration that waits for its first event. */
async function begun (steps: Steps<ChannelEvent>): Promise<Steps<ChannelEvent>> {
  const { next } = await steps.begin()
  const { iterator } = steps
  const first = next.then(value => value === undefined ? { done: true as const, value } : { done: false as const, value })
  first.catch(() => {})
  let isFirst = true
  return new Steps({
    [Symbol.asyncIterator]: () => ({
      next: () => {
        if (!isFirst) return iterator.next()
        isFirst = false
        return first
      },
      return: async () => await iterator.return?.() ?? { done: true, value: undefined }
    })
  })
}

function mockTimers (t: Test, apis: Array<'setTimeout' | 'Date'>): void {
  mock.timers.enable({ apis, now: apis.includes('Date') ? 1_000_000 : 0 })
  t.teardown(() => { mock.timers.reset() })
}

t.test('a client that comes back', async t => {
  t.test('is given every event after its last one, once and in order, and then what is published', async t => {
    const { channel, read, publishAll } = await serveChannel(t)
    const ids = await publishAll(...Array.from({ length: 10 }, (_, index) => index))
    const clients = await Promise.all(ids.map(id => read(id)))
    ids.push(await channel.publish({ data: 10 }))
    for (const [index, client] of clients.entries()) {
      t.match(await take(client, 10 - index), ids.slice(index + 1).map((id, after) => ({ id, data: String(index + 1 + after) })))
    }
  })

  t.test('is given a long past whole', async t => {
    const { read, publishAll } = await serveChannel(t)
    const ids = await publishAll(...Array.from({ length: 400 }, (_, index) => `${index} ${'x'.repeat(index)}`))
    for (const start of [0, 1, 126, 127, 128, 399]) {
      const client = await read(ids[start])
      const [live] = await publishAll('live')
      const events = await take(client, ids.length - start)
      t.same(events.map(({ id }) => id), [...ids.slice(start + 1), live])
      client.close()
      ids.push(live as string)
    }
  })

  t.test('may name its last event in the query', async t => {
    const { url, publishAll } = await serveChannel(t)
    const [one, two] = await publishAll('one', 'two')
    t.match(await (await open(t, `${url}/?lastEventId=${one}`)).next(), { id: two })
  })

  t.test('as an EventSource does by itself misses nothing', async t => {
    const { url, publishAll, log } = await serveChannel(t, {}, { maxAge: 30, retry: 1 })
    const source = new EventSource(url)
    t.teardown(() => { source.close() })
    const seen: string[] = []
    source.addEventListener('message', ({ data }) => { seen.push(data) })
    await once(source, 'open')
    const expected: string[] = []
    for (let connection = 1; connection <= 5; connection++) {
      expected.push(`open ${connection}`)
      await publishAll(`open ${connection}`)
      await log.take('event stream closed', connection)
      expected.push(`closed ${connection}`)
      await publishAll(`closed ${connection}`)
    }
    while (seen.length < expected.length) await once(source, 'message')
    t.same(seen, expected)
  })

  t.test('with the newest ID waits for what comes', async t => {
    const { read, publishAll } = await serveChannel(t)
    const [one] = await publishAll('one')
    const client = await read(one)
    const [two] = await publishAll('two')
    t.match(await client.next(), { id: two })
  })

  t.test('from a channel with a filter is given what it missed of that', async t => {
    const { url, publishAll } = await serveChannel(t, {}, {}, (app, channel) => {
      const even = channel.subscribe({ filter: ({ data }) => typeof data === 'number' && data % 2 === 0 })
      app.get('/even', (request, reply) => reply.sse(even))
    })
    const ids = await publishAll(1, 2, 3, 4)
    const clients = await Promise.all([0, 1, 2].map(index => read(t, `${url}/even`, ids[index])))
    ids.push(...await publishAll(5, 6))
    t.match(await take(clients[0] as typeof clients[0] & object, 3), [{ id: ids[1] }, { id: ids[3] }, { id: ids[5] }])
    t.match(await take(clients[1] as typeof clients[0] & object, 2), [{ id: ids[3] }, { id: ids[5] }])
    t.match(await take(clients[2] as typeof clients[0] & object, 2), [{ id: ids[3] }, { id: ids[5] }])
  })
})

t.test('a gap', async t => {
  t.test('is told when the history does not reach back, and all that is kept follows', async t => {
    const { read, publishAll } = await serveChannel(t, { history: { size: 3 } })
    const ids = await publishAll(1, 2, 3, 4, 5, 6)
    const client = await read(ids[0])
    t.strictSame(gapOf(await client.next()), { channel: 'news', reason: 'evicted', requested: ids[0], resumedAt: ids[2], id: ids[2] })
    ids.push(...await publishAll(7))
    t.match(await take(client, 4), ids.slice(3).map(id => ({ id })))
    t.match(await (await read(ids[3])).next(), { id: ids[4] }, 'not to a client that misses nothing')
    t.match(await (await read(ids[2])).next(), { event: 'gap' })
  })

  t.test('is told when what is missing is older than maxAge', async t => {
    mockTimers(t, ['Date'])
    const { port, publishAll } = await serveChannel(t, { history: { maxAge: 1_000 } })
    const [one = '', two = ''] = await publishAll(1, 2)
    mock.timers.tick(600)
    const [three = ''] = await publishAll(3)
    mock.timers.tick(400)
    const client = await connectTo(t, port, get('/', { 'last-event-id': one }))
    await client.until(`id: ${three}\ndata: 3\n\n`)
    t.match(client.received, `id: ${two}\nevent: gap\ndata: {"channel":"news","reason":"evicted","requested":"${one}","resumedAt":"${two}"}\n\n`)
    t.notMatch(client.received, 'data: 2')
    mock.timers.tick(600)
    const late = await connectTo(t, port, get('/', { 'last-event-id': one }))
    await late.until(`"resumedAt":"${three}"}\n\n`)
    t.notMatch(late.received, 'data: 3', 'while another client reads the channel')
  })

  t.test('is told when what is missing was more than maxBytes', async t => {
    const { read, publishAll } = await serveChannel(t, { history: { maxBytes: 100 } })
    const ids = await publishAll('a'.repeat(40), 'b'.repeat(40), 'c'.repeat(40))
    const client = await read(ids[0])
    t.match(await take(client, 2), [{ id: ids[1] }, { id: ids[2] }])
    ids.push(...await publishAll('d'.repeat(40)))
    t.match(gapOf(await (await read(ids[0])).next()), { reason: 'evicted', resumedAt: ids[1] })
  })

  t.test('is told where nothing is kept, but not to a client that has the newest event', async t => {
    const { read, publishAll } = await serveChannel(t, { history: false })
    const ids = await publishAll(1, 2)
    const up = await read(ids[1])
    const behind = await read(ids[0])
    t.match(gapOf(await behind.next()), { reason: 'evicted', requested: ids[0], resumedAt: ids[1], id: ids[1] })
    ids.push(...await publishAll(3))
    t.match(await up.next(), { id: ids[2] })
    t.match(await behind.next(), { id: ids[2] })
  })

  t.test('is told when the ID is ahead of the channel, and what comes now follows', async t => {
    const { read, publishAll } = await serveChannel(t)
    const [one = ''] = await publishAll(1)
    const ahead = one.replace('-1', '-5')
    const client = await read(ahead)
    t.match(gapOf(await client.next()), { reason: 'ahead', requested: ahead, resumedAt: one, id: one })
    const [two] = await publishAll(2)
    t.match(await client.next(), { id: two })
  })

  const strange = {
    'of another kind': 'rubbish',
    'without an offset': 'abc-',
    'with an offset below zero': 'abc--1',
    'with an offset of zeros before': 'abc-01',
    'with an offset that is not safe': 'abc-9007199254740993',
    'with a long epoch': 'abcdefghi-1',
    'of several channels': 'abcdE-1,efghE-2',
    'with what breaks lines': 'a%0ab',
    'with half a surrogate pair': 'abc\ud800',
    'that is long': 'x'.repeat(1_024)
  }

  for (const [title, id] of Object.entries(strange)) {
    t.test(`is told for an ID ${title}, and what comes now follows`, async t => {
      const { url, publishAll } = await serveChannel(t)
      const [one] = await publishAll(1)
      const client = await open(t, `${url}/?lastEventId=${id.includes('%') ? id.replace('%0a', '.') : encodeURIComponent(id.toWellFormed())}`)
      const gap = gapOf(await client.next())
      t.match(gap, { channel: 'news', reason: 'unknown', resumedAt: one, id: one })
      t.ok(gap.requested.length <= 128)
      t.ok(id.toWellFormed().startsWith(gap.requested.replace('.', '%0a')), gap.requested)
      const [two] = await publishAll(2)
      t.match(await client.next(), { id: two })
    })
  }

  t.test('is told for a header that cannot be an ID', async t => {
    const { read, publishAll } = await serveChannel(t)
    const [one] = await publishAll(1)
    for (const id of ['x'.repeat(1_025), 'x'.repeat(8_000)]) {
      t.strictSame(gapOf(await (await read(id)).next()), { channel: 'news', reason: 'unknown', requested: '', resumedAt: one, id: one })
    }
  })

  t.test('is not told for an empty header', async t => {
    const { port, publishAll } = await serveChannel(t)
    await publishAll(1)
    const client = await connectTo(t, port, get('/', { 'last-event-id': '' }))
    await client.until('\r\n\r\n')
    const [two] = await publishAll(2)
    await client.until('data: 2\n\n')
    t.match(client.received, `\r\n:\n\r\n${(`id: ${two}\ndata: 2\n\n`).length.toString(16)}\r\nid: ${two}\ndata: 2\n\n`)
  })

  t.test('is told when the history is lost with the process, and all that is kept follows', async t => {
    const first = await serveChannel(t)
    const [old = ''] = await first.publishAll('one', 'two', 'three')
    await first.app.close()
    const { read, publishAll } = await serveChannel(t)
    const ids = await publishAll('four', 'five')
    const client = await read(old)
    const start = `${ids[0]?.split('-')[0]}-0`
    t.strictSame(gapOf(await client.next()), { channel: 'news', reason: 'epoch', requested: old, resumedAt: start, id: start })
    t.match(await take(client, 2), ids.map(id => ({ id })))
  })

  t.test('passes every filter and map', async t => {
    const { url, publishAll } = await serveChannel(t, {}, {}, (app, channel) => {
      app.get('/none', (request, reply) => reply.sse(channel.subscribe({ filter: () => false, map: () => { throw new Error('not asked') } })))
    })
    const [one] = await publishAll(1)
    t.match(gapOf(await (await read(t, `${url}/none`, 'rubbish')).next()), { reason: 'unknown', requested: 'rubbish', resumedAt: one, id: one })
  })

  t.test('comes to an iteration as an event with its data', async t => {
    const { channel, publishAll } = await serveChannel(t)
    const [one] = await publishAll(1)
    const steps = new Steps(channel.subscribe({ from: 'rubbish' }))
    t.strictSame(await steps.next(), { id: one, event: 'gap', data: { channel: 'news', reason: 'unknown', requested: 'rubbish', resumedAt: one } })
    await steps.leave()
  })

  t.test('for an iteration may say any ID that it was given', async t => {
    const { channel } = await serveChannel(t, {}, { slow: 'latest', maxBuffer: 100 })
    const steps = await begun(new Steps(channel.subscribe({ from: 'a\nb' })))
    await publishAll(channel, ...'123456789')
    await setImmediate()
    t.match(await steps.next(), { event: 'gap', data: { requested: 'a\nb' } })
    await steps.leave()
  })
})

t.test('a history of the newest of each name', async t => {
  const LATEST: ChannelOptions = { history: { mode: 'latest' } }

  t.test('gives who comes back those that are newer than what it has, without a gap', async t => {
    const { channel, read } = await serveChannel(t, LATEST)
    const ids = []
    for (const [event, data] of [['a', 1], ['b', 2], ['a', 3], ['c', 4], ['a', 5]] as const) ids.push(await channel.publish({ event, data }))
    const newest = [{ id: ids[1], event: 'b', data: '2' }, { id: ids[3], event: 'c', data: '4' }, { id: ids[4], event: 'a', data: '5' }]
    for (const [index, expected] of [newest, newest.slice(1), newest.slice(1), newest.slice(2), []].entries()) {
      const client = await read(ids[index])
      const id = await channel.publish({ event: `live ${index}`, data: 'live' })
      const events = await take(client, expected.length + index + 1)
      t.match(events.slice(0, expected.length), expected)
      t.match(events.at(-1), { id })
      client.close()
    }
  })

  t.test('gives who begins with the earliest all of them', async t => {
    const { channel } = await serveChannel(t, LATEST)
    for (const [event, data] of [['a', 1], ['b', 2], ['a', 3]] as const) await channel.publish({ event, data })
    const readers = [new Steps(channel.subscribe({ from: 'earliest' })), new Steps(channel.subscribe({ from: 'earliest' }))]
    for (const steps of readers) t.match(await steps.take(2), [{ event: 'b', data: 2 }, { event: 'a', data: 3 }])
    const id = await channel.publish({ event: 'b', data: 4 })
    for (const steps of readers) t.match(await steps.next(), { id, data: 4 })
    t.match(await new Steps(channel.subscribe({ from: 'earliest' })).take(2), [{ event: 'a', data: 3 }, { event: 'b', data: 4 }])
  })

  t.test('gives who reads a part of it what is newer of that', async t => {
    const { channel, publishAll } = await serveChannel(t, LATEST)
    const [zero = ''] = await publishAll('zero')
    for (const event of ['a', 'b', 'c']) await channel.publish({ event, data: event })
    const steps = new Steps(channel.subscribe({ from: zero, filter: ({ event }) => event !== 'b' }))
    t.same(dataOf(await steps.take(2)), ['a', 'c'])
    await steps.leave()
  })

  t.test('keeps the newest size names', async t => {
    const { channel, read } = await serveChannel(t, { history: { mode: 'latest', size: 2 } })
    const ids = []
    for (const event of ['a', 'b', 'c']) ids.push(await channel.publish({ event }))
    const client = await read(await (async () => `${ids[0]?.split('-')[0]}-0`)())
    t.match(gapOf(await client.next()), { reason: 'evicted', resumedAt: ids[0] })
    t.match(await take(client, 2), [{ event: 'b' }, { event: 'c' }])
  })

  t.test('tells a gap for an ID of another epoch, and gives all that is kept', async t => {
    const { channel, read } = await serveChannel(t, LATEST)
    for (const event of ['a', 'b', 'a']) await channel.publish({ event })
    const client = await read('other-7')
    t.match(gapOf(await client.next()), { reason: 'epoch', requested: 'other-7' })
    t.match(await take(client, 2), [{ event: 'b' }, { event: 'a' }])
  })
})

t.test('several channels', async t => {
  async function serveSeveral (t: Test, options: ChannelOptions = {}) {
    const served = await serve(t, app => {
      for (const name of ['a', 'b']) app.sse.channel(name, options)
      app.sse.channel('c', options)
      app.get('/', (request, reply) => reply.sse(app.sse.subscribe(['a', 'b'])))
      app.get('/ac', (request, reply) => reply.sse(app.sse.subscribe(['a', 'c'])))
      app.get('/all', (request, reply) => reply.sse(app.sse.subscribe(['a', 'b', 'c'])))
      app.get('/a', (request, reply) => reply.sse(app.sse.subscribe(['a'])))
    })
    const { app } = served
    const [a, b, c] = ['a', 'b', 'c'].map(name => app.sse.channel(name)) as [Channel, Channel, Channel]
    return { ...served, a, b, c }
  }

  /** The ID of a client that has seen the first of a and of b. */
  async function seen (t: Test, { url, a, b }: Awaited<ReturnType<typeof serveSeveral>>): Promise<string> {
    const client = await read(t, url)
    await a.publish('a1')
    await b.publish('b1')
    const [, last] = await take(client, 2)
    client.close()
    return last?.id ?? ''
  }

  t.test('are resumed each where it was', async t => {
    const served = await serveSeveral(t)
    const id = await seen(t, served)
    const { a, b, url } = served
    await publishAll(a, 'a2')
    await publishAll(b, 'b2', 'b3')
    const client = await read(t, url, id)
    await publishAll(a, 'a3')
    const events = await take(client, 4)
    t.same(dataOf(events), ['a2', 'b2', 'b3', 'a3'])
    t.same(dataOf(await take(await read(t, url, events[1]?.id), 2)), ['b3', 'a3'].sort().reverse().sort((one, other) => one === 'a3' ? -1 : 1), 'from any event on')
  })

  t.test('are resumed from every event without loss or repetition, one after the other', async t => {
    const served = await serveSeveral(t)
    const { a, b, url } = served
    let id: string | undefined = await seen(t, served)
    await publishAll(a, 'a2', 'a3')
    await publishAll(b, 'b2', 'b3')
    const all = []
    for (let event = 0; event < 4; event++) {
      const client = await read(t, url, id)
      const next = await client.next()
      client.close()
      all.push(next?.data)
      id = next?.id
    }
    t.same(all, ['a2', 'a3', 'b2', 'b3'])
  })

  t.test('tell a gap with the IDs of their stream, before anything else of the channel that misses something', async t => {
    const served = await serveSeveral(t, { history: { size: 1 } })
    const { a, b, url } = served
    const id = await seen(t, served)
    await publishAll(a, 'a2')
    await publishAll(b, 'b2', 'b3')
    const client = await read(t, url, id)
    const events = await take(client, 3)
    const gap = gapOf(events.find(({ event }) => event === 'gap'))
    t.match(gap, { channel: 'b', reason: 'evicted' })
    t.equal(gap.requested, id, 'as the client said it')
    t.equal(gap.resumedAt, gap.id)
    t.same(dataOf(events.filter(({ event }) => event !== 'gap')), ['a2', 'b3'])
    t.equal(events.at(-1)?.data, 'b3')
  })

  t.test('tell of all their gaps, also to a client that is cut off after the first', async t => {
    const served = await serveSeveral(t, { history: { size: 1 } })
    const { a, b, url } = served
    let id: string | undefined = await seen(t, served)
    await publishAll(a, 'a2', 'a3')
    await publishAll(b, 'b2', 'b3')
    const told = new Set<string>()
    const rest = []
    for (let connection = 0; connection < 6; connection++) {
      const client = await read(t, url, id)
      await publishAll(served.c, 'nothing')
      const event = await Promise.race([client.next(), setImmediate(undefined).then(() => client.next())])
      client.close()
      id = event?.id
      if (event?.event === 'gap') for (const name of gapOf(event).channel.split(',')) told.add(name)
      else rest.push(event?.data)
      if (rest.length === 2) break
    }
    t.same([...told].sort(), ['a', 'b'])
    t.same(rest.sort(), ['a3', 'b3'])
  })

  t.test('that were not read before begin with what comes, and say so', async t => {
    const served = await serveSeveral(t)
    const id = await seen(t, served)
    const { a, b, c, url } = served
    await publishAll(a, 'a2')
    await publishAll(c, 'c1')
    const fewer = await read(t, `${url}/a`, id)
    t.match(gapOf(await fewer.next()), { reason: 'unknown', channel: 'a' })
    const other = await read(t, `${url}/ac`, id)
    const [one, two] = await take(other, 2)
    t.match([one, two].find(event => event?.event !== 'gap'), { data: 'a2' })
    t.match(gapOf([one, two].find(event => event?.event === 'gap')), { channel: 'c', reason: 'unknown', requested: id })
    await publishAll(b, 'b2')
    await publishAll(c, 'c2')
    t.match(await other.next(), { data: 'c2' })
  })

  t.test('are all unknown to an ID that is malformed anywhere', async t => {
    const served = await serveSeveral(t)
    const { url } = served
    const id = await seen(t, served)
    for (const bad of [`${id},x`, `${id},`, id.replace(',', ';'), id.slice(0, -2), 'rubbish']) {
      const client = await read(t, url, bad)
      const [first, second] = [gapOf(await client.next()), gapOf(await client.next())]
      t.same([first.reason, second.reason], ['unknown', 'unknown'], bad)
      t.same([first.requested, second.requested], [bad, bad])
      client.close()
    }
  })

  t.test('tell a gap to an ID of one of them alone', async t => {
    const served = await serveSeveral(t)
    await seen(t, served)
    const client = await read(t, served.url, await served.a.position())
    t.match(gapOf(await client.next()), { channel: 'b', requested: await served.a.position() })
  })

  t.test('may begin with the earliest, of all', async t => {
    const served = await serveSeveral(t)
    const { app, a, b } = served
    await publishAll(a, 'a1', 'a2')
    await publishAll(b, 'b1')
    const steps = new Steps(app.sse.subscribe(['b', 'a'], { from: 'earliest' }))
    t.same(dataOf(await steps.take(3)), ['a1', 'a2', 'b1'])
    await steps.leave()
  })

  t.test('that keep the newest of each name give those of each', async t => {
    const served = await serveSeveral(t, { history: { mode: 'latest' } })
    const id = await seen(t, served)
    const { a, b, url } = served
    for (const [channel, event, data] of [[a, 'x', 'a2'], [b, 'x', 'b2'], [a, 'x', 'a3'], [a, 'y', 'a4']] as const) await channel.publish({ event, data })
    const client = await read(t, url, id)
    await publishAll(b, 'b3')
    t.same(dataOf(await take(client, 4)), ['a3', 'a4', 'b2', 'b3'])
  })
})

t.test('the hand-over from history to what is published', async t => {
  t.test('has no hole and no double where events come while the history is read', async t => {
    const { backplane, channel, steps } = await faulty(t)
    const ids = await publishAll(channel, 1, 2, 3)
    const early = await begun(steps())
    const held = backplane.hold('read')
    const back = steps(ids[0])
    const first = back.next()
    await held.asked
    ids.push(...await publishAll(channel, 4, 5))
    held.release()
    t.match([await first, ...await back.take(3)], ids.slice(1).map(id => ({ id })))
    ids.push(...await publishAll(channel, 6))
    t.match(await back.next(), { id: ids[5] })
    t.match(await early.take(3), ids.slice(3).map(id => ({ id })))
    for (const each of [early, back]) await each.leave()
  })

  t.test('has none where events come before the channel has begun', async t => {
    const { backplane, channel, steps } = await faulty(t)
    const [zero] = await publishAll(channel, 1)
    const held = backplane.hold('read')
    const reader = steps(zero)
    const first = reader.next()
    await held.asked
    const ids = await publishAll(channel, 2, 3)
    held.release()
    t.match([await first, await reader.next()], ids.map(id => ({ id })))
    await reader.leave()
  })

  t.test('has none over several channels', async t => {
    const { backplane, app, channel } = await faulty(t)
    const other = app.sse.channel('other')
    await publishAll(channel, 'n1')
    await publishAll(other, 'o1')
    const reader = new Steps(app.sse.subscribe([channel, other]))
    const { next } = await reader.begin()
    await publishAll(channel, 'n2')
    const id = (await next)?.id
    await publishAll(other, 'o2')
    const back = new Steps(app.sse.subscribe([other, channel], { from: id ?? '' }))
    await reader.leave()
    const held = backplane.hold('read')
    const first = back.next()
    await held.asked
    await publishAll(channel, 'n3')
    await publishAll(other, 'o3')
    held.release()
    t.same(dataOf([await first, ...await back.take(2)]).sort(), ['n3', 'o2', 'o3'])
    await back.leave()
  })

  t.test('of a crowd reads the history once', async t => {
    const backplane = new FaultyBackplane()
    const { read, publishAll, channel } = await serveChannel(t, {}, { backplane })
    const ids = await publishAll(...Array.from({ length: 50 }, (_, index) => index))
    const clients = await Promise.all(ids.map(id => read(id)))
    ids.push(await channel.publish('live'))
    for (const [index, client] of clients.entries()) t.match(await take(client, 50 - index), ids.slice(index + 1).map(id => ({ id })))
    t.equal(backplane.count('read news 0'), 1)
    t.equal(backplane.count('subscribe news'), 1)
  })

  t.test('does not read what this process has seen itself', async t => {
    const { backplane, channel, steps } = await faulty(t)
    const early = await begun(steps())
    const ids = await publishAll(channel, 1, 2, 3)
    const back = steps(ids[0])
    t.match(await back.take(2), [{ id: ids[1] }, { id: ids[2] }])
    t.equal(backplane.count('read news 0'), 0)
    for (const each of [early, back]) await each.leave()
  })

  t.test('reads what lies before, and goes on with what this process has seen', async t => {
    const { channel, steps } = await faulty(t)
    const ids = await publishAll(channel, 1, 2, 3)
    const early = await begun(steps())
    ids.push(...await publishAll(channel, 4, 5))
    const back = steps(ids[0])
    t.match(await back.take(4), ids.slice(1).map(id => ({ id })))
    ids.push(...await publishAll(channel, 6))
    t.match(await back.next(), { id: ids[5] })
    for (const each of [early, back]) await each.leave()
  })

  t.test('begins with what this process has seen where the backplane keeps less', async t => {
    const { channel, steps, kept } = await faulty(t)
    const ids = await publishAll(channel, 1, 2)
    const early = await begun(steps())
    ids.push(...await publishAll(channel, 3, 4))
    kept.forget(3)
    const back = steps(ids[0])
    t.match(gapOf(await back.next()), { reason: 'evicted', requested: ids[0], resumedAt: ids[1] })
    t.match(await back.take(2), [{ id: ids[2] }, { id: ids[3] }])
    for (const each of [early, back]) await each.leave()
  })

  t.test('gives the earliest of what is kept where this process keeps less', async t => {
    const { channel, app, steps } = await faulty(t, { history: { size: 2 } })
    const early = await begun(steps())
    const ids = await publishAll(channel, 1, 2, 3, 4)
    const back = new Steps(app.sse.channel('news').subscribe({ from: ids[1] ?? '' }))
    t.match(await back.take(2), [{ id: ids[2] }, { id: ids[3] }])
    for (const each of [early, back]) await each.leave()
  })

  t.test('tells a gap where this process keeps nothing, even if the backplane does', async t => {
    const { channel, steps } = await faulty(t, { history: false })
    const early = await begun(steps())
    const ids = await publishAll(channel, 1, 2)
    const back = steps(ids[0])
    t.match(gapOf(await back.next()), { reason: 'evicted', resumedAt: ids[1] })
    ids.push(...await publishAll(channel, 3))
    t.match(await back.next(), { id: ids[2] })
    const earliest = steps('earliest')
    const { next } = await earliest.begin()
    ids.push(...await publishAll(channel, 4))
    t.match(await next, { id: ids[3] })
    for (const each of [early, back, earliest]) await each.leave()
  })
})

t.test('what the backplane does wrong', async t => {
  t.test('a hole is filled, in order', async t => {
    const { backplane, channel, kept, steps } = await faulty(t)
    const reader = await begun(steps())
    await publishAll(channel, 'one')
    kept.lose('two', 'three')
    await publishAll(channel, 'four')
    t.same(dataOf(await reader.take(4)), ['one', 'two', 'three', 'four'])
    t.equal(backplane.count('read news 1'), 1)
    await reader.leave()
  })

  t.test('a hole that was there while the last was filled is filled too', async t => {
    mockTimers(t, ['setTimeout'])
    const { backplane, channel, kept, steps } = await faulty(t)
    const reader = await begun(steps())
    kept.lose('one')
    const held = backplane.hold('read')
    await publishAll(channel, 'two')
    await held.asked
    await publishAll(channel, 'three')
    kept.lose('four')
    await publishAll(channel, 'five')
    held.release()
    t.same(dataOf(await reader.take(5)), ['one', 'two', 'three', 'four', 'five'])
    await reader.leave()
  })

  t.test('a hole that cannot be filled any more is told, and all that is kept follows', async t => {
    const { app, channel, kept, steps } = await faulty(t)
    const reader = await begun(steps())
    const [one] = await publishAll(channel, 'one')
    kept.lose('two', 'three', 'four')
    kept.forget(3)
    await publishAll(channel, 'five')
    t.match(await reader.take(4), [
      { data: 'one' },
      { id: 'first-3', event: 'gap', data: { channel: 'news', reason: 'evicted', requested: one, resumedAt: 'first-3' } },
      { data: 'four' },
      { data: 'five' }
    ])
    t.match(app.sse.stats().gaps, { evicted: 1 })
    await reader.leave()
  })

  t.test('doubles are left out', async t => {
    const { channel, kept, steps } = await faulty(t)
    const reader = await begun(steps())
    await publishAll(channel, 'one', 'two')
    kept.bringData(1, 'one again')
    kept.bringData(2, 'two again')
    await publishAll(channel, 'three')
    t.same(dataOf(await reader.take(3)), ['one', 'two', 'three'])
    await reader.leave()
  })

  t.test('after an interruption what was missed is read', async t => {
    const { channel, kept, steps } = await faulty(t)
    const reader = await begun(steps())
    await publishAll(channel, 'one')
    kept.lose('two', 'three')
    kept.interrupt()
    t.same(dataOf(await reader.take(3)), ['one', 'two', 'three'])
    await reader.leave()
  })

  t.test('an interruption in which nothing was missed is not noticed', async t => {
    const { backplane, channel, kept, steps } = await faulty(t)
    const reader = await begun(steps())
    await publishAll(channel, 'one')
    kept.interrupt()
    await setImmediate()
    await publishAll(channel, 'two')
    t.same(dataOf(await reader.take(2)), ['one', 'two'])
    t.equal(backplane.count('read'), 2)
    await reader.leave()
  })

  t.test('after an interruption while it is read it is read once more', async t => {
    const { backplane, channel, kept, steps } = await faulty(t)
    const reader = await begun(steps())
    kept.lose('one')
    const held = backplane.hold('read')
    kept.interrupt()
    await held.asked
    kept.lose('two')
    kept.interrupt()
    held.release()
    await setImmediate()
    t.equal(backplane.count('read'), 3)
    await publishAll(channel, 'three')
    t.same(dataOf(await reader.take(3)), ['one', 'two', 'three'])
    await reader.leave()
  })

  t.test('after an interruption while the channel begins it is read once more', async t => {
    const { backplane, channel, kept, steps } = await faulty(t)
    const held = backplane.hold('read')
    const reader = steps()
    const first = reader.next()
    await held.asked
    kept.lose('one')
    kept.interrupt()
    held.release()
    await setImmediate()
    t.equal(backplane.count('read'), 2)
    await publishAll(channel, 'two')
    t.same(dataOf([await first, await reader.next()]), ['one', 'two'])
    await reader.leave()
  })

  t.test('a new epoch is told to streams that are open, and all that it has follows', async t => {
    const { app, channel, kept, steps } = await faulty(t)
    const reader = await begun(steps())
    const ids = await publishAll(channel, 'one', 'two')
    kept.renew('second')
    ids.push(...await publishAll(channel, 'three', 'four'))
    t.match(await reader.take(5), [
      { id: ids[0] },
      { id: ids[1] },
      { id: 'second-0', event: 'gap', data: { channel: 'news', reason: 'epoch', requested: ids[1], resumedAt: 'second-0' } },
      { id: 'second-1', data: 'three' },
      { id: 'second-2', data: 'four' }
    ])
    t.match(app.sse.stats().gaps, { epoch: 1 })
    await reader.leave()
  })

  t.test('a new epoch is seen after an interruption too', async t => {
    const { channel, kept, steps } = await faulty(t)
    const reader = await begun(steps())
    await publishAll(channel, 'one')
    kept.renew('second')
    kept.lose('two')
    kept.interrupt()
    t.match(await reader.take(3), [{ id: 'first-1' }, { id: 'second-0', event: 'gap', data: { reason: 'epoch' } }, { id: 'second-1', data: 'two' }])
    await reader.leave()
  })

  t.test('a new epoch that continues the one before has no gap', async t => {
    const { app, channel, kept, steps } = await faulty(t)
    const reader = await begun(steps())
    await publishAll(channel, 'one', 'two')
    kept.lose('three')
    kept.renew('second', 3)
    await publishAll(channel, 'four')
    t.match(await reader.take(4), [{ id: 'first-1' }, { id: 'first-2' }, { id: 'second-3', data: 'three' }, { id: 'second-4', data: 'four' }])
    t.match(app.sse.stats().gaps, { epoch: 0, evicted: 0 })
    const back = steps('first-1')
    t.same(dataOf(await back.take(3)), ['two', 'three', 'four'], 'nor for who comes back with an ID of that')
    for (const each of [reader, back]) await each.leave()
  })

  t.test('a new epoch that has lost events of the one before has a gap', async t => {
    const { channel, kept, steps } = await faulty(t)
    const reader = await begun(steps())
    await publishAll(channel, 'one', 'two', 'three')
    kept.renew('second', 2)
    await publishAll(channel, 'another three')
    t.match(await reader.take(5), [
      { id: 'first-1' }, { id: 'first-2' }, { id: 'first-3' },
      { id: 'second-2', event: 'gap', data: { reason: 'epoch', requested: 'first-3', resumedAt: 'second-2' } },
      { id: 'second-3', data: 'another three' }
    ])
    const lost = steps('first-3')
    t.match(await lost.take(2), [{ id: 'second-2', event: 'gap', data: { reason: 'epoch', requested: 'first-3' } }, { id: 'second-3' }])
    const kept2 = steps('first-2')
    t.match(await kept2.next(), { id: 'second-3' }, 'but not for who has not seen them')
    for (const each of [reader, lost, kept2]) await each.leave()
  })

  t.test('a new epoch that continues the one before, but has too little of it, has a gap', async t => {
    const { channel, kept, steps } = await faulty(t)
    const reader = await begun(steps())
    await publishAll(channel, 'one')
    kept.lose('two', 'three')
    kept.renew('second', 3)
    kept.forget(2)
    await publishAll(channel, 'four')
    t.match(await reader.take(4), [
      { id: 'first-1' },
      { id: 'second-2', event: 'gap', data: { reason: 'evicted', requested: 'first-1', resumedAt: 'second-2' } },
      { id: 'second-3' }, { id: 'second-4' }
    ])
    await reader.leave()
  })

  t.test('epochs that continue each other are known all the way', async t => {
    mockTimers(t, ['setTimeout'])
    const { channel, kept, steps } = await faulty(t)
    const reader = await begun(steps())
    await publishAll(channel, 'one')
    kept.renew('second', 1)
    await publishAll(channel, 'two')
    kept.renew('third', 2)
    await publishAll(channel, 'three')
    t.match(await reader.take(3), [{ id: 'first-1' }, { id: 'second-2' }, { id: 'third-3' }])
    const back = steps('first-1')
    t.same(dataOf(await back.take(2)), ['two', 'three'])
    for (const each of [reader, back]) await each.leave()
  })

  t.test('a new epoch reaches streams over several channels and those with a filter', async t => {
    const { app, channel, kept } = await faulty(t)
    const other = app.sse.channel('other')
    const several = await begun(new Steps(app.sse.subscribe([channel, other])))
    const none = await begun(new Steps(channel.subscribe({ filter: ({ data }) => data === 'two' })))
    await publishAll(channel, 'one')
    kept.renew('second')
    await publishAll(channel, 'two')
    t.match(await several.take(3), [{ data: 'one' }, { event: 'gap', data: { channel: 'news', reason: 'epoch' } }, { data: 'two' }])
    t.match(await none.take(2), [{ id: 'second-0', event: 'gap', data: { channel: 'news', reason: 'epoch' } }, { id: 'second-1' }])
    for (const each of [several, none]) await each.leave()
  })

  t.test('a new epoch reaches the clients of streams, between what was before and what comes after', async t => {
    const backplane = new FaultyBackplane()
    const { read, channel, app } = await serveChannel(t, {}, { backplane })
    const kept = backplane.of('news')
    const clients = [await read(), await read()]
    const before = channel.publish('one')
    kept.renew('second', 1)
    kept.renew('third')
    await Promise.all([before, channel.publish('two')])
    for (const client of clients) {
      const [one, gap, two] = await take(client, 3)
      t.match([one, two], [{ id: 'first-1', data: 'one' }, { id: 'third-1', data: 'two' }])
      t.strictSame(gapOf(gap), { channel: 'news', reason: 'epoch', requested: 'first-1', resumedAt: 'third-0', id: 'third-0' })
    }
    t.match(app.sse.stats().gaps, { epoch: 2 })
    kept.renew('fourth')
    kept.interrupt()
    for (const client of clients) t.match(gapOf(await client.next()), { reason: 'epoch', requested: 'third-1', resumedAt: 'fourth-0' })
    t.match(app.sse.stats().gaps, { epoch: 4 })
  })

  t.test('a message of an epoch that is over is left out, and the backplane is not asked for ever', async t => {
    const { backplane, channel, kept, steps } = await faulty(t)
    const reader = await begun(steps())
    await publishAll(channel, 'one')
    let asked = 0
    const { read } = backplane
    backplane.read = async (name, after) => {
      // Lets the test go on where it is asked for ever.
      if (++asked > 100) throw new Error('asked for ever')
      return read.call(backplane, name, after)
    }
    kept.bringData(7, 'of yesterday', 'over')
    await setImmediate()
    t.ok(asked < 10, `asked ${asked} times`)
    await publishAll(channel, 'two')
    await setImmediate()
    t.same(dataOf(await reader.take(1)), ['one'])
    const { next } = await reader.begin()
    t.match(await Promise.race([next, setImmediate()]), { data: 'two' })
    await reader.leave()
  })

  t.test('a message that cannot be read yet is brought when it can, for which the backplane is asked again after a while', async t => {
    mockTimers(t, ['setTimeout'])
    const { backplane, channel, kept, steps } = await faulty(t)
    const reader = await begun(steps())
    await publishAll(channel, 'one')
    t.match(await reader.next(), { data: 'one' })
    kept.bringData(3, 'three')
    await setImmediate()
    t.equal(backplane.count('read'), 2)
    kept.lose('two', 'three')
    mock.timers.tick(1_000)
    t.same(dataOf(await reader.take(2)), ['two', 'three'])
    t.equal(backplane.count('read'), 3)
    kept.bringData(7, 'seven')
    await setImmediate()
    t.equal(backplane.count('read'), 4)
    await reader.leave()
    mock.timers.tick(1_000)
    await setImmediate()
    t.equal(backplane.count('read'), 4, 'but not when nobody reads any more')
  })

  t.test('an epoch that comes back between two reads doubles nothing', async t => {
    const { backplane, channel, kept, steps } = await faulty(t)
    const reader = await begun(steps())
    await publishAll(channel, 'one', 'two')
    const held = backplane.hold('read')
    kept.renew('other')
    kept.interrupt()
    await held.asked
    kept.renew('first')
    for (const data of ['one', 'two', 'three']) kept.lose(data)
    held.release()
    await setImmediate()
    await publishAll(channel, 'four')
    t.same(dataOf(await reader.take(4)), ['one', 'two', 'three', 'four'])
    await reader.leave()
  })

  t.test('more than is kept of what comes early is read again', async t => {
    mockTimers(t, ['setTimeout'])
    const { backplane, kept, steps } = await faulty(t, { history: { size: 20_000 } })
    const held = backplane.hold('read')
    const reader = steps()
    const first = reader.next()
    await held.asked
    const all = Array.from({ length: 10_050 }, (_, index) => String(index))
    for (const data of all) kept.publish({ event: '', data, isJson: false, isEnd: false })
    held.release()
    t.equal((await first)?.data, '0')
    t.same(dataOf(await reader.take(all.length - 1)), all.slice(1))
    t.equal(backplane.count('read'), 2)
    await reader.leave()
  })

  t.test('an end that nobody was told of is found', async t => {
    const { backplane, channel, kept, steps } = await faulty(t)
    const reader = await begun(steps())
    await publishAll(channel, 'one')
    kept.lose('two')
    kept.isDeaf = true
    await channel.close()
    kept.interrupt()
    t.same(dataOf(await reader.rest()), ['one', 'two'])
    t.equal(backplane.count('unsubscribe'), 1)
  })

  t.test('an end whose message is not kept is found', async t => {
    const { channel, kept, steps } = await faulty(t)
    const reader = await begun(steps())
    await publishAll(channel, 'one')
    kept.isEnded = true
    kept.interrupt()
    t.same(dataOf(await reader.rest()), ['one'])
  })

  t.test('an end in a new epoch is found after what it has', async t => {
    const { channel, kept, steps } = await faulty(t)
    const reader = await begun(steps())
    await publishAll(channel, 'one')
    kept.renew('second')
    kept.lose('two')
    kept.isDeaf = true
    await channel.close()
    kept.interrupt()
    t.match(await reader.rest(), [{ data: 'one' }, { event: 'gap' }, { data: 'two' }])
  })

  t.test('a new epoch that is seen first by who comes back is told all the same', async t => {
    const { channel, kept, steps } = await faulty(t)
    await publishAll(channel, 'one')
    const reader = await begun(steps())
    kept.renew('second')
    kept.lose('two')
    const back = steps('earliest')
    const { next } = await back.begin()
    kept.interrupt()
    t.match(await next, { id: 'second-1', data: 'two' })
    t.match(await reader.take(2), [{ event: 'gap', data: { reason: 'epoch' } }, { data: 'two' }])
    const later = steps('earliest')
    t.match(await later.next(), { data: 'two' })
    for (const each of [reader, back, later]) await each.leave()
  })
})

t.test('a backplane that is away', async t => {
  /** Lets the time go on to the next attempt, which has been set by then. */
  async function retry (): Promise<void> {
    await setImmediate()
    mock.timers.tick(1_000)
    await setImmediate()
  }

  t.test('lets clients wait that come meanwhile, with their headers sent', async t => {
    const backplane = new FaultyBackplane()
    backplane.setAway(true)
    const { port, channel, app } = await serveChannel(t, {}, { backplane })
    mockTimers(t, ['setTimeout'])
    const client = await connectTo(t, port, get('/'))
    while (backplane.count('subscribe') === 0) await setImmediate()
    t.equal(app.sse.stats().backplane, 'degraded')
    await t.rejects(channel.publish('x'), { code: 'FST_ERR_SSE_BACKPLANE' })
    mock.timers.tick(100)
    t.match(await client.until('\r\n\r\n'), /^HTTP\/1.1 200 OK/)
    backplane.setAway(false)
    await retry()
    const id = await channel.publish('back')
    await client.until(`id: ${id}\ndata: back\n\n`)
  })

  t.test('keeps those warm that wait, for whom nothing waits yet', async t => {
    const backplane = new FaultyBackplane()
    const { port, channel, app, publishAll } = await serveChannel(t, {}, { backplane, prime: 0, heartbeat: 20 })
    const held = backplane.hold('read')
    const steps = new Steps(channel)
    const { next } = await steps.begin()
    const client = await connectTo(t, port, get('/', {}, '1.0'))
    await client.until('\r\n\r\n:\n:\n:\n')
    t.match(app.sse.stats().channels, { news: { subscribers: 2, events: 0, queued: 0 } })
    held.release()
    await setImmediate()
    const [id] = await publishAll('one')
    t.match(await next, { id })
    await client.until(`id: ${id}\n`)
    await steps.leave()
  })

  t.test('is asked again until it can be subscribed to, and read', async t => {
    mockTimers(t, ['setTimeout'])
    const { backplane, channel, steps } = await faulty(t)
    backplane.setAway(true)
    const reader = await begun(steps())
    await retry()
    await retry()
    t.equal(backplane.count('subscribe'), 3)
    const held = backplane.hold('subscribe')
    backplane.setAway(false)
    await retry()
    await held.asked
    backplane.setAway(true)
    held.release()
    await retry()
    t.equal(backplane.count('read'), 2)
    backplane.setAway(false)
    await retry()
    t.equal(backplane.count('read'), 3)
    await publishAll(channel, 'one')
    t.match(await reader.next(), { data: 'one' })
    await reader.leave()
  })

  t.test('is asked again for a hole', async t => {
    mockTimers(t, ['setTimeout'])
    const { backplane, channel, kept, steps } = await faulty(t)
    const reader = await begun(steps())
    kept.lose('one')
    backplane.setAway(true)
    kept.interrupt()
    await retry()
    await retry()
    backplane.setAway(false)
    await retry()
    await publishAll(channel, 'two')
    t.same(dataOf(await reader.take(2)), ['one', 'two'])
    await reader.leave()
  })

  t.test('is not asked any more when nobody waits for it', async t => {
    mockTimers(t, ['setTimeout'])
    const { backplane, steps, app } = await faulty(t)
    backplane.setAway(true)
    const reader = steps()
    const { next } = await reader.begin()
    await reader.leave()
    await retry()
    await retry()
    t.equal(backplane.count('subscribe'), 1)
    t.equal(await next, undefined, 'who left is not told of an error')
    t.same(app.sse.stats().channels, {})
  })

  t.test('does not hide why an iteration was ended', async t => {
    mockTimers(t, ['setTimeout'])
    const { backplane, channel } = await faulty(t)
    backplane.setAway(true)
    const controller = new AbortController()
    const { next } = await new Steps(channel.subscribe({ signal: controller.signal })).begin()
    const reason = new Error('enough')
    controller.abort(reason)
    await retry()
    await t.rejects(next, reason)
  })

  t.test('is not asked any more by a hole of a channel that nobody reads', async t => {
    mockTimers(t, ['setTimeout'])
    const { backplane, kept, steps } = await faulty(t)
    const reader = await begun(steps())
    backplane.setAway(true)
    kept.interrupt()
    await setImmediate()
    await reader.leave()
    await retry()
    await retry()
    t.equal(backplane.count('read'), 2)
  })

  t.test('takes the subscription back of who left while it was made', async t => {
    const { backplane, kept, steps } = await faulty(t)
    const held = backplane.hold('subscribe')
    const reader = steps()
    const first = reader.next()
    await held.asked
    await reader.leave()
    held.release()
    t.equal(await first, undefined)
    await setImmediate()
    t.equal(kept.listeners.size, 0)
  })

  t.test('takes the subscriptions back of who left several channels while they were made', async t => {
    const { app, backplane, channel } = await faulty(t)
    const other = app.sse.channel('other')
    const held = backplane.hold('read')
    const { iterator } = new Steps(app.sse.subscribe([channel, other]))
    const first = iterator.next()
    await held.asked
    await iterator.return?.()
    held.release()
    t.equal((await first).done, true)
    await setImmediate()
    t.same([backplane.of('news').listeners.size, backplane.of('other').listeners.size], [0, 0])
    t.same(app.sse.stats().channels, {})
  })

  t.test('is subscribed to once, and released with the last reader', async t => {
    const { backplane, kept, steps } = await faulty(t)
    const readers = [await begun(steps()), await begun(steps())]
    t.equal(kept.listeners.size, 1)
    await readers[0]?.leave()
    t.equal(kept.listeners.size, 1)
    await readers[1]?.leave()
    t.equal(kept.listeners.size, 0)
    const again = await begun(steps())
    t.equal(backplane.count('subscribe'), 2)
    await again.leave()
  })

  t.test('for good ends those who wait for it with its error', async t => {
    const { backplane, steps } = await faulty(t)
    backplane.setState('down')
    backplane.setAway(true)
    backplane.state = 'down'
    await t.rejects(steps().next(), { code: 'FST_ERR_SSE_BACKPLANE' })
  })

  t.test('for good is an HTTP error for a stream', async t => {
    const backplane = new FaultyBackplane()
    const { url } = await serveChannel(t, {}, { backplane })
    backplane.setAway(true)
    backplane.state = 'down'
    const response = await fetch(url)
    t.equal(response.status, 503)
    t.match(await response.json(), { code: 'FST_ERR_SSE_BACKPLANE' })
  })

  t.test('is no reason to wait where it fails otherwise', async t => {
    const backplane = new FaultyBackplane()
    const { url, channel, app } = await serveChannel(t, {}, { backplane })
    backplane.failure = new Error('broken')
    const response = await fetch(url)
    t.equal(response.status, 500)
    t.match(await response.json(), { message: 'broken' })
    t.equal(channel.subscribers, 0)
    t.same(app.sse.stats().channels, {})
  })

  t.test('fails who comes back where the history cannot be read, and no other', async t => {
    const { backplane, channel, steps } = await faulty(t)
    await publishAll(channel, 'one', 'two')
    const reader = await begun(steps())
    backplane.failure = new Error('broken')
    await t.rejects(steps('first-1').next(), { message: 'broken' })
    backplane.failure = undefined
    await publishAll(channel, 'three')
    t.match(await reader.next(), { data: 'three' })
    const back = steps('first-1')
    t.same(dataOf(await back.take(2)), ['two', 'three'], 'and is asked again for the next')
    for (const each of [reader, back]) await each.leave()
  })

  t.test('fails those who read where a hole cannot be filled for another reason', async t => {
    const { app, backplane, channel, kept, steps } = await faulty(t)
    const readers = [
      await begun(steps()),
      await begun(new Steps(channel.subscribe({ filter: () => true }))),
      await begun(new Steps(app.sse.subscribe([channel, app.sse.channel('other')])))
    ]
    await publishAll(channel, 'one')
    for (const reader of readers) t.match(await reader.next(), { data: 'one' })
    kept.lose('two')
    backplane.failure = new Error('broken')
    kept.interrupt()
    for (const reader of readers) await t.rejects(reader.next(), { message: 'broken' })
    backplane.failure = undefined
    t.same(app.sse.stats().channels, {})
    const back = steps('first-1')
    t.match(await back.next(), { data: 'two' })
    await back.leave()
  })
})

t.test('positions', async t => {
  const epochs = fc.stringMatching(/^[0-9A-Za-z]{1,8}$/)
  const positions = fc.record({ epoch: epochs, offset: fc.maxSafeNat() })

  t.test('are read from the IDs that are made of them', async t => {
    fc.assert(fc.property(positions, position => {
      const id = toId(position)
      t.ok(/^[A-Za-z0-9._~,;=-]{1,128}$/.test(id))
      t.same(fromId(id), position)
    }), { numRuns: 200 })
  })

  t.test('of several channels are read from the cursor that is made of them', async t => {
    fc.assert(fc.property(fc.uniqueArray(fc.string({ minLength: 1 }), { minLength: 1, maxLength: MAX_CHANNELS_IN_CURSOR }), fc.infiniteStream(positions), (names, stream) => {
      const tags = tagsOf(names)
      const all = names.map(() => stream.next().value)
      t.same([...fromCursor(toCursor(tags, all))], tags.map((tag, index) => [tag, all[index]]))
    }), { numRuns: 200 })
  })

  t.test('of six channels fit into 128 bytes, a million millions of events long', async t => {
    const tags = tagsOf(['a', 'b', 'c', 'd', 'e', 'f'])
    t.ok(toCursor(tags, tags.map(() => ({ epoch: 'abcdef', offset: 1e12 }))).length <= 128)
  })

  t.test('of channels whose tags would be the same are told apart', async t => {
    const tags = new Map<string, string>()
    for (let n = 0; ; n++) {
      const name = `channel ${n}`
      const [tag = ''] = tagsOf([name])
      const other = tags.get(tag)
      tags.set(tag, name)
      if (other === undefined) continue
      const [first, second] = tagsOf([other, name])
      t.equal(first, tag)
      t.not(second, first)
      t.match(second, /^[0-9A-Za-z]{4}$/)
      break
    }
  })

  for (const id of ['', '-1', 'a', 'a-', 'a-01', 'a--1', 'a-1.5', 'a-1 ', ' a-1', 'a-1\n', 'a_b-1', 'abcdefghi-1', 'a-9007199254740992', 'a-99999999999999999']) {
    t.test(`are not in ${JSON.stringify(id)}`, async t => { t.equal(fromId(id), undefined) })
  }

  for (const cursor of ['', 'abcd', 'abcdE-', 'abcdE-1,', ',abcdE-1', 'abcdE-1;efghE-1', 'abcE-1', 'abcdE-zzzzzzzzzzz', 'abcdE-A', 'abcdE-1 ']) {
    t.test(`of several channels are not in ${JSON.stringify(cursor)}`, async t => { t.equal(fromCursor(cursor).size, 0) })
  }
})
