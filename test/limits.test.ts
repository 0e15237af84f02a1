import { once } from 'node:events'
import { mock } from 'node:test'
import { PassThrough, Readable } from 'node:stream'
import { inspect } from 'node:util'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { EventSource, fetch } from 'undici'
import type { Source, SseOptions, StreamContext } from '../plugin/types'
import { EVENT_SOURCE, open } from './helpers/client'
import { deferred } from './helpers/deferred'
import { serve } from './helpers/serve'
import { connectTo, get } from './helpers/socket'

async function * parked ({ signal }: StreamContext): AsyncGenerator<string> {
  yield 'open'
  await once(signal, 'abort')
}

t.test('maxAge', async t => {
  const AGE = 10_000

  /** Opens a stream of HTTP/1.1 that has sent its first event, under a clock that stands still. */
  async function openAt (t: Test, now: number, options: SseOptions) {
    mock.timers.enable({ apis: ['setTimeout', 'Date'], now })
    t.teardown(() => { mock.timers.reset() })
    const { port, log } = await serve(t, app => app.get('/', (request, reply) => reply.sse(parked, { heartbeat: false, ...options })))
    const client = await connectTo(t, port, get('/'))
    await client.until('data: open\n\n')
    return { client, log, closed: () => log.find('event stream closed') }
  }

  const isOpen = ({ log }: Awaited<ReturnType<typeof openAt>>): boolean => log.all.every(({ msg }) => msg !== 'event stream closed')

  for (const [random, share] of [[0, 80], [0.5, 90], [1 - Number.EPSILON, 100]] as const) {
    t.test(`a number is cut to 80 to 100 % of itself: a draw of ${random.toFixed(1)} to ${share} %`, async t => {
      const stub = mock.method(Math, 'random', () => random)
      t.teardown(() => { stub.mock.restore() })
      const stream = await openAt(t, Date.now(), { maxAge: AGE })
      mock.timers.tick(AGE * share / 100 - 1)
      t.ok(isOpen(stream), 'open until then')
      mock.timers.tick(1)
      t.match(await stream.closed(), { reason: 'expired', events: 1 })
    })
  }

  t.test('a Date is kept as it is', async t => {
    const stream = await openAt(t, 1_000_000, { maxAge: new Date(1_060_000) })
    mock.timers.tick(59_999)
    t.ok(isOpen(stream), 'open until then')
    mock.timers.tick(1)
    t.match(await stream.closed(), { reason: 'expired' })
  })

  t.test('a Date that has passed lets the first event through and ends the stream', async t => {
    const { url } = await serve(t, app => app.get('/', (request, reply) => reply.sse(parked, { maxAge: new Date(0) })))
    t.match(await (await open(t, url)).rest(), [{ data: 'open' }])
  })

  for (const [what, maxAge] of [['a Date', new Date(Date.now() + 2 ** 31 + 60_000)], ['a number', 2 ** 40]] as const) {
    t.test(`${what} that is further away than a timer can wait does not end the stream at once`, async t => {
      const { url } = await serve(t, app => app.get('/', (request, reply) => reply.sse(async function * () {
        yield 'open'
        await new Promise(resolve => { setTimeout(resolve, 30) })
        yield 'later'
      }, { maxAge })))
      t.match(await (await open(t, url)).rest(), [{ data: 'open' }, { data: 'later' }])
    })
  }

  t.test('a Date that is further away than a timer can wait is kept to the millisecond', async t => {
    const stream = await openAt(t, 0, { maxAge: new Date(2 ** 33) })
    mock.timers.tick(2 ** 33 - 1)
    t.ok(isOpen(stream), 'open until then')
    mock.timers.tick(1)
    t.match(await stream.closed(), { reason: 'expired' })
  })

  t.test('a function of the request says when its stream ends, or that it does not', async t => {
    const maxAge = ({ headers }: FastifyRequest) => headers['expires'] === undefined ? undefined : new Date(Number(headers['expires']))
    mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 0 })
    t.teardown(() => { mock.timers.reset() })
    const { port, log } = await serve(t, app => app.get('/', (request, reply) => reply.sse(parked, { heartbeat: false })), { plugin: { maxAge } })
    for (const headers of [{}, { expires: '5000' }]) await (await connectTo(t, port, get('/', headers))).until('data: open\n\n')
    mock.timers.tick(5000)
    t.match(await log.find('event stream closed'), { reason: 'expired' })
    mock.timers.tick(2 ** 33)
    t.equal(log.all.filter(({ msg }) => msg === 'event stream closed').length, 1, 'the other is still open')
  })

  for (const junk of [0, -1, 1.5, NaN, Infinity, '60', null, new Date(NaN), {}]) {
    t.test(`a function that gives ${inspect(junk)} is an HTTP error`, async t => {
      let opened = false
      const { url, log } = await serve(t, app => app.get('/', (request, reply) => reply.sse(async function * () {
        opened = true
        yield 'never'
      }, { maxAge: (() => junk) as never })))
      const response = await fetch(url)
      t.equal(response.status, 500)
      t.match(await response.json(), { code: 'FST_ERR_SSE_OPTION', message: /'maxAge'/ })
      t.notOk(opened, 'the source was not asked')
      t.match(log.complaints, [{ err: { code: 'FST_ERR_SSE_OPTION' } }])
    })
  }

  t.test('the stream ends between two events, with the final chunk, and its source is told why', async t => {
    const told = deferred<unknown>()
    const { url, log } = await serve(t, app => app.get('/', (request, reply) => reply.sse(async function * ({ signal }) {
      try {
        for (let count = 1; ; count++) {
          yield { id: count, data: 'x'.repeat(100) }
          if (count % 10 === 0) await new Promise(resolve => { setTimeout(resolve, 1) })
        }
      } finally {
        told.resolve(signal.reason)
      }
    }, { maxAge: 50 })))
    const events = await (await open(t, url)).rest()
    t.match(await log.find('event stream closed'), { reason: 'expired', events: events.length })
    t.same(events.map(({ id, data }) => [Number(id), data.length]), events.map((_, index) => [index + 1, 100]), 'nothing is missing')
    t.match(await told.promise, { name: 'AbortError', reason: 'expired' })
    t.same(log.complaints, [])
  })

  t.test('a keep-alive connection is used again after the end', async t => {
    const { port } = await serve(t, app => app.get('/', (request, reply) => reply.sse(parked, { maxAge: 1 })))
    const client = await connectTo(t, port, get('/'))
    await client.until('\r\n0\r\n\r\n')
    client.received = ''
    client.send(get('/'))
    t.match(await client.until('\r\n0\r\n\r\n'), /^HTTP\/1.1 200 [^]*data: open\n\n/)
  })
})

