import t, { type Test } from 'tap'
import { EventEmitter, on, once } from 'node:events'
import { connect as connectHttp2 } from 'node:http2'
import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { mock } from 'node:test'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { createParser } from 'eventsource-parser'
import { request } from 'undici'
import Fastify, { type FastifyInstance, type FastifyReply } from 'fastify'
import ssePlugin from '../plugin/index'
import type { PluginOptions, Source, SseOptions, StreamContext } from '../plugin/types'
import { EVENT_SOURCE, open } from './helpers/client'
import { deferred } from './helpers/deferred'
import { readElsewhere } from './helpers/elsewhere'
import { serve } from './helpers/serve'
import { connectTo, get } from './helpers/socket'

const CLOSED = 'event stream closed'
const STILL_RUNS = 'the source of a closed event stream still runs: it should heed its signal'
const never = new Promise<never>(() => {})

function serveSource (t: Test, source: Source, plugin: PluginOptions = {}, routes: (app: FastifyInstance) => void = () => {}) {
  return serve(t, app => {
    app.get('/', (request, reply) => reply.sse(source))
    app.post('/', (request, reply) => reply.sse(source))
    app.get('/alive', async () => 'alive')
    routes(app)
  }, { plugin, fastify: { pluginTimeout: 0 } })
}

/** The whole body of a stream that ends, as it goes over the wire. */
async function wire (t: Test, source: Source, options?: PluginOptions): Promise<string> {
  const { url } = await serveSource(t, source, options)
  return (await request(url)).body.text()
}

/** Settles when a number does not change any more. */
async function quiet (value: () => number): Promise<void> {
  for (let last = value(), same = 0; same < 50; same = last === value() ? same + 1 : 0) {
    last = value()
    await setTimeout(1)
  }
}

/** Waits as sources do that heed their signal. */
async function aborted (signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, 'abort')
}

t.test('never hijacked: the response goes the way of any other', async t => {
  t.test('onSend hooks run before the head is sent, and onResponse once the stream has ended', async t => {
    const responded = deferred()
    let streaming = true
    const { url, log } = await serve(t, app => {
      app.addHook('onSend', async (request, reply) => {
        await setImmediate()
        reply.header('set-cookie', 'session=1')
      })
      app.addHook('onResponse', async () => {
        t.equal(streaming, false)
        responded.resolve()
      })
      app.get('/', async (request, reply) => reply.header('x-own', 'yes').sse(async function * () {
        yield 'one'
        await setTimeout(5)
        streaming = false
      }))
    })
    const stream = await open(t, url)
    t.match(Object.fromEntries(stream.response.headers), { 'set-cookie': 'session=1', 'x-own': 'yes' })
    t.match(await stream.rest(), [{ data: 'one' }])
    await responded.promise
    t.match(await log.find('request completed'), { res: { statusCode: 200 } })
  })

  t.test('the headers are those of an event stream, whatever the client accepts', async t => {
    const { url } = await serveSource(t, ['one'])
    for (const accept of ['text/event-stream', 'application/json', '*/*']) {
      const { statusCode, headers, body } = await request(url, { headers: { accept } })
      t.equal(statusCode, 200)
      t.match(headers, {
        'content-type': 'text/event-stream',
        'cache-control': 'no-cache, no-store, no-transform',
        'x-accel-buffering': 'no'
      })
      t.equal(await body.text(), 'data: one\n\n')
    }
  })

  t.test('a header that the handler has set is kept', async t => {
    const { url } = await serve(t, app => app.get('/', (request, reply) =>
      reply.header('cache-control', 'no-cache').type('text/event-stream; charset=utf-8').sse(['one'])))
    const { headers, body } = await request(url)
    t.match(headers, { 'cache-control': 'no-cache', 'content-type': 'text/event-stream; charset=utf-8' })
    await body.dump()
  })

  t.test('reply.sse gives the reply, for sync and async handlers, returned or not', async t => {
    const { url } = await serve(t, app => {
      app.get('/sync', (request, reply) => reply.sse(['sync']))
      app.get('/async', async (request, reply) => reply.sse(['async']))
      app.get('/void', (request, reply) => { t.equal(reply.sse(['void']), reply) })
      app.get('/late', async (request, reply) => {
        await setTimeout(5)
        return reply.sse(['late'])
      })
    })
    for (const path of ['sync', 'async', 'void', 'late']) {
      t.match(await (await open(t, `${url}/${path}`)).rest(), [{ data: path }])
    }
  })
})

t.test('the response is opened', async t => {
  t.test('by the first event, if it comes at once: nothing goes before it', async t => {
    t.equal(await wire(t, ['one'], { prime: 60_000 }), 'data: one\n\n')
  })

  t.test('after the prime window, with a first byte behind the headers, if no event comes', async t => {
    const { port } = await serveSource(t, async function * ({ signal }) { await aborted(signal) })
    const client = await connectTo(t, port, get('/'))
    t.match(await client.until('\r\n2\r\n:\n\r\n'), /^HTTP\/1.1 200 OK\r\n/)
  })

  t.test('at once where prime is 0, whatever the source does', async t => {
    const release = deferred()
    const { url } = await serveSource(t, async () => {
      await release.promise
      throw new Error('too late for an HTTP error')
    }, { prime: 0 })
    const stream = await open(t, url)
    t.equal(stream.response.status, 200)
    release.resolve()
    await t.rejects(stream.next())
  })

  t.test('not before a long prime is over: a late error is still an HTTP error', async t => {
    const { url } = await serveSource(t, async function * () {
      await setTimeout(250)
      throw Object.assign(new Error('late'), { statusCode: 503 })
    }, { prime: 60_000 })
    t.equal((await request(url)).statusCode, 503)
  })

  t.test('with the reconnection time in the first block, not in a block of its own', async t => {
    t.equal(await wire(t, ['one', 'two'], { retry: 5000 }), 'retry: 5000\ndata: one\n\ndata: two\n\n')
    t.equal(await wire(t, ['one'], { retry: 0 }), 'retry: 0\ndata: one\n\n')
  })

  t.test('with the reconnection time before the first byte, if no event comes', async t => {
    const { url } = await serveSource(t, async function * () {
      await setTimeout(1)
      yield 'one'
    }, { prime: 0, retry: 5000 })
    t.equal(await (await request(url)).body.text(), 'retry: 5000\n:\ndata: one\n\n')
  })

  t.test('with a reconnection time drawn anew for each connection', async t => {
    const { url } = await serveSource(t, ['one'], { retry: { min: 1000, max: 2000 } })
    const times = []
    for (let i = 0; i < 20; i++) times.push(Number(/^retry: (\d+)\n/.exec(await (await request(url)).body.text())?.[1]))
    t.ok(times.every(time => time >= 1000 && time <= 2000 && Number.isInteger(time)), times.join())
    t.ok(new Set(times).size > 1, times.join())
  })

  t.test('once: an event after the prime window has no first byte of its own', async t => {
    t.equal(await wire(t, async function * () {
      await setTimeout(150)
      yield 'one'
      await setTimeout(150)
      yield 'two'
    }), ':\ndata: one\n\ndata: two\n\n')
  })
})

