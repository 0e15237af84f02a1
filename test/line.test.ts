import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, ServerResponse, type RequestListener } from 'node:http'
import { connect as connectHttp2 } from 'node:http2'
import type { Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { mock } from 'node:test'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { createGunzip, createGzip } from 'node:zlib'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import type { Source, SseOptions, StreamContext } from '../plugin/types'
import { readFrom } from './helpers/chunks'
import { EVENT_SOURCE } from './helpers/client'
import { deferred } from './helpers/deferred'
import { Line, watchSockets, type LineKind } from './helpers/line'
import { serve } from './helpers/serve'
import { connectTo, get } from './helpers/socket'

const KIB = 1024
// More than the system takes for a client that reads nothing.
const PLENTY = 48 * KIB * KIB

const CLOSED = 'event stream closed'

const kinds: Record<string, LineKind> = {
  'to the socket': { isPlain: false, secure: false },
  'of the response': { isPlain: true, secure: false },
  'to the socket, over TLS': { isPlain: false, secure: true },
  'of the response, over TLS': { isPlain: true, secure: true }
}

type Behaviour = (t: Test, line: Line) => Promise<unknown>

const serving = (source: Source, options?: SseOptions) => (app: FastifyInstance) => app.get('/', (request, reply) => reply.sse(source, options))

const block = (data: string) => `data: ${data}\n\n`

async function aborted ({ signal }: StreamContext): Promise<void> {
  if (!signal.aborted) await once(signal, 'abort')
}

/** Settles when a number does not change any more. */
async function quiet (value: () => number): Promise<void> {
  for (let last = value(), same = 0; same < 50; same = last === value() ? same + 1 : 0) {
    last = value()
    await setTimeout(1)
  }
}

async function assertAlive (t: Test, { client }: Awaited<ReturnType<Line['open']>>): Promise<void> {
  client.send(get('/alive'))
  t.match(await client.head(), /^HTTP\/1.1 200 /)
  t.equal(String(await client.take(5)), 'alive')
}

const behaviours: Record<string, Behaviour> = {
  'events arrive in the order they were made in, and then the end': async (t, line) => {
    const { client, log } = await line.open(serving(async function * () {
      for (let n = 0; n < 200; n++) {
        yield String(n)
        if (n % 7 === 0) await setImmediate()
      }
    }))
    t.match(await client.head(), /^HTTP\/1.1 200 OK\r\n[^]*\r\nTransfer-Encoding: chunked$/)
    t.equal(await client.body(), Array.from({ length: 200 }, (_, n) => block(String(n))).join(''))
    t.match(await log.find(CLOSED), { reason: 'finished', events: 200 })
    t.same(log.complaints, [])
  },

  'a lone event is written in the turn it is made in, and waits for no other': async (t, line) => {
    const arrived = [deferred(), deferred()] as const
    const { client } = await line.open(serving(async function * () {
      for (const [index, event] of arrived.entries()) {
        yield `${index}`
        await setImmediate()
        t.equal(line.writes, index + 1)
        await event.promise
      }
    }))
    await client.head()
    for (const [index, event] of arrived.entries()) {
      t.equal(String(await client.chunk()), block(`${index}`))
      event.resolve()
    }
    t.same(await client.chunks(), [])
  },

  'a burst is one chunk': async (t, line) => {
    // Else a system that takes the processor away for longer than a turn may last would cut a burst in two.
    const now = performance.now()
    const clock = mock.method(performance, 'now', () => now)
    t.teardown(() => { clock.mock.restore() })
    const arrived = [deferred(), deferred(), deferred()] as const
    const { client } = await line.open(serving(async function * () {
      for (const burst of arrived) {
        for (let n = 0; n < 5; n++) yield String(n)
        await burst.promise
      }
    }))
    await client.head()
    for (const burst of arrived) {
      t.equal(String(await client.chunk()), ['0', '1', '2', '3', '4'].map(block).join(''))
      burst.resolve()
    }
    t.same(await client.chunks(), [])
  },

  'a client that does not read is waited for, and then gets everything in order': async (t, line) => {
    const size = 64 * KIB
    const sent = createHash('sha256')
    let pulled = 0
    let total = Infinity
    const { client, log } = await line.open(serving(function * () {
      while (pulled < total) {
        const event = `${pulled++} `.padEnd(size, pulled % 2 ? '.' : '☃')
        sent.update(block(event))
        yield event
      }
    }))
    await client.head()
    await quiet(() => pulled)
    t.ok(pulled < PLENTY / size, `made to wait at ${pulled}`)
    total = pulled
    const received = createHash('sha256')
    for (const chunk of await client.chunks()) received.update(chunk)
    t.equal(received.digest('hex'), sent.digest('hex'))
    t.match(await log.find(CLOSED), { reason: 'finished', events: pulled })
  },

  'large events arrive byte by byte as they are in UTF-8, cut in the middle of characters': async (t, line) => {
    const large = [0, 1, 2, 3].flatMap(shift => ['é', '☃', '😀', '\ud800', '😀\udc00é'].map(piece => 'x'.repeat(shift) + piece.repeat(100 * KIB / piece.length)))
    const aroundAPiece = [16, 32].flatMap(kib => [-9, -8, -7, -1, 0, 1].flatMap(more => ['x', 'é', '☃'].map(piece => piece.repeat(kib * KIB + more))))
    const events = ['', ...large, ...aroundAPiece, '😀', '\udc00', 'x'.repeat(100 * KIB)]
    const { client } = await line.open(serving(events))
    await client.head()
    const chunks = await client.chunks()
    t.ok(Buffer.concat(chunks).equals(Buffer.from(events.map(block).join(''))), 'all bytes are the same')
    t.ok(chunks.some(chunk => ((chunk[0] ?? 0) & 0xc0) === 0x80), 'some chunk starts within a character')
  },

  'a connection serves streams and other responses, one after the other': async (t, line) => {
    const served = await line.open(serving(['one', 'two']))
    const { client } = served
    for (let stream = 0; stream < 3; stream++) {
      t.match(await client.head(), /^HTTP\/1.1 200 OK\r\n/)
      t.equal(await client.body(), block('one') + block('two'))
      await assertAlive(t, served)
      client.send(get('/'))
    }
  },

  'trailers follow the last chunk': async (t, line) => {
    const served = await line.open(app => app.get('/', (request, reply) => {
      reply.trailer('x-count', (reply, payload, done) => { done(null, '1') })
      return reply.sse(['one'])
    }))
    const { client } = served
    t.match(await client.head(), /\r\nTrailer: x-count\r\n/i)
    t.equal(String(await client.chunk()), block('one'))
    t.equal(await client.chunk(), undefined)
    t.equal(await client.trailers(), 'x-count: 1\r\n')
    await assertAlive(t, served)
  },

  'a source that throws tears the connection, behind the event of onError': async (t, line) => {
    const burst = Array.from({ length: 5_000 }, (_, n) => `${n} ☃`)
    const { client, log } = await line.open(serving(async function * () {
      yield * burst
      throw new Error('source')
    }, { onError: () => 'sorry' }))
    await client.head()
    t.equal(await client.torn(), [...burst, 'sorry'].map(block).join(''))
    t.match(await log.find(CLOSED), { reason: 'error', events: 5_000 })
  },

  'a source that throws in the turn of its first event tears the connection too': async (t, line) => {
    const { client, log } = await line.open(serving(async function * () {
      yield 'one'
      throw new Error('source')
    }))
    await client.head()
    t.equal(await client.torn(), block('one'))
    t.match(await log.find(CLOSED), { reason: 'error', events: 1 })
  },

  'a client that leaves ends the source': async (t, line) => {
    const ended = deferred<unknown>()
    const { client, log } = await line.open(serving(async function * (stream) {
      try {
        yield 'one'
        await aborted(stream)
      } finally {
        ended.resolve(stream.signal.reason?.reason)
      }
    }))
    await client.head()
    await client.chunk()
    client.socket.destroy()
    t.equal(await ended.promise, 'client')
    t.match(await log.find(CLOSED), { reason: 'client', events: 1 })
    t.same(log.complaints, [])
  },

  'a client that leaves while it is waited for ends the source': async (t, line) => {
    const ended = deferred<unknown>()
    const { client, log } = await line.open(serving(function * () {
      try {
        for (;;) yield 'x'.repeat(64 * KIB)
      } finally {
        ended.resolve(true)
      }
    }))
    await client.head()
    client.socket.destroy()
    t.equal(await ended.promise, true)
    t.match(await log.find(CLOSED), { reason: 'client' })
    t.same(log.complaints, [])
  },

  'a client that says it sends no more is taken for gone: what comes then is not written': async (t, line) => {
    const ended = deferred<unknown>()
    const { app, client, log } = await line.open(app => app.get('/', (request, reply) => reply.sse(async function * (stream) {
      try {
        yield 'one'
        await once(request.raw.socket, 'end')
        t.equal(request.raw.socket.writable, false)
        yield 'late'
        await aborted(stream)
      } finally {
        ended.resolve(stream.signal.reason?.reason)
      }
    })))
    app.server.on('clientError', error => t.fail(`not even tried: ${error}`))
    await client.head()
    t.equal(String(await client.chunk()), block('one'))
    client.socket.end()
    t.equal(await client.torn(), '')
    t.equal(await ended.promise, 'client')
    t.match(await log.find(CLOSED), { reason: 'client' })
    t.same(log.complaints, [])
  },

  'a client that says so before the first event gets no half of a head': async (t, line) => {
    const { client, log } = await line.open(app => {
      app.get('/', (request, reply) => reply.sse(async function * (stream) {
        await once(request.raw.socket, 'end')
        t.equal(request.raw.socket.writable, false)
        yield 'late'
        await aborted(stream)
      }, { prime: 60_000 }))
      app.get('/first', (request, reply) => reply.sse(['first']))
    }, {}, get('/first'))
    await client.head()
    t.equal(await client.body(), block('first'))
    client.socket.end(get('/'))
    t.equal(await client.rest(), '')
    t.match((await log.take(CLOSED, 2))[1], { reason: 'client' })
    t.same(log.complaints, [])
  },

  'a quiet stream has heartbeats': async (t, line) => {
    const { client } = await line.open(serving(async function * (stream) {
      yield 'one'
      await aborted(stream)
    }, { heartbeat: 10 }))
    await client.head()
    t.equal(String(await client.chunk()), block('one'))
    for (let n = 0; n < 3; n++) t.equal(String(await client.chunk()), ':\n')
  },

  'app.close() sends a farewell and the end': async (t, line) => {
    const { app, client, log } = await line.open(serving(async function * (stream) {
      yield 'one'
      await aborted(stream)
    }, { shutdown: { retry: 1234 } }))
    await client.head()
    t.equal(String(await client.chunk()), block('one'))
    const closed = app.close()
    t.equal(await client.body(), 'retry: 1234\n')
    t.equal(await client.rest(), '')
    await closed
    t.match(await log.find(CLOSED), { reason: 'shutdown' })
  },

  'maxAge ends a stream as its source would': async (t, line) => {
    const served = await line.open(serving(async function * (stream) {
      yield 'one'
      await aborted(stream)
    }, { maxAge: 50 }))
    await served.client.head()
    t.equal(await served.client.body(), block('one'))
    t.match(await served.log.find(CLOSED), { reason: 'expired' })
    await assertAlive(t, served)
  },

  'writeTimeout cuts a client that takes nothing, without the end': async (t, line) => {
    const { client, log } = await line.open(serving(function * () { for (;;) yield 'x'.repeat(64 * KIB) }, { writeTimeout: 100 }))
    await client.head()
    t.match(await log.find(CLOSED), { reason: 'stalled' })
    t.match(await client.torn(), /^data: x/)
  },

  'writeTimeout cuts a client that takes no end': async (t, line) => {
    const closed = deferred()
    const { client, log } = await line.open(app => app.get('/', (request, reply) => {
      reply.raw.once('close', () => { closed.resolve() })
      return reply.sse(['x'.repeat(PLENTY)], { writeTimeout: 100 })
    }))
    await client.head()
    t.match(await log.find(CLOSED), { reason: 'finished' })
    await closed.promise
    t.match(await client.torn(), /^data: x/)
  },

  'requests behind a stream are answered when it has ended, also by streams': async (t, line) => {
    const released = deferred()
    const { client } = await line.open(app => {
      app.get('/:name', (request, reply) => reply.sse(async function * () {
        yield `${request.url} 1`
        await released.promise
        yield `${request.url} 2`
      }))
    }, {}, get('/a') + get('/b') + get('/c'))
    await client.head()
    t.equal(String(await client.chunk()), block('/a 1'))
    released.resolve()
    t.equal(await client.body(), block('/a 2'))
    for (const path of ['/b', '/c']) {
      t.match(await client.head(), /^HTTP\/1.1 200 /)
      t.equal(await client.body(), block(`${path} 1`) + block(`${path} 2`))
    }
  },

  'a stream that waits behind another takes the line if its first event comes when it is its turn': async (t, line) => {
    const turn = deferred()
    const { client } = await line.open(app => {
      app.get('/first', (request, reply) => reply.sse(['first']))
      app.get('/second', (request, reply) => reply.sse(async function * () {
        await turn.promise
        yield 'second'
      }, { prime: 60_000 }))
    }, {}, get('/first') + get('/second'))
    await client.head()
    t.equal(await client.body(), block('first'))
    const { writes } = line
    turn.resolve()
    await client.head()
    t.equal(await client.body(), block('second'))
    t.equal(line.writes, writes + 1)
  },

  'Connection: close is heeded': async (t, line) => {
    const { client } = await line.open(serving(['one', 'two']), {}, get('/', { connection: 'close' }))
    t.match(await client.head(), /\r\nConnection: close\r\n/i)
    t.equal(await client.body(), block('one') + block('two'))
    t.equal(await client.rest(), '')
  },

  'prime: 0 sends the head and a first byte at once': async (t, line) => {
    const arrived = deferred()
    const { client } = await line.open(serving(async function * () {
      await arrived.promise
      yield 'one'
    }, { prime: 0, retry: 5 }))
    await client.head()
    t.equal(String(await client.chunk()), 'retry: 5\n:\n')
    arrived.resolve()
    t.equal(await client.body(), block('one'))
  },

  'a first event later than prime comes behind a first byte': async (t, line) => {
    const arrived = deferred()
    const { client } = await line.open(serving(async function * () {
      await arrived.promise
      yield 'one'
    }, { prime: 10 }))
    await client.head()
    t.equal(String(await client.chunk()), ':\n')
    arrived.resolve()
    t.equal(await client.body(), block('one'))
  },

  'headers that are set late are in the head': async (t, line) => {
    const { client } = await line.open(app => {
      app.addHook('onSend', async (request, reply) => {
        await setImmediate()
        reply.header('x-hook', 'yes')
      })
      app.get('/', (request, reply) => reply.sse(async function * () {
        await setImmediate()
        reply.header('x-source', 'yes').code(202)
        yield 'one'
      }))
    })
    t.match(await client.head(), /^HTTP\/1.1 202 Accepted\r\n(?=[^]*x-hook: yes)(?=[^]*x-source: yes)/)
    t.equal(await client.body(), block('one'))
  }
}

const behavioursOfChannels: Record<string, Behaviour> = {
  'each event is a chunk for each client, byte by byte as it is in UTF-8': async (t, line) => {
    const { app, client, port } = await line.open(app => app.get('/', (request, reply) => reply.sse(app.sse.channel('news'))))
    const clients = [client, await readFrom(t, port, get('/'), line.kind)]
    for (const client of clients) {
      await client.head()
      t.equal(String(await client.chunk()), ':\n')
    }
    for (const data of ['', 'one', '☃', 'é\ud800😀', 'x'.repeat(60 * KIB), '☃'.repeat(20 * KIB)]) {
      const id = await app.sse.channel('news').publish(data)
      const expected = Buffer.from(`id: ${id}\n${block(data)}`)
      for (const client of clients) t.ok((await client.chunk())?.equals(expected), `${expected.length} bytes`)
    }
  },

  'what was missed comes behind the head and the reconnection time': async (t, line) => {
    const { app, client } = await line.open(app => app.get('/', (request, reply) => reply.sse(app.sse.channel('news', { history: { size: 10 } }), { retry: 5 })), {}, '')
    const [last, ...missed] = [await app.sse.channel('news').publish('1'), await app.sse.channel('news').publish('2'), await app.sse.channel('news').publish('3')]
    client.send(get('/', { 'last-event-id': last }))
    await client.head()
    t.equal(String(await client.chunk()), 'retry: 5\n' + missed.map((id, index) => `id: ${id}\n${block(`${index + 2}`)}`).join(''))
  },

  'app.close() sends a farewell and the end': async (t, line) => {
    const { app, client } = await line.open(app => app.get('/', (request, reply) => reply.sse(app.sse.channel('news'))), { shutdown: { retry: 1234 } })
    await client.head()
    t.equal(String(await client.chunk()), ':\n')
    const id = await app.sse.channel('news').publish('☃')
    const closed = app.close()
    t.equal(await client.body(), `id: ${id}\n${block('☃')}retry: 1234\n`)
    await closed
  }
}

const behavioursOfTcp: Record<string, Behaviour> = {
  'the head, the reconnection time and the first event arrive in one piece': async (t, line) => {
    const arrived = deferred()
    const { port } = await line.open(serving(async function * () {
      yield 'one'
      await arrived.promise
      yield 'two'
    }, { retry: 5 }), {}, '')
    const client = await connectTo(t, port, get('/'))
    await once(client.socket, 'data')
    t.match(client.received, /^HTTP\/1.1 200 OK\r\n[^]*\r\n\r\n14\r\nretry: 5\ndata: one\n\n\r\n$/)
    arrived.resolve()
    await client.until('\r\n0\r\n\r\n')
    t.equal(line.corked, line.kind.isPlain ? 0 : 1, 'only the first event, and not by chance')
  },

  'a thousand streams on one connection leave no listener on it': async (t, line) => {
    const { app, port } = await line.open(serving(['one']))
    const accepted = once(app.server, 'connection')
    const client = await connectTo(t, port)
    const [socket]: Socket[] = await accepted
    const listeners = () => socket?.eventNames().map(name => [String(name), socket.listenerCount(name)])
    let first
    for (let n = 0; n < 1_000; n++) {
      client.received = ''
      client.send(get('/'))
      await client.until('\r\n0\r\n\r\n')
      await setImmediate()
      first ??= listeners()
    }
    t.same(listeners(), first)
  }
}

const withoutBody: Record<string, Behaviour> = {
  'a source without an event: 204 for an EventSource': async (t, line) => {
    const served = await line.open(serving([]), {}, get('/', EVENT_SOURCE))
    t.match(await served.client.head(), /^HTTP\/1.1 204 No Content\r\n(?![^]*transfer-encoding)/i)
    await assertAlive(t, served)
  },

  'a source without an event: an empty 200 for anybody else': async (t, line) => {
    const served = await line.open(serving([]))
    t.match(await served.client.head(), /^HTTP\/1.1 200 OK\r\n(?=[^]*text\/event-stream)(?=[^]*content-length: 0)/i)
    await assertAlive(t, served)
  },

  HEAD: async (t, line) => {
    const served = await line.open(serving(async function * () { t.fail('is not called') }), {}, get('/').replace('GET', 'HEAD'))
    t.match(await served.client.head(), /^HTTP\/1.1 200 OK\r\n[^]*text\/event-stream/)
    await assertAlive(t, served)
  },

  'a status that has no body, set by the handler': async (t, line) => {
    const served = await line.open(app => app.get('/', (request, reply) => reply.code(304).sse(async function * () { t.fail('is not called') })))
    t.match(await served.client.head(), /^HTTP\/1.1 304 Not Modified\r\n/)
    await assertAlive(t, served)
  },

  'an error before the first event': async (t, line) => {
    const { client } = await line.open(serving(async function * () { throw new Error('early') }))
    t.match(await client.head(), /^HTTP\/1.1 500 /)
  }
}

for (const [name, kind] of Object.entries(kinds)) {
  t.test(`on the line ${name}`, async t => {
    for (const [title, behave] of Object.entries({ ...behaviours, ...(kind.secure ? {} : behavioursOfTcp) })) {
      t.test(title, async t => {
        const line = new Line(t, kind)
        await behave(t, line)
        line.prove()
      })
    }
    for (const [title, behave] of Object.entries(behavioursOfChannels)) {
      t.test(`a channel: ${title}`, async t => {
        const line = new Line(t, kind)
        await behave(t, line)
        line.prove()
      })
    }
    for (const [title, behave] of Object.entries(withoutBody)) {
      t.test(`nothing of a body goes by it: ${title}`, async t => {
        const line = new Line(t, kind)
        await behave(t, line)
        t.equal(line.writes, 0)
      })
    }
  })
}

t.test('the line is that of the response', async t => {
  /** How many chunks of a server's streams went to the socket in one piece. */
  async function watched (t: Test, routes: (app: FastifyInstance) => unknown, fastify: object = {}) {
    let frames = 0
    const served = await serve(t, app => {
      watchSockets(app, () => { frames++ })
      return routes(app)
    }, { fastify })
    return { ...served, frames: () => frames }
  }

  t.test('over HTTP/1.0', async t => {
    const { port, frames } = await watched(t, serving(['one', 'two']))
    const client = await connectTo(t, port, get('/', {}, '1.0'))
    await client.closed
    t.match(client.received, /\r\n\r\ndata: one\n\ndata: two\n\n$/)
    t.equal(frames(), 0)
  })

  t.test('over HTTP/1.0, for a channel', async t => {
    const { app, port, frames } = await watched(t, app => app.get('/', (request, reply) => reply.sse(app.sse.channel('news'))))
    const client = await connectTo(t, port, get('/', {}, '1.0'))
    await client.until('\r\n\r\n:\n')
    const id = await app.sse.channel('news').publish('☃')
    await client.until(`\r\n\r\n:\nid: ${id}\n${block('☃')}`)
    t.equal(frames(), 0)
  })

  t.test('over HTTP/2', async t => {
    const { url } = await serve(t, serving(['one', 'two']), { fastify: { http2: true } as object })
    const session = connectHttp2(url)
    t.teardown(() => { session.destroy() })
    t.equal(await text(session.request({ ':path': '/' })), block('one') + block('two'))
  })

  t.test('where it is injected', async t => {
    const { app, frames } = await watched(t, serving(['one', 'two']))
    t.equal((await app.inject('/')).body, block('one') + block('two'))
    t.equal(frames(), 0)
  })

  t.test('behind a transform of a hook', async t => {
    const { port, frames } = await watched(t, app => {
      app.addHook('onSend', async (request, reply, payload) => (payload as NodeJS.ReadableStream).pipe(new PassThrough()))
      serving(['one', 'two'])(app)
    })
    const client = await readFrom(t, port, get('/'))
    await client.head()
    t.equal(await client.body(), block('one') + block('two'))
    t.equal(frames(), 0)
  })

  t.test('behind a compression, which is made to let go of each event', async t => {
    const arrived = deferred()
    const { port, frames } = await watched(t, app => {
      app.addHook('onSend', async (request, reply, payload) => {
        reply.header('content-encoding', 'gzip')
        return (payload as NodeJS.ReadableStream).pipe(createGzip())
      })
      serving(async function * () {
        yield 'one'
        await arrived.promise
        yield 'two'
      })(app)
    })
    const client = await readFrom(t, port, get('/'))
    await client.head()
    const unzip = createGunzip()
    const texts = unzip.setEncoding('utf8')[Symbol.asyncIterator]()
    const fed = (async () => {
      for (let chunk = await client.chunk(); chunk !== undefined; chunk = await client.chunk()) unzip.write(chunk)
      unzip.end()
    })()
    t.equal((await texts.next()).value, block('one'))
    arrived.resolve()
    t.equal((await texts.next()).value, block('two'))
    await fed
    t.equal(frames(), 0)
  })

  t.test('with a content-length', async t => {
    const { port, frames } = await watched(t, app => app.get('/', (request, reply) => reply.header('content-length', '11').sse(['one'])))
    const client = await readFrom(t, port, get('/'))
    t.notMatch(await client.head(), /transfer-encoding/i)
    t.equal(String(await client.take(11)), block('one'))
    t.equal(frames(), 0)
  })

  t.test('with a status that has no body, set by the source', async t => {
    const { port, frames } = await watched(t, app => {
      app.get('/', (request, reply) => reply.sse(async function * () {
        reply.code(204)
        yield 'one'
      }))
      app.get('/next', (request, reply) => reply.sse(['next']))
    })
    const client = await readFrom(t, port, get('/'))
    t.match(await client.head(), /^HTTP\/1.1 204 /)
    t.equal(frames(), 0)
    client.send(get('/next'))
    await client.head()
    t.equal(await client.body(), block('next'))
  })

  t.test('in a class with a write of its own', async t => {
    const { port, frames } = await watched(t, serving(['one', 'two']), {
      serverFactory: (handler: RequestListener) => createServer({ ServerResponse: Shouting }, handler)
    })
    const client = await readFrom(t, port, get('/'))
    await client.head()
    t.equal(await client.body(), 'DATA: ONE\n\nDATA: TWO\n\n')
    t.equal(frames(), 0)
  })

  t.test('where its first event comes while it waits behind another response, to its end', async t => {
    const second = deferred()
    const arrived = deferred()
    const { port, frames } = await watched(t, app => {
      app.get('/first', (request, reply) => reply.sse(async function * () {
        await second.promise
        yield 'first'
      }, { prime: 60_000 }))
      app.get('/second', (request, reply) => reply.sse(async function * () {
        yield '1'
        second.resolve()
        await arrived.promise
        yield '2'
      }))
    })
    const client = await readFrom(t, port, get('/first') + get('/second'))
    await client.head()
    t.equal(await client.body(), block('first'))
    await client.head()
    t.equal(String(await client.chunk()), block('1'))
    arrived.resolve()
    t.equal(await client.body(), block('2'))
    t.equal(frames(), 1, 'that of the first')
  })
})

class Shouting extends ServerResponse {
  override write (chunk: unknown, ...rest: unknown[]): boolean {
    return Reflect.apply(super.write, this, [String(chunk).toUpperCase(), ...rest])
  }
}