t.test('maxStreams', async t => {
  const routes = (app: FastifyInstance) => {
    app.get('/a', (request, reply) => reply.sse(parked))
    app.get('/b', (request, reply) => reply.sse(parked))
  }

  t.test('at registration counts the streams of all routes together', async t => {
    const { url } = await serve(t, routes, { plugin: { maxStreams: 2 } })
    const first = await open(t, `${url}/a`)
    t.equal(first.response.status, 200)
    t.equal((await fetch(`${url}/b`, { method: 'HEAD' })).status, 200)
    t.equal((await open(t, `${url}/b`)).response.status, 200)
    t.equal((await open(t, `${url}/a`)).response.status, 503)
    t.equal((await open(t, `${url}/b`)).response.status, 503)
  })

  t.test('at a route, or at a call, counts the streams of the route', async t => {
    const { url } = await serve(t, app => {
      app.get('/a/:id', { sse: { maxStreams: 1 } }, (request, reply) => reply.sse(parked))
      app.get('/b', (request, reply) => reply.sse(parked, { maxStreams: 1 }))
    })
    t.equal((await open(t, `${url}/a/1`)).response.status, 200)
    t.equal((await open(t, `${url}/a/2`)).response.status, 503)
    t.equal((await open(t, `${url}/b`)).response.status, 200)
    t.equal((await open(t, `${url}/b`)).response.status, 503)
  })

  t.test('at a call does not lift that of the registration, and a refused stream takes no place of it', async t => {
    const { url } = await serve(t, app => {
      app.get('/one', (request, reply) => reply.sse(parked, { maxStreams: 1 }))
      app.get('/ten', (request, reply) => reply.sse(parked, { maxStreams: 10 }))
    }, { plugin: { maxStreams: 2 } })
    t.equal((await open(t, `${url}/one`)).response.status, 200)
    for (let refused = 0; refused < 5; refused++) t.equal((await open(t, `${url}/one`)).response.status, 503)
    t.equal((await open(t, `${url}/ten`)).response.status, 200)
    t.equal((await open(t, `${url}/ten`)).response.status, 503)
  })

  t.test('a client that is no EventSource is answered by the error handler, with the time to come back', async t => {
    const { url, log } = await serve(t, app => {
      app.setErrorHandler((error: Error & { code?: string }, request, reply) => reply.code(503).send({ handled: error.code }))
      app.get('/', (request, reply) => reply.sse(parked))
    }, { plugin: { maxStreams: 1, shutdown: { retry: { min: 2_500, max: 3_000 } } } })
    await open(t, url)
    const response = await fetch(url)
    t.equal(response.status, 503)
    t.equal(response.headers.get('retry-after'), '3', 'in seconds, rounded up')
    t.match(response.headers.get('content-type'), /^application\/json/)
    t.same(await response.json(), { handled: 'FST_ERR_SSE_LIMIT' })
    t.match(await log.find('event stream closed'), { reason: 'limit', events: 0 })
  })

  t.test('an EventSource is told to come back by a stream that ends, at a time of its own', async t => {
    const { url } = await serve(t, routes, { plugin: { maxStreams: 1, shutdown: { retry: { min: 1_000, max: 1_000_000 } } } })
    await open(t, `${url}/a`)
    const times = []
    for (let turnedAway = 0; turnedAway < 5; turnedAway++) {
      const stream = await open(t, `${url}/a`, { headers: EVENT_SOURCE })
      t.equal(stream.response.status, 200)
      t.match(stream.response.headers.get('content-type'), /^text\/event-stream/)
      t.match(stream.response.headers.get('cache-control'), /no-store/)
      t.same(await stream.rest(), [])
      times.push(stream.retry() ?? NaN)
    }
    t.ok(times.every(time => time >= 1_000 && time <= 1_000_000), `within the range: ${times}`)
    t.ok(new Set(times).size > 1, 'not all at once')
  })

  t.test('an EventSource that was turned away comes in when there is a place again', async t => {
    const { url, log } = await serve(t, routes, { plugin: { maxStreams: 1, shutdown: { retry: 10 } } })
    const first = await open(t, `${url}/a`)
    const source = new EventSource(`${url}/a`, { node: { reconnectionTime: 10 } })
    t.teardown(() => { source.close() })
    const opened = once(source, 'message')
    await log.take('event stream closed', 2)
    first.close()
    t.match(await opened, [{ data: 'open' }])
  })

  t.test('the source of a refused stream is let go', async t => {
    const readable = new Readable({ read () {} })
    let cancelled = false
    const web = new ReadableStream<string>({ cancel () { cancelled = true } })
    let returned = false
    const iterator = { [Symbol.asyncIterator] () { return this }, next: async () => ({ done: false as const, value: 'never' }), return: async () => { returned = true; return { done: true as const, value: undefined } } }
    let called = false
    const sources: Array<Source<string>> = [readable, web, iterator, () => { called = true; return [] }]
    const { url } = await serve(t, app => app.get('/', (request, reply) => reply.sse(sources.shift() ?? parked)), { plugin: { maxStreams: 1 } })
    sources.unshift(parked)
    await open(t, url)
    while (sources.length > 0) t.equal((await fetch(url)).status, 503)
    t.ok(readable.destroyed, 'a Readable is destroyed')
    t.ok(cancelled, 'a web stream is cancelled')
    t.ok(returned, 'an iterator is returned')
    t.notOk(called, 'a function is not called')
  })
})