t.test('an error before the headers is an HTTP error', async t => {
  t.test('with its status, in JSON, without the headers of a stream, with those of the handler', async t => {
    const { url } = await serve(t, app => app.get('/', (request, reply) => reply.header('x-own', 'yes').sse(async function * () {
      await setTimeout(5)
      throw Object.assign(new Error('no such room'), { statusCode: 404 })
    })))
    const { statusCode, headers, body } = await request(url, { headers: EVENT_SOURCE })
    t.equal(statusCode, 404)
    t.same(await body.json(), { statusCode: 404, error: 'Not Found', message: 'no such room' })
    t.match(headers['content-type'], 'application/json')
    t.equal(headers['x-own'], 'yes')
    t.equal(headers['cache-control'], undefined)
    t.equal(headers['x-accel-buffering'], undefined)
  })

  t.test('that the error handler of the app answers', async t => {
    const { url } = await serveSource(t, async function * () { throw new Error('broken') }, {}, app => {
      app.setErrorHandler((error: Error, request, reply) => reply.code(502).type('text/plain').send(`handled: ${error.message}`))
    })
    const { statusCode, headers, body } = await request(url)
    t.equal(statusCode, 502)
    t.match(headers['content-type'], 'text/plain')
    t.equal(await body.text(), 'handled: broken')
  })

  for (const thrown of ['text', 42, null, undefined, Symbol('sign'), { reason: 'none' }, Object.create(null)]) {
    t.test(`also if it is no Error: ${typeof thrown === 'symbol' ? 'a symbol' : JSON.stringify(thrown)}`, async t => {
      const { url } = await serveSource(t, async function * () { throw thrown })
      const { statusCode, body } = await request(url)
      t.equal(statusCode, 500)
      t.match(await body.json(), { statusCode: 500, error: 'Internal Server Error' })
    })
  }

  t.test('and the connection can be used again', async t => {
    const { port } = await serveSource(t, async function * () { throw new Error('broken') })
    const client = await connectTo(t, port, get('/'))
    await client.until('"broken"}')
    client.send(get('/alive'))
    await client.until('\r\n\r\nalive')
  })
})

t.test('a source that ends without an event', async t => {
  for (const [kind, source] of Object.entries({ 'an empty array': [], 'a generator that returns': async function * () {}, 'an ended stream': new PassThrough().end() })) {
    t.test(`${kind}: 204 for an EventSource, so that it does not come back`, async t => {
      const { url } = await serveSource(t, source as Source)
      const { statusCode, headers, body } = await request(url, { headers: EVENT_SOURCE })
      t.equal(statusCode, 204)
      t.equal(headers['content-length'], undefined)
      t.equal(headers['transfer-encoding'], undefined)
      t.equal(headers['content-type'], undefined)
      t.equal(await body.text(), '')
    })
  }

  t.test('an empty 200 for a fetch, and for a POST whatever it accepts', async t => {
    const { url } = await serveSource(t, [])
    const fetched = await open(t, url)
    t.equal(fetched.response.status, 200)
    t.ok(fetched.response.body, 'there is a body to read')
    t.same(await fetched.rest(), [])
    const posted = await request(url, { method: 'POST', headers: { ...EVENT_SOURCE, 'content-type': 'application/json' }, body: '{}' })
    t.equal(posted.statusCode, 200)
    t.equal(await posted.body.text(), '')
  })

  t.test('a 200 for an EventSource too, once the headers are sent', async t => {
    const { url } = await serveSource(t, async function * () { await setTimeout(1) }, { prime: 0 })
    const { statusCode, body } = await request(url, { headers: EVENT_SOURCE })
    t.equal(statusCode, 200)
    t.equal(await body.text(), ':\n')
  })

  t.test('a 204 leaves the connection fit for the next request', async t => {
    const { port } = await serveSource(t, [])
    const client = await connectTo(t, port, get('/', EVENT_SOURCE))
    await client.until('\r\n\r\n')
    client.send(get('/alive'))
    await client.until('\r\n\r\nalive')
  })
})

t.test('a stream is drained', async t => {
  t.test('without holding an event back: the client answers each before the next is made', async t => {
    const answers = new EventEmitter()
    const { url } = await serveSource(t, async function * ({ signal }) {
      const answered = on(answers, 'answer', { signal })
      for (let n = 1; n <= 50; n++) {
        yield String(n)
        t.same((await answered.next()).value, [n])
      }
    }, {}, app => {
      app.post('/answer/:n', async request => { answers.emit('answer', Number((request.params as { n: string }).n)) })
    })
    const stream = await open(t, url)
    for (let n = 1; n <= 50; n++) {
      t.match(await stream.next(), { data: String(n) })
      await (await request(`${url}/answer/${n}`, { method: 'POST' })).body.dump()
    }
    t.equal(await stream.next(), undefined)
  })

  t.test('with one write for what comes without waiting', async t => {
    const { port } = await serveSource(t, async function * () {
      for (let burst = 0; burst < 20; burst++) {
        for (let n = 0; n < 5; n++) yield await Promise.resolve('x')
        await setTimeout(1)
      }
    })
    const client = await connectTo(t, port, get('/'))
    const chunks = (await client.until('\r\n0\r\n\r\n')).match(/\r\n[0-9a-f]+\r\ndata: x/g)
    // A write more where the system takes the processor away for longer than a turn may last.
    t.ok(chunks !== null && chunks.length >= 20 && chunks.length <= 40, `${chunks?.length} writes for 20 bursts of 5 events`)
  })

  const COUNT = 100_000
  const PADDING = 'x'.repeat(500)
  let pulled = 0
  const bursts: Record<string, () => Source> = {
    'an async generator': () => async function * () { for (pulled = 0; pulled < COUNT;) yield `${++pulled} ${PADDING}` },
    'a sync generator': () => function * () { for (pulled = 0; pulled < COUNT;) yield `${++pulled} ${PADDING}` }
  }
  for (const [kind, make] of Object.entries(bursts)) {
    t.test(`no faster than its client reads, and complete: a burst of 100,000 events of ${kind}`, async t => {
      const { url } = await serveSource(t, make())
      const { body } = await request(url)
      await quiet(() => pulled)
      t.ok(pulled < 0.9 * COUNT, `${pulled} events were pulled for a client that reads nothing`)

      let expected = 1
      let wrong = 0
      const parser = createParser({ onEvent ({ data }) { if (data !== `${expected++} ${PADDING}`) wrong++ } })
      for await (const chunk of body) parser.feed(String(chunk))
      t.equal(wrong, 0)
      t.equal(expected, COUNT + 1)
    })
  }
})

t.test('a source that never waits leaves the event loop to others', async t => {
  const LIMIT = 20_000_000

  /** Greedy sources, which stop of themselves only when they have starved everybody for long. */
  function greedy (make: (pulled: () => boolean) => Source, count: number, limit = LIMIT) {
    const pulls = Array.from({ length: count }, () => 0)
    let stopped = false
    const sources = pulls.map((_, at) => make(() => !stopped && (pulls[at] as number)++ < limit))
    return { pulls, sources, isRunning: () => pulls.every(pulled => pulled < limit), stop () { stopped = true } }
  }

  const kinds: Record<string, (more: () => boolean) => Source> = {
    'an async generator': more => async function * () { while (more()) yield 'x' },
    'a sync iterable': more => ({ [Symbol.iterator]: () => ({ next: () => more() ? { done: false, value: 'x' } : { done: true, value: undefined } }) }),
    'an async iterable that answers synchronously': more => ({
      [Symbol.asyncIterator]: () => ({ next: () => ({ done: !more(), value: 'x' }) as never })
    }),
    'a web stream': more => () => new ReadableStream({ pull (controller) { if (more()) controller.enqueue('x'); else controller.close() } }) as never,
    'a Readable': more => () => new (class extends PassThrough {
      override _read () { while (more() && this.push('x')); }
    })({ objectMode: true })
  }
  for (const [kind, make] of Object.entries(kinds)) {
    for (const count of [1, 20]) {
      t.test(`${kind}, ${count} at once`, async t => {
        const { pulls, sources, isRunning, stop } = greedy(make, count, LIMIT / count)
        const { url, port } = await serve(t, app => {
          app.get('/greedy/:at', (request, reply) => reply.sse(sources[Number((request.params as { at: string }).at)] as Source))
          app.get('/alive', async () => 'alive')
        })
        t.teardown(stop)
        await readElsewhere(t, port, pulls.map((_, at) => `/greedy/${at}`))
        t.equal(await (await request(`${url}/alive`)).body.text(), 'alive')
        t.ok(isRunning(), `another request is answered while all still run, after ${Math.max(...pulls)} events`)
        t.ok(Math.min(...pulls) > 0)
      })
    }
  }

  t.test('and two of them share it', async t => {
    const { pulls, sources, stop } = greedy(kinds['an async generator'] as never, 2, Infinity)
    const reached = pulls.map(() => deferred())
    const { port } = await serve(t, app => app.get('/:at', (request, reply) => {
      const at = Number((request.params as { at: string }).at)
      return reply.sse(async function * (stream) {
        for await (const event of (sources[at] as (stream: StreamContext) => AsyncIterable<string>)(stream)) {
          if (pulls[at] === 20_000) reached[at]?.resolve()
          yield event
        }
      })
    }))
    t.teardown(stop)
    await readElsewhere(t, port, ['/0', '/1'])
    await Promise.all(reached.map(({ promise }) => promise))
    t.ok(Math.min(...pulls) > Math.max(...pulls) / 20, pulls.join(' and '))
  })
})