t.test('maxStreamsPerKey', async t => {
  const key = ({ headers }: FastifyRequest) => headers['user'] as string | undefined
  const as = (user: string) => ({ headers: { user } })

  t.test('at registration counts the streams of a key in all routes', async t => {
    const { url } = await serve(t, app => {
      app.get('/a', (request, reply) => reply.sse(parked))
      app.get('/b', (request, reply) => reply.sse(parked))
    }, { plugin: { maxStreamsPerKey: 1, key } })
    t.equal((await open(t, `${url}/a`, as('ann'))).response.status, 200)
    t.equal((await open(t, `${url}/b`, as('ann'))).response.status, 503)
    t.equal((await open(t, `${url}/b`, as('bob'))).response.status, 200)
  })

  t.test('at a call counts the streams of a key in the route', async t => {
    const { url } = await serve(t, app => {
      app.get('/a', (request, reply) => reply.sse(parked, { maxStreamsPerKey: 1, key }))
      app.get('/b', (request, reply) => reply.sse(parked, { maxStreamsPerKey: 1, key }))
    })
    t.equal((await open(t, `${url}/a`, as('ann'))).response.status, 200)
    t.equal((await open(t, `${url}/a`, as('ann'))).response.status, 503)
    t.equal((await open(t, `${url}/b`, as('ann'))).response.status, 200)
    t.equal((await open(t, `${url}/a`, as('bob'))).response.status, 200)
  })

  t.test('a request whose key is undefined counts for nobody, but for maxStreams', async t => {
    const { url } = await serve(t, app => app.get('/', (request, reply) => reply.sse(parked)), { plugin: { maxStreams: 3, maxStreamsPerKey: 1, key } })
    for (let stream = 0; stream < 3; stream++) t.equal((await open(t, url)).response.status, 200)
    t.equal((await open(t, url)).response.status, 503)
  })

  t.test('the place of a key is given back to that key', async t => {
    const { url, log } = await serve(t, app => app.get('/', (request, reply) => reply.sse(parked)), { plugin: { maxStreamsPerKey: 2, key } })
    const [first] = [await open(t, url, as('ann')), await open(t, url, as('ann')), await open(t, url, as('bob'))]
    first.close()
    await log.find('event stream closed')
    t.equal((await open(t, url, as('ann'))).response.status, 200)
    t.equal((await open(t, url, as('ann'))).response.status, 503)
    t.equal((await open(t, url, as('bob'))).response.status, 200)
    t.equal((await open(t, url, as('bob'))).response.status, 503)
  })
})

t.test('a place is given back, once, when', async t => {
  interface Way {
    /** Prepares the server. */
    setUp? (app: FastifyInstance): void
    /** Answers the request whose place is to come back. */
    answer (reply: FastifyReply): unknown
    /** Makes the request, to its end. */
    request (url: string, t: Test): Promise<unknown>
  }

  const status = (expected: number, init?: Parameters<typeof fetch>[1]): Way['request'] => async (url, t) => {
    const response = await fetch(url, init)
    t.equal(response.status, expected)
    await response.text()
  }
  const torn: Way['request'] = async (url, t) => { await t.rejects((await open(t, url)).rest()) }

  const ways: Record<string, Way> = {
    'the source has finished': { answer: reply => reply.sse(['one']), request: status(200) },
    'the source had no event': { answer: reply => reply.sse([]), request: status(200) },
    'an EventSource was told to stop': { answer: reply => reply.sse([]), request: status(204, { headers: EVENT_SOURCE }) },
    'the handler set a status without a body': { answer: reply => reply.code(204).sse(parked), request: status(204) },
    'the answer is that it was not modified': { answer: reply => reply.code(304).sse(parked), request: status(304) },
    'only the headers were asked for': { answer: reply => reply.sse(parked), request: status(200, { method: 'HEAD' }) },
    'the stream has expired': { answer: reply => reply.sse(parked, { maxAge: 1 }), request: status(200) },
    'the client leaves': {
      answer: reply => reply.sse(parked),
      request: async (url, t) => {
        const stream = await open(t, url)
        await stream.next()
        stream.close()
      }
    },
    'the client leaves before the first event': {
      answer: reply => reply.sse(({ signal }) => {
        reply.raw.socket?.emit('opened')
        return parked({ signal } as StreamContext)
      }, { prime: 60_000 }),
      setUp: app => app.server.on('connection', socket => socket.once('opened', () => socket.destroy())),
      request: (url, t) => t.rejects(fetch(url))
    },
    'the source throws before the headers are sent': { answer: reply => reply.sse(async function * () { throw new Error('source') }), request: status(500) },
    'the function of the source throws': { answer: reply => reply.sse(() => { throw new Error('source') }), request: status(500) },
    'the source throws after the headers were sent': {
      answer: reply => reply.sse(async function * () {
        yield 'one'
        throw new Error('source')
      }),
      request: torn
    },
    'the last words to the client are more than may wait for it': {
      answer: reply => reply.sse(Readable.from((async function * () {
        yield 'one'
        await new Promise(resolve => { setTimeout(resolve, 10) })
        yield 1
      })()), { maxBuffer: 10, onError: () => 'x'.repeat(100) }),
      request: torn
    },
    'the source yields what is no event': { answer: reply => reply.sse(['one', 1] as string[]), request: torn },
    'an onSend hook throws': {
      setUp: app => app.addHook('onSend', async request => { if (request.url === '/way') throw new Error('hook') }),
      answer: reply => reply.sse(parked),
      request: status(500)
    },
    'an onSend hook puts another payload in its place': {
      setUp: app => app.addHook('onSend', async (request, reply, payload) => {
        if (request.url !== '/way') return payload
        reply.header('content-type', 'text/plain')
        return 'another'
      }),
      answer: reply => reply.sse(parked),
      request: status(200)
    },
    'the function for the key throws': { answer: reply => reply.sse(parked, { maxStreamsPerKey: 1, key () { throw new Error('key') } }), request: status(500) },
    'the function for the maximum age throws': { answer: reply => reply.sse(parked, { maxAge () { throw new Error('age') } }), request: status(500) },
    'the client sends no bytes and takes none': {
      answer: reply => reply.sse(async function * () { for (;;) yield 'x'.repeat(65_536) }, { writeTimeout: 50 }),
      request: async (url, t) => {
        const client = await connectTo(t, Number(new URL(url).port), get('/way'))
        client.socket.pause()
      }
    },
    'the client is too slow': {
      answer: reply => {
        const through = new PassThrough({ objectMode: true })
        const timer = setInterval(() => { for (let count = 0; count < 100; count++) through.write('x'.repeat(65_536)) }, 5)
        through.once('close', () => { clearInterval(timer) })
        return reply.sse(through)
      },
      request: async (url, t) => {
        const client = await connectTo(t, Number(new URL(url).port), get('/way'))
        client.socket.pause()
      }
    },
    'the client had left before the handler answered': {
      answer: async reply => {
        reply.raw.socket?.destroy()
        if (!reply.raw.closed) await once(reply.raw, 'close')
        return reply.sse(parked)
      },
      request: (url, t) => t.rejects(fetch(url))
    }
  }

  for (const [when, { setUp, answer, request }] of Object.entries(ways)) {
    t.test(when, async t => {
      const closed = deferred()
      const { url } = await serve(t, app => {
        setUp?.(app)
        app.get('/way', (request, reply) => {
          if (reply.raw.closed) closed.resolve()
          else reply.raw.once('close', () => { setImmediate(closed.resolve) })
          return answer(reply)
        })
        app.get('/a', (request, reply) => reply.sse(parked))
        app.get('/b', (request, reply) => reply.sse(parked))
      }, { plugin: { maxStreams: 1 } })
      await request(`${url}/way`, t)
      await closed.promise
      t.equal((await open(t, `${url}/a`)).response.status, 200, 'there is a place')
      t.equal((await open(t, `${url}/b`)).response.status, 503, 'and not a second one')
    })
  }
})