t.test('when the client leaves', async t => {
  t.test('a generator that is parked on an await is told through its signal, and its finally runs', async t => {
    const ended = deferred<unknown>()
    const { url, log } = await serveSource(t, async function * ({ signal }) {
      try {
        yield 'one'
        await aborted(signal)
      } finally {
        ended.resolve(signal.reason)
      }
    })
    const stream = await open(t, url)
    await stream.next()
    stream.close()
    t.match(await ended.promise, { name: 'AbortError', code: 'FST_ERR_SSE_CLOSED', reason: 'client' })
    t.match(await log.find(CLOSED), { reason: 'client', events: 1 })
    t.same(log.complaints, [])
  })

  t.test('before the first event, a generator is told just as well', async t => {
    for (const prime of [0, 60_000]) {
      const started = deferred()
      const ended = deferred()
      const { port, log } = await serveSource(t, async function * ({ signal }) {
        started.resolve()
        try { await aborted(signal) } finally { ended.resolve() }
      }, { prime })
      const client = await connectTo(t, port, get('/'))
      await started.promise
      client.socket.destroy()
      await ended.promise
      t.match(await log.find(CLOSED), { reason: 'client', events: 0 })
      t.same(log.complaints, [])
    }
  })

  t.test('nobody waits for a generator that is parked for ever', async t => {
    const { app, url, log } = await serveSource(t, async function * () {
      yield 'one'
      await never
    }, { shutdown: { grace: 2 ** 31 - 1 } })
    const stream = await open(t, url)
    await stream.next()
    stream.close()
    t.match(await log.find(CLOSED), { reason: 'client' })
    await app.close()
  })

  t.test('a sync generator ends at once, though the promise it has yielded is pending', async t => {
    const ended = deferred()
    const { url, log } = await serveSource(t, function * () {
      try {
        yield 'one'
        yield never
      } finally {
        ended.resolve()
      }
    })
    const stream = await open(t, url)
    await stream.next()
    stream.close()
    await ended.promise
    t.match(await log.find(CLOSED), { reason: 'client' })
  })

  t.test('a generator that waits for room in a full socket ends', async t => {
    const ended = deferred()
    let pulled = 0
    const { url, log } = await serveSource(t, async function * () {
      try {
        for (;;) {
          pulled++
          yield 'x'.repeat(64 * 1024)
        }
      } finally {
        ended.resolve()
      }
    })
    const { body } = await request(url)
    await quiet(() => pulled)
    body.on('error', () => {}).destroy()
    await ended.promise
    t.match(await log.find(CLOSED), { reason: 'client' })
    t.same(log.complaints, [])
  })

  t.test('what a generator still yields is dropped, and its finally runs', async t => {
    const parked = deferred()
    const ended = deferred()
    const { url, log } = await serveSource(t, async function * () {
      try {
        yield 'one'
        await parked.promise
        yield 'late'
        t.fail('was pulled on')
      } finally {
        ended.resolve()
      }
    })
    const stream = await open(t, url)
    await stream.next()
    stream.close()
    t.match(await log.find(CLOSED), { events: 1 })
    parked.resolve()
    await ended.promise
    t.same(log.complaints, [])
  })

  t.test('an AbortError that comes back from the source is not logged', async t => {
    const ended = deferred()
    const { url, log } = await serveSource(t, async function * ({ signal }) {
      try {
        yield 'one'
        await setTimeout(60_000, null, { signal })
      } finally {
        ended.resolve()
      }
    })
    const stream = await open(t, url)
    await stream.next()
    stream.close()
    await ended.promise
    await log.find(CLOSED)
    await setImmediate()
    t.same(log.complaints, [])
  })

  t.test('the reason of the signal, thrown on, is not logged either', async t => {
    const ended = deferred()
    const { url, log } = await serveSource(t, async function * ({ signal }) {
      yield 'one'
      await aborted(signal)
      ended.resolve()
      signal.throwIfAborted()
    })
    const stream = await open(t, url)
    await stream.next()
    stream.close()
    await ended.promise
    await log.find(CLOSED)
    await setImmediate()
    t.same(log.complaints, [])
  })

  t.test('an error in finally is logged once, as a warning, and harms nobody', async t => {
    const cleanUp = async () => { throw new Error('cleaning up failed') }
    const { url, log } = await serveSource(t, async function * ({ signal }) {
      try {
        yield 'one'
        await aborted(signal)
      } finally {
        await cleanUp()
      }
    })
    const stream = await open(t, url)
    await stream.next()
    stream.close()
    t.match(await log.find('the source of a closed event stream failed'), { level: 40, err: { message: 'cleaning up failed' } })
    t.equal(await (await request(`${url}/alive`)).body.text(), 'alive')
    t.equal(log.complaints.length, 1)
  })

  t.test('a source that ignores its signal is reported once, with its route, after five seconds', async t => {
    mock.timers.enable({ apis: ['setTimeout'] })
    t.teardown(() => { mock.timers.reset() })
    const { url, log } = await serve(t, app => app.get('/rooms/:room', (request, reply) => reply.sse(async function * () {
      yield 'one'
      await never
    })))
    const stream = await open(t, `${url}/rooms/7`)
    await stream.next()
    stream.close()
    await log.find(CLOSED)
    mock.timers.tick(4_999)
    t.same(log.complaints, [])
    mock.timers.tick(1)
    t.match(log.complaints, [{ level: 40, msg: STILL_RUNS, route: 'GET /rooms/:room', reason: 'client' }])
    mock.timers.tick(600_000)
    t.equal(log.complaints.length, 1)
  })

  t.test('a source that takes its time to end, but less than that, is not reported', async t => {
    mock.timers.enable({ apis: ['setTimeout'] })
    t.teardown(() => { mock.timers.reset() })
    const cleaning = deferred()
    const ended = deferred()
    const { url, log } = await serveSource(t, async function * ({ signal }) {
      try {
        yield 'one'
        await aborted(signal)
      } finally {
        await cleaning.promise
        ended.resolve()
      }
    })
    const stream = await open(t, url)
    await stream.next()
    stream.close()
    await log.find(CLOSED)
    mock.timers.tick(4_999)
    cleaning.resolve()
    await ended.promise
    await setImmediate()
    mock.timers.tick(60_000)
    t.same(log.complaints, [])
  })

  t.test('a function that is still opening its source is reported too', async t => {
    mock.timers.enable({ apis: ['setTimeout'] })
    t.teardown(() => { mock.timers.reset() })
    const started = deferred()
    const { port, log } = await serveSource(t, async () => {
      started.resolve()
      return never
    })
    const client = await connectTo(t, port, get('/'))
    await started.promise
    client.socket.destroy()
    await log.find(CLOSED)
    mock.timers.tick(5_000)
    t.match(log.complaints, [{ msg: STILL_RUNS, route: 'GET /' }])
  })
})

t.test('a stream that is closed aborts its signal with the reason', async t => {
  const huge = 'x'.repeat(256 * 1024)
  async function * flood ({ signal }: StreamContext) {
    while (!signal.aborted) yield huge
  }
  function pushed ({ signal }: StreamContext) {
    const source = new PassThrough({ objectMode: true })
    const push = async () => { for (; !signal.aborted; await setImmediate()) source.write(huge) }
    push().catch(t.fail)
    return source
  }
  const reasons: Record<string, [source: (stream: StreamContext) => never, options: SseOptions, close: (app: FastifyInstance) => void]> = {
    error: [async function * () {
      yield 'one'
      throw new Error('broken')
    } as never, {}, () => {}],
    shutdown: [async function * ({ signal }: StreamContext) {
      yield 'one'
      await aborted(signal)
    } as never, {}, app => { app.close() }],
    expired: [async function * ({ signal }: StreamContext) {
      yield 'one'
      await aborted(signal)
    } as never, { maxAge: 50 }, () => {}],
    stalled: [flood as never, { writeTimeout: 200 }, () => {}],
    slow: [pushed as never, {}, () => {}]
  }
  for (const [reason, [source, options, close]] of Object.entries(reasons)) {
    t.test(reason, async t => {
      const given = deferred<AbortSignal>()
      const { app, port, log } = await serve(t, app => app.get('/', (request, reply) => reply.sse(stream => {
        given.resolve(stream.signal)
        return source(stream)
      }, options)))
      const client = await connectTo(t, port, get('/'))
      await client.until('data: ')
      client.socket.pause()
      const signal = await given.promise
      close(app)
      await aborted(signal)
      t.match(signal.reason, { name: 'AbortError', code: 'FST_ERR_SSE_CLOSED', reason })
      t.type(signal.reason, Error)
      t.match(await log.find(CLOSED), { reason })
      client.socket.resume()
    })
  }

  t.test('error, before the first event', async t => {
    const given = deferred<AbortSignal>()
    const { url } = await serveSource(t, ({ signal }) => {
      given.resolve(signal)
      throw new Error('broken')
    })
    await (await request(url)).body.dump()
    t.match((await given.promise).reason, { reason: 'error' })
  })

  t.test('but not if its source has finished', async t => {
    const given = deferred<AbortSignal>()
    const { app, url } = await serveSource(t, function * ({ signal }) {
      given.resolve(signal)
      yield 'one'
    })
    await (await open(t, url)).rest()
    await app.close()
    t.equal((await given.promise).aborted, false)
  })
})

t.test('the close is logged once, at debug level, with what was sent', async t => {
  const block = 'data: ☃\n\n'
  async function * three () { yield * ['☃', '☃', '☃'] }
  const sources: Record<string, () => AsyncGenerator<string>> = {
    finished: three,
    async * client () {
      yield * three()
      await never
    },
    async * error () {
      yield * three()
      throw new Error('broken')
    }
  }
  for (const [reason, source] of Object.entries(sources)) {
    t.test(reason, async t => {
      const { app, url, log } = await serveSource(t, source)
      const stream = await open(t, url)
      for (let i = 0; i < 3; i++) await stream.next()
      if (reason === 'client') stream.close()
      await log.find(CLOSED)
      await app.close()
      const lines = log.all.filter(({ msg }) => msg === CLOSED)
      t.match(lines, [{ level: 20, reason, events: 3, bytes: 3 * Buffer.byteLength(block), duration: Number, reqId: /./ }])
      t.equal(lines.length, 1)
      t.equal(log.complaints.length, reason === 'error' ? 1 : 0)
    })
  }
})

t.test('a failure is never a clean end', async t => {
  async function * failing () {
    yield 'one'
    yield 'two'
    throw Object.assign(new Error('SECRET'), { statusCode: 418, code: 'SECRET_CODE', headers: { 'x-secret': 'SECRET' } })
  }

  t.test('a fetch sees an error after the events that came before it, and the server goes on', async t => {
    const { url, log } = await serveSource(t, failing)
    const stream = await open(t, url)
    t.equal(stream.response.status, 200)
    t.match(await stream.next(), { data: 'one' })
    t.match(await stream.next(), { data: 'two' })
    await t.rejects(stream.next())
    t.match(await log.find('event stream failed'), { level: 50, err: { message: 'SECRET' } })
    t.equal(await (await request(`${url}/alive`)).body.text(), 'alive')
  })

  t.test('nothing of the error leaves the server, nor the final chunk', async t => {
    const { port } = await serveSource(t, failing)
    const client = await connectTo(t, port, get('/'))
    await client.closed
    t.match(client.received, /data: two\n\n\r\n$/)
    t.notMatch(client.received, /secret/i)
  })

  t.test('a large burst before the error arrives in full', async t => {
    const { url } = await serveSource(t, async function * () {
      for (let n = 1; n <= 20_000; n++) yield `${n} ${'x'.repeat(200)}`
      throw new Error('broken')
    })
    const stream = await open(t, url)
    let inOrder = 0
    while (inOrder < 20_000 && (await stream.next())?.data.startsWith(`${inOrder + 1} `) === true) inOrder++
    t.equal(inOrder, 20_000)
    await t.rejects(stream.next())
  })

  t.test('the event of onError is the last the client sees', async t => {
    const { url } = await serve(t, app => app.get('/:room', (request, reply) => reply.sse(failing, {
      onError: (error, request) => ({ event: 'failure', data: [(error as Error).message.length, request.url] })
    })))
    const stream = await open(t, `${url}/7`)
    await stream.next()
    await stream.next()
    t.match(await stream.next(), { event: 'failure', data: '[6,"/7"]' })
    await t.rejects(stream.next())
  })

  const silent: Record<string, [onError: () => never, logged: number]> = {
    throws: [() => { throw new Error('SECRET too') }, 2],
    'gives what is no event': [() => ({ message: 'SECRET too' }) as never, 2],
    'gives nothing': [() => undefined as never, 1]
  }
  for (const [problem, [onError, logged]] of Object.entries(silent)) {
    t.test(`an onError that ${problem} sends nothing, and the stream is torn as without it`, async t => {
      const { port, log } = await serveSource(t, failing, { onError })
      const client = await connectTo(t, port, get('/'))
      await client.closed
      t.match(client.received, /data: two\n\n\r\n$/)
      t.notMatch(client.received, /secret/i)
      await log.find(CLOSED)
      t.equal(log.complaints.length, logged)
    })
  }

  t.test('onError is not asked before the headers are sent', async t => {
    const { url } = await serveSource(t, async function * () { throw new Error('broken') }, { onError: () => t.fail('was asked') as never })
    t.equal((await request(url)).statusCode, 500)
  })

  for (const thrown of ['text', undefined, null]) {
    t.test(`a generator that throws ${thrown} tears its stream too`, async t => {
      const { url, log } = await serveSource(t, async function * () {
        yield 'one'
        throw thrown
      })
      const stream = await open(t, url)
      await stream.next()
      await t.rejects(stream.next())
      await log.find('event stream failed')
      t.match(await log.find(CLOSED), { reason: 'error' })
    })
  }

  for (const thrown of [null, undefined, 'text', { secret: 'SECRET' }]) {
    t.test(`a logger that knows only Errors is given one where ${JSON.stringify(thrown)} is thrown, when the stream is closed`, async t => {
      const seen: unknown[] = []
      const err = ({ message }: Error) => {
        seen.push(message.toString(), app.sse.stats().streams.open)
        return { type: 'Error', message, stack: '' }
      }
      const app = Fastify({ logger: { level: 'error', stream: { write () {} }, serializers: { err } } })
      t.teardown(() => app.close())
      await app.register(ssePlugin)
      app.get('/', (request, reply) => reply.sse(async function * () {
        yield 'one'
        throw thrown
      }))
      const stream = await open(t, await app.listen({ host: '127.0.0.1', port: 0 }))
      await stream.next()
      await t.rejects(stream.next())
      t.match(seen, [/^The source threw /, 0])
      t.notMatch(seen, /SECRET/)
    })
  }

  t.test('an AbortError is a failure like any other while the client is there', async t => {
    const { url, log } = await serveSource(t, async function * () {
      yield 'one'
      throw new DOMException('upstream was aborted', 'AbortError')
    })
    const stream = await open(t, url)
    await stream.next()
    await t.rejects(stream.next())
    t.match(await log.find('event stream failed'), { level: 50 })
  })

  t.test('a client of HTTP/1.0 sees a reset, for want of a final chunk', async t => {
    const received = deferred()
    const { port } = await serveSource(t, async function * () {
      yield 'one'
      await received.promise
      throw new Error('broken')
    })
    const client = await connectTo(t, port, get('/', {}, '1.0'))
    await client.until('data: one\n\n')
    received.resolve()
    t.match(await client.closed, { code: 'ECONNRESET' })
  })
})

t.test('a source that finishes ends the response, and the connection is used again', async t => {
  const { port } = await serveSource(t, ['one', 'two'])
  const client = await connectTo(t, port)
  for (const path of ['/', '/', '/alive']) {
    client.received = ''
    client.send(get(path))
    await client.until(path === '/' ? 'data: one\n\ndata: two\n\n\r\n0\r\n\r\n' : '\r\n\r\nalive')
  }
})

t.test('the source is not started', async t => {
  const wasStarted = () => { throw new Error('was started') }

  t.test('for HEAD, which has the headers of GET', async t => {
    const { url, log } = await serve(t, app => app.get('/', (request, reply) => reply.sse(request.method === 'HEAD' ? wasStarted : ['one'])))
    const head = await request(url, { method: 'HEAD' })
    const got = await request(url)
    await got.body.dump()
    t.equal(head.statusCode, 200)
    for (const name of ['content-type', 'cache-control', 'x-accel-buffering']) t.equal(head.headers[name], got.headers[name], name)
    t.equal(head.headers['content-type'], 'text/event-stream')
    t.same(log.complaints, [])
  })

  t.test('for HEAD, where a stream that exists already is let go', async t => {
    const source = new PassThrough({ objectMode: true })
    const { url } = await serveSource(t, source)
    await request(url, { method: 'HEAD' })
    t.equal(source.destroyed, true)
  })

  for (const hook of ['preHandler', 'onSend'] as const) {
    t.test(`when the client has left during ${hook}, and a stream that exists already is let go`, async t => {
      for (const source of [wasStarted, new PassThrough({ objectMode: true })]) {
        const arrived = deferred()
        const { app, port, log } = await serve(t, app => {
          app.addHook(hook, async (request: unknown, reply: { raw: EventEmitter }) => {
            arrived.resolve()
            await once(reply.raw, 'close')
          })
          app.get('/', (request, reply) => reply.sse(source as Source))
        }, { plugin: { shutdown: { grace: 2 ** 31 - 1 } }, fastify: { pluginTimeout: 0 } })
        const client = await connectTo(t, port, get('/'))
        await arrived.promise
        client.socket.destroy()
        if (source instanceof PassThrough) await once(source, 'close')
        await app.close()
        t.same(log.complaints, [])
      }
    })
  }
})

t.test('an answer that is sent in place of a stream', async t => {
  const WARNING = /^another answer was sent before the event stream could open: a handler has to return what reply\.sse gives/

  /** The one complaint there is, if any, when the stream is closed. */
  async function complaintOf (t: Test, routes: (app: FastifyInstance) => unknown, status: number, fastify: object = {}) {
    const { url, log } = await serve(t, routes, { fastify })
    const { statusCode, body } = await request(url)
    await body.dump()
    t.equal(statusCode, status)
    t.match(await log.find(CLOSED), { reason: 'error', events: 0 })
    return log.complaints.filter(({ level }) => level === 40)
  }

  /** Ends with its signal, or too late. */
  async function * late ({ signal }: StreamContext) {
    await aborted(signal)
    yield 'late'
  }

  t.test('since its handler forgets to return what reply.sse gives is warned of, with the mend', async t => {
    for (const prime of [60_000, 100]) {
      t.match(await complaintOf(t, app => app.get('/', async (request, reply) => { reply.sse(late, { prime }) }), 200), [{ msg: WARNING, reqId: /./ }])
    }
  })

  t.test('since its handler forgets to, while a hook still runs, is warned of too', async t => {
    t.match(await complaintOf(t, app => {
      app.addHook('onSend', async () => { await setImmediate() })
      app.get('/', async (request, reply) => { reply.sse(late, { prime: 60_000 }) })
    }, 200), [{ msg: WARNING }])
  })

  t.test('by the source itself is warned of', async t => {
    const heads: Record<string, (raw: FastifyReply['raw']) => void> = {
      'its head only': raw => { raw.writeHead(200) },
      'all of it': raw => { raw.writeHead(201).end('sent') }
    }
    for (const [what, send] of Object.entries(heads)) {
      t.test(what, async t => {
        const { port, log } = await serve(t, app => app.get('/', (request, reply) => reply.sse(async function * () {
          send(reply.raw)
          yield 'late'
        })))
        const client = await connectTo(t, port, get('/'))
        t.match(await log.find(CLOSED), { reason: 'error', events: 0 })
        t.match(log.complaints, [{ msg: WARNING }])
        client.socket.destroy()
      })
    }
  })

  t.test('by an error handler is not', async t => {
    t.same(await complaintOf(t, app => app.get('/', (request, reply) => {
      reply.sse(late)
      throw new Error('changed my mind')
    }), 500), [])
  })

  t.test('by handlerTimeout is not', async t => {
    t.same(await complaintOf(t, app => app.get('/', (request, reply) => reply.sse(late, { prime: 60_000 })), 503, { handlerTimeout: 50 }), [])
  })

  t.test('by an onSend hook that throws is not', async t => {
    t.same(await complaintOf(t, app => {
      app.addHook('onSend', async (request, reply) => { if (reply.statusCode === 200) throw Object.assign(new Error('no'), { statusCode: 418 }) })
      app.get('/', (request, reply) => reply.sse(late))
    }, 418), [])
  })
})

t.test('a stream outlives', async t => {
  t.test('the body of its POST, after which the request counts as closed', async t => {
    const ended = deferred()
    const { url, log } = await serve(t, app => app.post('/', (request, reply) => reply.sse(async function * ({ signal }) {
      try {
        await once(request.raw, 'close')
        yield { data: request.body }
        await setTimeout(20, null, { signal })
        yield 'two'
        await aborted(signal)
      } finally {
        ended.resolve()
      }
    })))
    const stream = await open(t, url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"model":"x"}' })
    t.match(await stream.next(), { data: '{"model":"x"}' })
    t.match(await stream.next(), { data: 'two' })
    stream.close()
    await ended.promise
    t.match(await log.find(CLOSED), { reason: 'client' })
  })

  for (const timeout of ['handlerTimeout', 'connectionTimeout'] as const) {
    t.test(`${timeout}, quiet or not`, async t => {
      const { url, log } = await serve(t, app => app.get('/', (request, reply) => reply.sse(async function * () {
        yield 'one'
        await setTimeout(700)
        yield 'two'
        for (let i = 0; i < 10; i++) yield setTimeout(20, 'more')
      })), { plugin: { heartbeat: false }, fastify: { [timeout]: 250 } })
      const events = await (await open(t, url)).rest()
      t.equal(events.length, 12)
      t.match(await log.find(CLOSED), { reason: 'finished' })
    })
  }
})

t.test('app.close() ends an open stream cleanly, and does not wait for its client', async t => {
  const { app, url, log } = await serveSource(t, async function * ({ signal }) {
    yield 'one'
    await aborted(signal)
  })
  const stream = await open(t, url)
  await stream.next()
  await app.close()
  t.equal(await stream.next(), undefined)
  t.match(await log.find(CLOSED), { reason: 'shutdown' })
})

t.test('a stream is the same', async t => {
  const source = async function * () {
    yield 'one'
    await setTimeout(5)
    yield 'two'
  }

  t.test('over HTTP/1.0, ended by the end of the connection', async t => {
    const { port } = await serveSource(t, source)
    const client = await connectTo(t, port, get('/', {}, '1.0'))
    t.equal(await client.closed, undefined)
    const [head, ...body] = client.received.split('\r\n\r\n')
    t.notMatch(head, /transfer-encoding/i)
    t.same(body, ['data: one\n\ndata: two\n\n'])
  })

  t.test('pipelined behind others, in order', async t => {
    const { port } = await serveSource(t, source)
    const client = await connectTo(t, port, get('/') + get('/') + get('/alive'))
    await client.until('\r\n\r\nalive')
    t.same(client.received.match(/HTTP\/1.1 200 OK|one|two|alive$/g), [
      'HTTP/1.1 200 OK', 'one', 'two', 'HTTP/1.1 200 OK', 'one', 'two', 'HTTP/1.1 200 OK', 'alive'
    ])
  })

  t.test('pipelined behind a stream whose client leaves: both generators end', async t => {
    const ends = [deferred(), deferred()]
    let started = 0
    const begun = deferred()
    const { port, log } = await serveSource(t, async function * ({ signal }) {
      const at = started++
      if (started === 2) begun.resolve()
      try {
        yield 'one'
        await aborted(signal)
      } finally {
        ends[at]?.resolve()
      }
    })
    const client = await connectTo(t, port, get('/') + get('/'))
    await begun.promise
    client.socket.destroy()
    await Promise.all(ends.map(({ promise }) => promise))
    t.match(await log.take(CLOSED, 2), [{ reason: 'client' }, { reason: 'client' }])
  })

  t.test('over HTTP/2, without a warning', async t => {
    const warnings: Error[] = []
    const onWarning = (warning: Error) => { warnings.push(warning) }
    process.on('warning', onWarning)
    t.teardown(() => { process.off('warning', onWarning) })
    const { url, log } = await serve(t, app => app.get('/', (request, reply) => reply.sse(source)), { fastify: { http2: true } as never })
    const session = connectHttp2(url)
    t.teardown(() => { session.destroy() })
    const stream = session.request({ ':path': '/' })
    const [headers] = await once(stream, 'response')
    t.match(headers, { ':status': 200, 'content-type': 'text/event-stream' })
    t.equal(await text(stream), 'data: one\n\ndata: two\n\n')
    t.match(await log.find(CLOSED), { reason: 'finished' })
    await setImmediate()
    t.same(warnings, [])
  })

  t.test('over HTTP/2, where a failure is a stream error', async t => {
    const { url } = await serve(t, app => app.get('/', (request, reply) => reply.sse(async function * () {
      yield 'one'
      throw new Error('broken')
    })), { fastify: { http2: true } as never })
    const session = connectHttp2(url)
    t.teardown(() => { session.destroy() })
    const stream = session.request({ ':path': '/' })
    await t.rejects(text(stream), { code: 'ERR_HTTP2_STREAM_ERROR' })
  })

  t.test('injected', async t => {
    const { app } = await serveSource(t, source)
    const { statusCode, payload } = await app.inject('/')
    t.equal(statusCode, 200)
    t.equal(payload, 'data: one\n\ndata: two\n\n')
  })

  t.test('injected, and left by its client', async t => {
    const ended = deferred()
    const { app, log } = await serveSource(t, async function * ({ signal }) {
      try {
        yield 'one'
        await aborted(signal)
      } finally {
        ended.resolve()
      }
    })
    const controller = new AbortController()
    const response = await app.inject({ url: '/', payloadAsStream: true, signal: controller.signal })
    const stream = response.stream().on('error', () => {})
    t.match(String((await once(stream, 'data'))[0]), 'data: one\n\n')
    controller.abort()
    await ended.promise
    t.match(await log.find(CLOSED), { reason: 'client' })
  })
})

t.test('reply.sse where the reply is taken is a clear error, and the first answer stands', async t => {
  const { url } = await serve(t, app => {
    const again = (reply: FastifyReply) => {
      t.throws(() => reply.sse(['again']), { code: 'FST_ERR_SSE_ALREADY_SENT', message: /GET \/\w+ was sent already/ })
    }
    app.get('/twice', (request, reply) => {
      reply.sse(['first'])
      again(reply)
    })
    app.get('/send', (request, reply) => {
      reply.send('first')
      again(reply)
    })
    app.get('/inside', (request, reply) => reply.sse(function * () {
      again(reply)
      yield 'first'
    }))
  })
  t.equal(await (await request(`${url}/twice`)).body.text(), 'data: first\n\n')
  t.equal(await (await request(`${url}/send`)).body.text(), 'first')
  t.equal(await (await request(`${url}/inside`)).body.text(), 'data: first\n\n')
})

t.test('the wire', async t => {
  t.test('a line break in a name or an ID writes no field of its own', async t => {
    for (const field of ['event', 'id']) {
      const { port } = await serveSource(t, ['one', { [field]: 'a\ndata: evil', data: 'x' }])
      const client = await connectTo(t, port, get('/'))
      await client.closed
      t.match(client.received, 'data: one')
      t.notMatch(client.received, 'evil')
    }
  })

  t.test('a lone CR in data does not split the event', async t => {
    t.equal(await wire(t, ['a\rb']), 'data: a\ndata: b\n\n')
  })

  t.test('retry 0, an empty ID and the ID 0 are sent', async t => {
    t.equal(await wire(t, [{ retry: 0, id: '', data: 'x' }, { id: 0, data: '' }]), 'retry: 0\nid: \ndata: x\n\nid: 0\ndata: \n\n')
  })

  t.test('an object without known fields is an error that names the mend', async t => {
    const { url } = await serveSource(t, [{ price: 1 }] as never)
    const { statusCode, body } = await request(url)
    t.equal(statusCode, 500)
    t.match(await body.json(), { code: 'FST_ERR_SSE_EVENT', message: /yield \{ data: value \}/ })
  })

  t.test('a last event ID in UTF-8 arrives as it was sent', async t => {
    const { port } = await serveSource(t, ({ lastEventId }) => [lastEventId])
    const client = await connectTo(t, port, get('/', { 'last-event-id': 'café-☃' }))
    await client.until('data: café-☃\n\n')
  })

  t.test('a malformed Host and a TRACE leave the server as it was', async t => {
    const { port, url, log } = await serveSource(t, ['one'])
    for (const bytes of ['GET / HTTP/1.1\r\nHost: [\r\nConnection: close\r\n\r\n', 'TRACE / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n']) {
      const client = await connectTo(t, port, bytes)
      await client.closed
      t.match(client.received, /^HTTP\/1.1 \d+ /)
    }
    t.equal(await (await request(url)).body.text(), 'data: one\n\n')
    t.same(log.complaints, [])
  })
})
