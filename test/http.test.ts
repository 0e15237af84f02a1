import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, constants, type ClientHttp2Session, type IncomingHttpHeaders } from 'node:http2'
import { connect as connectTcp, type Socket } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Duplex, PassThrough, Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { connect as connectTls } from 'node:tls'
import type { FastifyReply } from 'fastify'
import t, { type Test } from 'tap'
import { request } from 'undici'
import type { StreamContext } from '../plugin/types'
import { selfSigned } from './helpers/certificate'
import { EVENT_SOURCE, open } from './helpers/client'
import { deferred } from './helpers/deferred'
import { serve } from './helpers/serve'
import { connectSecurely, connectTo, get, RawClient } from './helpers/socket'

const LAST_CHUNK = '\r\n0\r\n\r\n'

async function * greet () {
  yield 'hello'
}

/** A source that never ends by itself, and tells the reason why it was ended. */
function parked () {
  const ended = deferred<unknown>()
  async function * source ({ signal }: StreamContext) {
    try {
      yield 'hello'
      if (!signal.aborted) await once(signal, 'abort')
    } finally {
      ended.resolve(signal.reason?.reason)
    }
  }
  return { source, ended: ended.promise }
}

/** A source that fails when the client has its first event. */
function torn () {
  const arrived = deferred()
  async function * source () {
    yield 'hello'
    await arrived.promise
    throw new Error('torn')
  }
  return { source, fail: arrived.resolve }
}

function readable () {
  return new Readable({ objectMode: true, read () { this.push('hello') } })
}

/** A connection that keeps what it carries. */
class Wire extends Duplex {
  readonly #socket: Socket
  readonly #received: Buffer[] = []

  constructor (t: Test, port: number) {
    super()
    this.#socket = connectTcp({ host: '127.0.0.1', port })
    this.#socket.on('data', chunk => {
      this.#received.push(chunk)
      this.push(chunk)
    })
    this.#socket.on('end', () => this.push(null))
    t.teardown(() => { this.#socket.destroy() })
  }

  override _read () {}

  override _write (chunk: Buffer, encoding: BufferEncoding, done: () => void) {
    this.#socket.write(chunk, done)
  }

  /** The content types of the TLS records that came (RFC 5246 6.2.1). */
  get recordTypes (): number[] {
    const bytes = Buffer.concat(this.#received)
    const types: number[] = []
    for (let at = 0; at < bytes.length; at += 5 + bytes.readUInt16BE(at + 3)) types.push(bytes.readUInt8(at))
    return types
  }
}

async function closed (stream: Readable) {
  if (!stream.closed) await once(stream, 'close')
}

t.test('HEAD', async t => {
  for (const [title, exposeHeadRoutes] of [['of a GET route', true], ['of a route of its own', false]] as const) {
    t.test(`${title} answers the headers of GET, and never starts the source`, async t => {
      let calls = 0
      const pushed = readable()
      const { port, url, log } = await serve(t, app => {
        const answer = (reply: FastifyReply) => reply.header('x-own', '1').sse(() => {
          calls++
          return greet()
        })
        app.get('/', (request, reply) => answer(reply))
        app.get('/readable', (request, reply) => reply.sse(pushed))
        if (exposeHeadRoutes) return
        app.head('/', (request, reply) => answer(reply))
        app.head('/readable', (request, reply) => reply.sse(pushed))
      }, { fastify: { exposeHeadRoutes }, plugin: { maxStreams: 1 } })

      const head = await request(url, { method: 'HEAD' })
      t.equal(head.statusCode, 200)
      t.equal(await head.body.text(), '')
      t.equal(calls, 0)

      const pushedHead = await request(`${url}/readable`, { method: 'HEAD' })
      t.match(pushedHead, { statusCode: 200, headers: { 'content-type': 'text/event-stream' } })
      await closed(pushed)

      const { headers, body } = await request(url)
      t.equal(await body.text(), 'data: hello\n\n')
      for (const name of ['content-type', 'cache-control', 'x-accel-buffering', 'x-own']) {
        t.equal(head.headers[name], headers[name], name)
        t.type(headers[name], 'string')
      }

      const client = await connectTo(t, port, get('/').replace('GET', 'HEAD') + get('/'))
      t.match(await client.until(LAST_CHUNK), /^HTTP\/1.1 200 [^]+?\r\n\r\nHTTP\/1.1 200 /, 'nothing follows the head')
      t.same(log.complaints, [])
    })
  }
})

t.test('the status that the handler has chosen', async t => {
  for (const status of [204, 304]) {
    t.test(`${status} is sent without a body, and the source is never started`, async t => {
      let calls = 0
      const pushed = readable()
      const { port, log } = await serve(t, app => {
        app.get('/function', (request, reply) => reply.code(status).sse(() => {
          calls++
          return greet()
        }))
        app.get('/readable', (request, reply) => reply.code(status).sse(pushed))
        app.get('/', (request, reply) => reply.sse(greet))
      }, { plugin: { maxStreams: 1 } })
      const client = await connectTo(t, port, get('/function') + get('/readable') + get('/'))
      const received = await client.until(LAST_CHUNK)
      t.match(received, new RegExp(`^HTTP/1.1 ${status} [^]+?\r\n\r\nHTTP/1.1 ${status} [^]+?\r\n\r\nHTTP/1.1 200 `))
      t.equal(calls, 0)
      await closed(pushed)
      t.same(log.complaints, [])
    })
  }

  t.test('any other is that of the stream', async t => {
    const { url } = await serve(t, app => {
      app.get('/', (request, reply) => reply.code(202).sse(greet))
      app.get('/quiet', (request, reply) => reply.code(202).sse(parked().source, { prime: 0 }))
    })
    for (const path of ['/', '/quiet']) {
      const { response, next } = await open(t, url + path)
      t.equal(response.status, 202)
      t.match(await next(), { data: 'hello' })
    }
  })
})

t.test('a source without an event, asked by an EventSource', async t => {
  const serveEmpty = (t: Test) => serve(t, app => {
    const status = (reply: FastifyReply, code: number) => reply.sse(async function * () { reply.code(code) })
    app.get('/', (request, reply) => reply.sse([]))
    app.get('/trailers', (request, reply) => {
      reply.trailer('x-count', (reply, payload, done) => { done(null, '0') })
      return reply.sse([])
    })
    app.get('/404', (request, reply) => status(reply, 404))
    app.get('/201', (request, reply) => status(reply, 201))
    app.get('/204', (request, reply) => status(reply, 204))
  })

  t.test('with trailers is an empty 200, which has them, and the connection is fit for the next request', async t => {
    const { port, log } = await serveEmpty(t)
    const client = await connectTo(t, port, get('/trailers', EVENT_SOURCE) + get('/', EVENT_SOURCE))
    t.match(await client.until('HTTP/1.1 204'), /^HTTP\/1.1 200 OK\r\n(?=[^]*text\/event-stream)[^]*\r\n\r\n0\r\nx-count: 0\r\n\r\nHTTP/)
    t.same(log.complaints, [])
  })

  t.test('with a status that its source has chosen has that', async t => {
    const { url, log } = await serveEmpty(t)
    for (const status of [404, 201, 204]) {
      const { statusCode, body } = await request(`${url}/${status}`, { headers: EVENT_SOURCE })
      t.equal(statusCode, status)
      t.equal(await body.text(), '')
    }
    t.same(log.complaints, [])
  })
})

t.test('timeouts', async t => {
  for (const [title, fastify] of Object.entries({
    handlerTimeout: { handlerTimeout: 100 },
    connectionTimeout: { connectionTimeout: 100 },
    requestTimeout: { requestTimeout: 100, http: { connectionsCheckingInterval: 20 } },
    keepAliveTimeout: { keepAliveTimeout: 100 }
  })) {
    t.test(`${title} does not end a quiet stream, before its first event or after it`, async t => {
      const { url, log } = await serve(t, app => app.get('/', (request, reply) => reply.sse(async function * () {
        await setTimeout(300)
        yield 'one'
        await setTimeout(300)
        yield 'two'
      })), { fastify, plugin: { prime: 10 } })
      const { rest } = await open(t, url)
      t.match(await rest(), [{ data: 'one' }, { data: 'two' }])
      t.match(await log.find('event stream closed'), { reason: 'finished' })
      t.same(log.complaints, [])
    })
  }

  t.test('handlerTimeout answers while the stream is not open yet', async t => {
    const ended = deferred<unknown>()
    const { url, log } = await serve(t, app => app.get('/', (request, reply) => reply.sse(async function * ({ signal }) {
      await once(signal, 'abort').finally(() => { ended.resolve(signal.reason) })
    })), { fastify: { handlerTimeout: 50 }, plugin: { prime: 60_000 } })
    const { statusCode, headers, body } = await request(url)
    t.equal(statusCode, 503)
    t.match(headers['content-type'], 'application/json')
    t.match(await body.json(), { code: 'FST_ERR_HANDLER_TIMEOUT' })
    t.match(await ended.promise, { reason: 'error' })
    t.match(await log.find('event stream closed'), { reason: 'error' })
  })

  t.test('connectionTimeout is back for the next request on the connection', async t => {
    for (const keepAliveTimeout of [10_000, 0]) {
      const { port } = await serve(t, app => {
        app.get('/', (request, reply) => reply.sse(greet))
        app.get('/hanging', () => new Promise(() => {}))
      }, { fastify: { connectionTimeout: 100, keepAliveTimeout }, plugin: { writeTimeout: 3_600_000 } })
      const client = await connectTo(t, port, get('/'))
      await client.until(LAST_CHUNK)
      client.send(get('/hanging'))
      t.equal(await client.closed, undefined, `keepAliveTimeout: ${keepAliveTimeout}`)
    }
  })

  t.test('keepAliveTimeout closes the connection when its stream has finished', async t => {
    const { port } = await serve(t, app => app.get('/', (request, reply) => reply.sse(greet)),
      { fastify: { keepAliveTimeout: 100 }, plugin: { writeTimeout: 3_600_000 } })
    const client = await connectTo(t, port, get('/'))
    await client.until(LAST_CHUNK)
    t.equal(await client.closed, undefined)
  })
})

t.test('app.close() says farewell to open streams', async t => {
  for (const forceCloseConnections of [true, 'idle', false] as const) {
    t.test(`with forceCloseConnections: ${forceCloseConnections}`, async t => {
      const streams = [parked(), parked()]
      const { app, port } = await serve(t, app => {
        for (const [index, { source }] of streams.entries()) app.get(`/${index}`, (request, reply) => reply.sse(source))
      }, { fastify: { forceCloseConnections }, plugin: { shutdown: { retry: 1234 } } })
      const clients = await Promise.all(streams.map((_, index) => connectTo(t, port, get(`/${index}`))))
      await Promise.all(clients.map(client => client.until('data: hello\n\n')))
      await app.close()
      t.same(await Promise.all(streams.map(({ ended }) => ended)), ['shutdown', 'shutdown'])
      for (const client of clients) {
        t.equal(await client.closed, undefined)
        t.ok(client.received.endsWith(`retry: 1234\n${LAST_CHUNK}`))
      }
    })
  }
})

t.test('keep-alive', async t => {
  t.test('a connection serves one stream after the other', async t => {
    const { port } = await serve(t, app => app.get('/:name', (request, reply) => reply.sse([request.url])))
    const client = await connectTo(t, port)
    for (const path of ['/a', '/b', '/c']) {
      client.received = ''
      client.send(get(path))
      const received = await client.until(LAST_CHUNK)
      t.ok(received.includes(`data: ${path}\n\n`))
      t.match(received, /^HTTP\/1.1 200 /)
    }
  })

  t.test('a client that leaves after a finished stream leaves only its current one', async t => {
    const { source, ended } = parked()
    const { port, log } = await serve(t, app => {
      app.get('/finite', (request, reply) => reply.sse(greet))
      app.get('/parked', (request, reply) => reply.sse(source))
    })
    const client = await connectTo(t, port, get('/finite'))
    await client.until(LAST_CHUNK)
    client.send(get('/parked'))
    client.received = ''
    await client.until('data: hello')
    client.socket.destroy()
    t.equal(await ended, 'client')
    const lines = await log.take('event stream closed', 2)
    t.same(lines.map(({ reason }) => reason), ['finished', 'client'])
    t.same(log.complaints, [])
  })
})

t.test('pipelined requests', async t => {
  t.test('are answered completely and in their order', async t => {
    const secondDone = deferred()
    const { port } = await serve(t, app => {
      app.get('/first', (request, reply) => reply.sse(async function * () {
        yield 'first'
        await secondDone.promise
        yield 'first again'
      }))
      app.get('/second', (request, reply) => reply.sse(async function * () {
        try {
          for (let count = 0; count < 3; count++) yield `second ${count}`
        } finally {
          secondDone.resolve()
        }
      }))
      app.get('/third', (request, reply) => reply.sse(['third']))
    })
    const client = await connectTo(t, port, get('/first') + get('/second') + get('/third'))
    const received = await client.until('data: third\n\n' + LAST_CHUNK)
    t.same(received.match(/(?<=^data: ).*/gm), ['first', 'first again', 'second 0', 'second 1', 'second 2', 'third'])
    t.same(received.match(/^0\r$/gm)?.length, 3)
  })

  t.test('a stream that waits for its turn is not pulled without bound', async t => {
    const done = deferred()
    const started = deferred()
    let pulled = 0
    const { port } = await serve(t, app => {
      app.get('/first', (request, reply) => reply.sse(async function * () {
        await done.promise
        yield `pulled ${pulled}`
      }))
      app.get('/greedy', (request, reply) => reply.sse(async function * () {
        started.resolve()
        for (;;) {
          yield 'x'.repeat(1024)
          if (++pulled > 16 * 1024) done.resolve()
        }
      }))
    })
    const client = await connectTo(t, port, get('/first') + get('/greedy'))
    await started.promise
    for (let turn = 0; turn < 100; turn++) await setImmediate()
    done.resolve()
    const count = Number(/pulled (\d+)/.exec(await client.until('\n\n'))?.[1])
    t.ok(count > 0)
    t.ok(count < 2 * 1024, `${count} KiB`)
  })

  t.test('a stream that waits for its turn ends with the connection', async t => {
    const streams = [parked(), parked()]
    const started = deferred()
    const { port, log } = await serve(t, app => {
      app.get('/0', (request, reply) => reply.sse(streams[0]!.source))
      app.get('/1', (request, reply) => reply.sse(stream => {
        started.resolve()
        return streams[1]!.source(stream)
      }))
    })
    const client = await connectTo(t, port, get('/0') + get('/1'))
    await client.until('data: hello')
    await started.promise
    client.socket.destroy()
    t.same(await Promise.all(streams.map(({ ended }) => ended)), ['client', 'client'])
    await log.take('event stream closed', 2)
    t.same(log.complaints, [])
  })

  t.test('a stream that fails while it waits for its turn is torn only then', async t => {
    const { source, fail } = torn()
    const failed = deferred()
    const { port, log } = await serve(t, app => {
      app.get('/first', (request, reply) => reply.sse(async function * () {
        yield 'first'
        await failed.promise
        yield 'first again'
      }))
      app.get('/second', (request, reply) => reply.sse(source))
    })
    const client = await connectTo(t, port, get('/first') + get('/second'))
    await client.until('data: first\n\n')
    fail()
    await log.find('event stream failed')
    failed.resolve()
    await client.closed
    t.match(client.received, /data: first again\n\n\r\n0\r\n\r\nHTTP[^]+data: hello\n\n/)
    t.equal(client.received.match(/^0\r$/gm)?.length, 1)
  })

  t.test('connectionTimeout does not end a quiet stream behind one that has finished', async t => {
    const { port } = await serve(t, app => {
      app.get('/first', (request, reply) => reply.sse(async function * () {
        yield 'first'
        await setTimeout(50)
      }))
      app.get('/second', (request, reply) => reply.sse(async function * () {
        yield 'second'
        await setTimeout(400)
        yield 'second again'
      }))
    }, { fastify: { connectionTimeout: 100 } })
    const client = await connectTo(t, port, get('/first') + get('/second'))
    await client.until('data: second again\n\n')
  })

  t.test('app.close() says farewell to all of them', async t => {
    const streams = [parked(), parked()]
    const started = deferred()
    const { app, port } = await serve(t, app => {
      app.get('/0', (request, reply) => reply.sse(streams[0]!.source))
      app.get('/1', (request, reply) => reply.sse(stream => {
        started.resolve()
        return streams[1]!.source(stream)
      }))
    })
    const client = await connectTo(t, port, get('/0') + get('/1'))
    await client.until('data: hello\n\n')
    await started.promise
    await app.close()
    t.same(await Promise.all(streams.map(({ ended }) => ended)), ['shutdown', 'shutdown'])
    t.equal(await client.closed, undefined)
    t.equal(client.received.match(/retry: \d+\n\r\n0\r\n\r\n/g)?.length, 2)
  })
})

t.test('POST with a body', async t => {
  t.test('streams on when the request is closed, as it is once its body was read', async t => {
    const { url, log } = await serve(t, app => app.post<{ Body: { prompt: string } }>('/', (request, reply) => {
      const requestClosed = request.raw.closed || once(request.raw, 'close')
      return reply.sse(async function * ({ signal }) {
        await requestClosed
        for (const word of request.body.prompt.split(' ')) {
          yield { data: { word, aborted: signal.aborted } }
          await setTimeout(20)
        }
      })
    }))
    const { rest } = await open(t, url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ prompt: 'all is well' })
    })
    const events = await rest()
    t.same(events.map(({ data }) => JSON.parse(data)), [
      { word: 'all', aborted: false },
      { word: 'is', aborted: false },
      { word: 'well', aborted: false }
    ])
    t.match(await log.find('event stream closed'), { reason: 'finished' })
  })

  t.test('is ended when the client leaves', async t => {
    const { source, ended } = parked()
    const { url } = await serve(t, app => app.post('/', (request, reply) => reply.sse(source)))
    const { next, close } = await open(t, url, { method: 'POST', headers: { 'content-type': 'text/plain' }, body: 'hello' })
    t.match(await next(), { data: 'hello' })
    close()
    t.equal(await ended, 'client')
  })
})

t.test('a request whose body the source reads', async t => {
  const raw = (path: string) => `POST ${path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/octet-stream\r\ncontent-length: 1000\r\n\r\nabc`

  /** A source that counts what is uploaded, and may fail once its client has gone. */
  const serveUpload = (t: Test, fail?: Error, fastify: object = {}) => serve(t, app => {
    app.addContentTypeParser('application/octet-stream', (request, payload, done) => { done(null) })
    app.post('/', (request, reply) => reply.sse(async function * () {
      let length = 0
      try {
        for await (const chunk of request.raw) yield String(length += chunk.length)
      } catch (error) {
        throw fail ?? error
      }
    }))
    app.post('/in-full', (request, reply) => reply.sse(async function * () {
      yield 'hello'
      yield text(request.raw)
    }))
    app.post('/piped', (request, reply) => reply.sse(request.raw))
  }, { fastify })

  for (const [path, first] of [['/', 'data: 3\n\n'], ['/in-full', 'data: hello\n\n'], ['/piped', 'data: abc\n\n']] as const) {
    t.test(`${path}: a client that leaves in the middle of it is no failure`, async t => {
      const { app, port, log } = await serveUpload(t)
      const client = await connectTo(t, port, raw(path))
      await client.until(first)
      client.socket.destroy()
      t.match(await log.find('event stream closed'), { reason: 'client' })
      await app.close()
      t.same(log.complaints, [])
    })
  }

  t.test('over HTTP/2: a client that leaves in the middle of it is no failure', async t => {
    const { app, port, log } = await serveUpload(t, undefined, { http2: true })
    for (const code of [constants.NGHTTP2_CANCEL, constants.NGHTTP2_NO_ERROR]) {
      const session = connect(`http://127.0.0.1:${port}`)
      t.teardown(() => { session.destroy() })
      const stream = session.request({ ':path': '/', ':method': 'POST', 'content-type': 'application/octet-stream' })
      const client = new RawClient(stream)
      stream.write('abc')
      await client.until('data: 3\n\n')
      stream.close(code)
      await client.closed
      session.destroy()
    }
    // To its reader such a body has come to its end.
    await log.take('event stream closed', 2)
    await app.close()
    t.same(log.complaints, [])
  })

  for (const [title, fail] of Object.entries({
    'a reason of its own': new Error('disk full'),
    'the connection of something else': Object.assign(new Error('disk full'), { code: 'EPIPE' })
  })) {
    t.test(`a source that then fails for ${title} is in the log`, async t => {
      const { port, log } = await serveUpload(t, fail)
      const client = await connectTo(t, port, raw('/'))
      await client.until('data: 3\n\n')
      client.socket.destroy()
      t.match(await log.find('the source of a closed event stream failed'), { level: 40, err: { message: 'disk full' } })
    })
  }

  t.test('a source that reads nothing of it, and fails as a connection does, is in the log', async t => {
    const { url, log } = await serve(t, app => app.post('/', (request, reply) => reply.sse(async function * ({ signal }) {
      yield 'hello'
      await once(signal, 'abort')
      throw Object.assign(new Error('no database'), { code: 'ECONNRESET' })
    })))
    const { next, close } = await open(t, url, { method: 'POST', headers: { 'content-type': 'text/plain' }, body: 'hello' })
    await next()
    close()
    t.match(await log.find('the source of a closed event stream failed'), { level: 40, err: { message: 'no database' } })
  })
})

t.test('a client that has gone before the handler runs starts no source', async t => {
  let calls = 0
  const pushed = readable()
  const entered = deferred()
  const answered = deferred()
  const { app, port, url, log } = await serve(t, app => {
    app.addHook('preHandler', async (request, reply) => {
      if (request.url === '/') return
      entered.resolve()
      await once(reply.raw, 'close')
    })
    app.get('/function', (request, reply) => {
      reply.sse(() => {
        calls++
        return greet()
      })
      answered.resolve()
    })
    app.get('/readable', (request, reply) => reply.sse(pushed))
    app.get('/', (request, reply) => reply.sse(greet))
  }, { plugin: { maxStreams: 1 } })

  const first = await connectTo(t, port, get('/function'))
  await entered.promise
  first.socket.destroy()
  await answered.promise

  const second = await connectTo(t, port, get('/readable'))
  second.socket.destroy()
  await closed(pushed)
  t.equal(pushed.readableDidRead, false)

  const { rest } = await open(t, url)
  t.match(await rest(), [{ data: 'hello' }], 'their places are free')
  t.equal(calls, 0)
  t.same(log.complaints, [])
  await app.close()
})

t.test('HTTP/1.0', async t => {
  t.test('is answered without chunks, and the end of the stream closes the connection', async t => {
    const { port } = await serve(t, app => app.get('/', (request, reply) => reply.sse(['a', 'b'])))
    for (const headers of [{}, { connection: 'keep-alive' }]) {
      const client = await connectTo(t, port, get('/', headers, '1.0'))
      t.equal(await client.closed, undefined)
      t.notMatch(client.received, /transfer-encoding/i)
      t.ok(client.received.endsWith('\r\n\r\ndata: a\n\ndata: b\n\n'))
    }
  })

  t.test('a source that fails resets the connection, so that this is no clean end', async t => {
    const { source, fail } = torn()
    const { port } = await serve(t, app => app.get('/', (request, reply) => reply.sse(source)))
    const client = await connectTo(t, port, get('/', {}, '1.0'))
    await client.until('data: hello\n\n')
    fail()
    t.match(await client.closed, { code: 'ECONNRESET' })
  })

  t.test('a client that leaves ends the source', async t => {
    const { source, ended } = parked()
    const { port } = await serve(t, app => app.get('/', (request, reply) => reply.sse(source)))
    const client = await connectTo(t, port, get('/', {}, '1.0'))
    await client.until('data: hello\n\n')
    client.socket.destroy()
    t.equal(await ended, 'client')
  })
})

t.test('HTTP/1.1 over TLS', async t => {
  const serveSecurely = (t: Test, routes: Parameters<typeof serve>[1], options = {}) => {
    const fastify: object = { https: { ...selfSigned(), ...options } }
    return serve(t, routes, { fastify })
  }

  t.test('carries a stream, and the next one on the same connection', async t => {
    const { port } = await serveSecurely(t, app => app.get('/:name', (request, reply) => reply.sse([request.url])))
    const client = await connectSecurely(t, port, get('/a'))
    t.match(await client.until(LAST_CHUNK), /data: \/a\n\n/)
    client.received = ''
    client.send(get('/b'))
    t.match(await client.until(LAST_CHUNK), /^HTTP\/1.1 200 [^]+data: \/b\n\n/)
  })

  t.test('a client that leaves ends the source', async t => {
    const { source, ended } = parked()
    const { port } = await serveSecurely(t, app => app.get('/', (request, reply) => reply.sse(source)))
    const client = await connectSecurely(t, port, get('/'))
    await client.until('data: hello\n\n')
    client.socket.destroy()
    t.equal(await ended, 'client')
  })

  t.test('a source that fails leaves the response without its last chunk', async t => {
    const { source, fail } = torn()
    const { port } = await serveSecurely(t, app => app.get('/', (request, reply) => reply.sse(source)))
    const client = await connectSecurely(t, port, get('/'))
    await client.until('data: hello\n\n')
    fail()
    await client.closed
    t.notMatch(client.received, /\r\n0\r\n/)
  })

  t.test('over HTTP/1.0 only a clean end is announced by TLS (close_notify), the failure of a source is not', async t => {
    const ALERT = 21
    const { source, fail } = torn()
    const { port } = await serveSecurely(t, app => {
      app.get('/finite', (request, reply) => reply.sse(greet))
      app.get('/torn', (request, reply) => reply.sse(source))
    }, { maxVersion: 'TLSv1.2' })

    for (const [path, isClean] of [['/finite', true], ['/torn', false]] as const) {
      const wire = new Wire(t, port)
      const client = new RawClient(connectTls({ socket: wire, rejectUnauthorized: false }))
      client.send(get(path, {}, '1.0'))
      await client.until('data: hello\n\n')
      fail()
      if (!client.socket.readableEnded) await once(client.socket, 'end')
      client.socket.destroy()
      t.equal(wire.recordTypes.at(-1) === ALERT, isClean, path)
    }
  })

  t.test('app.close() ends an open stream', async t => {
    const { source, ended } = parked()
    const { app, port } = await serveSecurely(t, app => app.get('/', (request, reply) => reply.sse(source)))
    const client = await connectSecurely(t, port, get('/'))
    await client.until('data: hello\n\n')
    await app.close()
    t.equal(await ended, 'shutdown')
    await client.closed
    t.match(client.received, /retry: \d+\n\r\n0\r\n\r\n$/)
  })
})

for (const secure of [true, false]) {
  t.test(secure ? 'HTTP/2 over TLS' : 'HTTP/2 in cleartext', async t => {
    const serveHttp2 = (t: Test, routes: Parameters<typeof serve>[1], plugin = {}, options = {}) => {
      const fastify: object = { http2: true, ...(secure && { https: selfSigned() }), ...options }
      return serve(t, routes, { fastify, plugin })
    }

    function connectHttp2 (t: Test, port: number): ClientHttp2Session {
      const session = connect(`${secure ? 'https' : 'http'}://127.0.0.1:${port}`, { rejectUnauthorized: false })
      t.teardown(() => { session.destroy() })
      return session
    }

    async function openHttp2 (session: ClientHttp2Session, path: string, method = 'GET') {
      const stream = session.request({ ':path': path, ':method': method })
      const client = new RawClient(stream)
      const [headers] = await once(stream, 'response') as [IncomingHttpHeaders]
      return { client, stream, headers }
    }

    t.test('carries a stream to its end', async t => {
      const { port, log } = await serveHttp2(t, app => app.get('/', (request, reply) => reply.sse(['a', 'b'])))
      const { client, stream, headers } = await openHttp2(connectHttp2(t, port), '/')
      t.match(headers, { ':status': 200, 'content-type': 'text/event-stream', connection: undefined, 'transfer-encoding': undefined })
      t.equal(await client.closed, undefined)
      t.equal(client.received, 'data: a\n\ndata: b\n\n')
      t.equal(stream.rstCode, constants.NGHTTP2_NO_ERROR)
      t.same(log.complaints, [])
    })

    t.test('each event arrives as it is yielded', async t => {
      const arrivals = [deferred(), deferred()]
      const { port } = await serveHttp2(t, app => app.get('/', (request, reply) => reply.sse(async function * () {
        for (const [index, { promise }] of arrivals.entries()) {
          yield `${index}`
          await promise
        }
      })))
      const { client } = await openHttp2(connectHttp2(t, port), '/')
      for (const [index, { resolve }] of arrivals.entries()) {
        await client.until(`data: ${index}\n\n`)
        resolve()
      }
      t.equal(await client.closed, undefined)
    })

    t.test('a client that resets its stream ends the source, and no other of the session', async t => {
      const streams = [parked(), parked()]
      const more = deferred()
      const { port, log } = await serveHttp2(t, app => {
        for (const [index, { source }] of streams.entries()) app.get(`/${index}`, (request, reply) => reply.sse(source))
        app.get('/more', (request, reply) => reply.sse(async function * () {
          yield 'hello'
          await more.promise
          yield 'more'
        }))
      })
      const session = connectHttp2(t, port)
      const [first, second, third] = await Promise.all(['/0', '/1', '/more'].map(path => openHttp2(session, path)))
      await Promise.all([first, second, third].map(stream => stream?.client.until('data: hello\n\n')))
      first?.stream.close(constants.NGHTTP2_CANCEL)
      t.equal(await streams[0]?.ended, 'client')
      more.resolve()
      t.equal(await third?.client.closed, undefined)
      t.match(third?.client.received, /data: more\n\n$/)
      t.notOk(second?.stream.closed)
      session.destroy()
      t.equal(await streams[1]?.ended, 'client')
      const lines = await log.take('event stream closed', 3)
      t.same(lines.map(({ reason }) => reason), ['client', 'finished', 'client'])
      t.same(log.complaints, [])
    })

    t.test('a source that fails gives the client a stream error', async t => {
      const { source, fail } = torn()
      const { port } = await serveHttp2(t, app => {
        app.get('/torn', (request, reply) => reply.sse(source, { onError: () => 'sorry' }))
        app.get('/', (request, reply) => reply.sse(greet))
      })
      const session = connectHttp2(t, port)
      const { client, stream } = await openHttp2(session, '/torn')
      await client.until('data: hello\n\n')
      fail()
      t.match(await client.closed, { code: 'ERR_HTTP2_STREAM_ERROR' })
      t.equal(stream.rstCode, constants.NGHTTP2_INTERNAL_ERROR)
      t.match(client.received, /data: sorry\n\n$/)

      const next = await openHttp2(session, '/')
      await next.client.closed
      t.equal(next.client.received, 'data: hello\n\n', 'the session goes on')
    })

    t.test('a source that fails before its first event is answered as any error', async t => {
      const { port } = await serveHttp2(t, app => app.get('/', (request, reply) => reply.sse(async function * () {
        throw Object.assign(new Error('no upstream'), { statusCode: 502 })
      })))
      const { client, headers } = await openHttp2(connectHttp2(t, port), '/')
      t.match(headers, { ':status': 502, 'content-type': /^application\/json/ })
      await client.closed
      t.match(JSON.parse(client.received), { message: 'no upstream' })
    })

    t.test('a client that leaves before the first event ends the source', async t => {
      const started = deferred()
      const ended = deferred<unknown>()
      const { port, log } = await serveHttp2(t, app => app.get('/', (request, reply) => reply.sse(async function * ({ signal }) {
        started.resolve()
        await once(signal, 'abort').finally(() => { ended.resolve(signal.reason.reason) })
      })), { prime: 60_000 })
      const stream = connectHttp2(t, port).request({ ':path': '/' })
      await started.promise
      stream.close(constants.NGHTTP2_CANCEL)
      t.equal(await ended.promise, 'client')
      t.match(await log.find('event stream closed'), { reason: 'client' })
      t.same(log.complaints, [])
    })

    t.test('a client that has gone before the handler runs starts no source', async t => {
      let calls = 0
      const entered = deferred()
      const answered = deferred()
      const { port, log } = await serveHttp2(t, app => {
        app.get('/', (request, reply) => reply.sse(greet))
        app.get('/gone', {
          preHandler: async (request, reply) => {
            entered.resolve()
            await once(reply.raw, 'close')
          }
        }, (request, reply) => {
          reply.sse(() => {
            calls++
            return greet()
          })
          answered.resolve()
        })
      }, { maxStreams: 1 })
      const session = connectHttp2(t, port)
      const gone = session.request({ ':path': '/gone' })
      await entered.promise
      gone.close(constants.NGHTTP2_CANCEL)
      await answered.promise

      const { client } = await openHttp2(session, '/')
      await client.closed
      t.equal(client.received, 'data: hello\n\n', 'its place is free')
      t.equal(calls, 0)
      t.same(log.complaints, [])
    })

    t.test('a client that takes nothing is cut, also when the stream was quiet for long before', async t => {
      let pulled = 0
      const { port, log } = await serveHttp2(t, app => app.get('/', (request, reply) => reply.sse(async function * () {
        yield 'hello'
        await setTimeout(300)
        for (; ; pulled++) yield 'x'.repeat(16 * 1024)
      }, { writeTimeout: 100, heartbeat: false })))
      const { client, stream } = await openHttp2(connectHttp2(t, port), '/')
      await client.until('data: hello\n\n')
      stream.pause()
      t.match(await log.find('event stream closed'), { reason: 'stalled' })
      t.ok(pulled < 128, `${pulled * 16} KiB were pulled`)
      stream.resume()
      t.match(await client.closed, { code: 'ERR_HTTP2_STREAM_ERROR' })
    })

    t.test('HEAD answers the headers, and never starts the source', async t => {
      let calls = 0
      const { port, log } = await serveHttp2(t, app => app.get('/', (request, reply) => reply.sse(() => {
        calls++
        return greet()
      })))
      const { client, headers } = await openHttp2(connectHttp2(t, port), '/', 'HEAD')
      t.match(headers, { ':status': 200, 'content-type': 'text/event-stream' })
      t.equal(await client.closed, undefined)
      t.equal(client.received, '')
      t.equal(calls, 0)
      t.same(log.complaints, [])
    })

    t.test('a hook behind one that has put a transform before the response may set a header, or throw', async t => {
      let calls = 0
      const { port, log } = await serveHttp2(t, app => {
        app.addHook('onSend', async (request, reply, payload) => typeof payload === 'string' ? payload : (payload as Readable).pipe(new PassThrough()))
        app.addHook('onSend', async (request, reply, payload) => {
          await setTimeout(20)
          if (request.url === '/refused' && reply.statusCode === 200) throw Object.assign(new Error('no'), { statusCode: 418 })
          reply.header('x-late', '1')
          return payload
        })
        for (const path of ['/', '/refused']) {
          app.get(path, (request, reply) => reply.sse(() => {
            calls++
            return greet()
          }))
        }
      }, { maxStreams: 1 })
      const session = connectHttp2(t, port)
      for (const method of ['GET', 'HEAD']) {
        const refused = await openHttp2(session, '/refused', method)
        t.match(refused.headers, { ':status': 418, 'x-late': '1' })
        await refused.client.closed
      }
      const head = await openHttp2(session, '/', 'HEAD')
      t.match(head.headers, { ':status': 200, 'content-type': 'text/event-stream', 'x-late': '1' })
      await head.client.closed
      t.equal(calls, 0)
      const { client, headers } = await openHttp2(session, '/')
      t.match(headers, { ':status': 200, 'content-type': 'text/event-stream', 'x-late': '1' })
      t.equal(await client.closed, undefined)
      t.equal(client.received, 'data: hello\n\n')
      t.same(log.complaints, [])
    })

    t.test('http2SessionTimeout is back when the last stream of the session has finished', async t => {
      const { port } = await serveHttp2(t, app => app.get('/', (request, reply) => reply.sse(greet)), {}, { http2SessionTimeout: 100 })
      const session = connectHttp2(t, port)
      const sessionClosed = once(session, 'close')
      const { client } = await openHttp2(session, '/')
      await client.closed
      await sessionClosed
    })

    t.test('app.close() ends open streams', async t => {
      const { source, ended } = parked()
      const { app, port } = await serveHttp2(t, app => app.get('/', (request, reply) => reply.sse(source)))
      const session = connectHttp2(t, port)
      const { client } = await openHttp2(session, '/')
      await client.until('data: hello\n\n')
      const appClosed = app.close()
      t.equal(await client.closed, undefined)
      t.equal(await ended, 'shutdown')
      t.match(client.received, /retry: \d+\n$/)
      session.close()
      await appClosed
    })

    t.test('app.close() closes the sessions as well with forceCloseConnections', async t => {
      const { source, ended } = parked()
      const { app, port } = await serveHttp2(t, app => app.get('/', (request, reply) => reply.sse(source)), {}, { forceCloseConnections: true })
      const session = connectHttp2(t, port)
      const sessionClosed = once(session, 'close')
      const { client } = await openHttp2(session, '/')
      await client.until('data: hello\n\n')
      await app.close()
      t.equal(await ended, 'shutdown')
      t.equal(await client.closed, undefined)
      t.match(client.received, /retry: \d+\n$/)
      await sessionClosed
    })

    for (const [title, options] of Object.entries({
      handlerTimeout: { handlerTimeout: 100 },
      connectionTimeout: { connectionTimeout: 100 },
      http2SessionTimeout: { http2SessionTimeout: 100 },
      'connectionTimeout with http2SessionTimeout': { connectionTimeout: 100, http2SessionTimeout: 100 }
    })) {
      t.test(`${title} does not end a quiet stream`, async t => {
        const { port } = await serveHttp2(t, app => app.get('/', (request, reply) => reply.sse(async function * () {
          await setTimeout(300)
          yield 'one'
          await setTimeout(300)
          yield 'two'
        })), { prime: 10 }, options)
        const { client } = await openHttp2(connectHttp2(t, port), '/')
        t.equal(await client.closed, undefined)
        t.match(client.received, /data: one\n\ndata: two\n\n$/)
      })
    }
  })
}

t.test('a stream of HTTP/2 that is cut while frames of its connection are received leaves the process alive', async t => {
  const { NODE_OPTIONS: _runner, ...env } = process.env
  const child = spawn(process.execPath, [join(__dirname, 'helpers', 'resetting-server.js')], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exited
  })
  const [url] = await once(createInterface(child.stdout), 'line')
  const session = connect(String(url))
  t.teardown(() => { session.destroy() })
  session.on('error', error => { t.fail(error) })
  for (let n = 0; n < 10; n++) {
    const cut = session.request({ ':path': '/cut' })
    const client = new RawClient(cut)
    await client.until('data: open\n\n')
    const finished = session.request({ ':path': '/finished', ':method': 'POST', 'content-type': 'application/json' })
    finished.on('error', () => {}).resume().write('{')
    await once(finished, 'response')
    // A turn of its own, since the client has the same Node.
    await setImmediate()
    finished.close(constants.NGHTTP2_CANCEL)
    t.match(await client.closed, { code: 'ERR_HTTP2_STREAM_ERROR' })
    await setImmediate()
  }
  t.equal(child.exitCode ?? child.signalCode, null)
})

t.test('an HTTP/1.1 client of an HTTP/2 server is streamed to', async t => {
  const { source, fail } = torn()
  const fastify: object = { http2: true, https: { ...selfSigned(), allowHTTP1: true } }
  const { port } = await serve(t, app => {
    app.get('/', (request, reply) => reply.sse(greet))
    app.get('/torn', (request, reply) => reply.sse(source))
  }, { fastify })
  const client = await connectSecurely(t, port, get('/'))
  t.match(await client.until(LAST_CHUNK), /data: hello\n\n/)
  client.received = ''
  client.send(get('/torn'))
  await client.until('data: hello\n\n')
  fail()
  await client.closed
  t.notMatch(client.received, /\r\n0\r\n/)
})

t.test('inject', async t => {
  t.test('gives a finite stream at once', async t => {
    const { app } = await serve(t, app => app.get('/', (request, reply) => reply.sse(['a', 'b'])))
    const { statusCode, headers, body } = await app.inject('/')
    t.equal(statusCode, 200)
    t.match(headers, { 'content-type': 'text/event-stream' })
    t.equal(body, 'data: a\n\ndata: b\n\n')
  })

  t.test('gives the events of an endless stream with payloadAsStream, whose signal ends it', async t => {
    const { source, ended } = parked()
    const { app, log } = await serve(t, app => app.get('/', (request, reply) => reply.sse(source)))
    const controller = new AbortController()
    const response = await app.inject({ url: '/', payloadAsStream: true, signal: controller.signal })
    const stream = response.stream()
    const [chunk] = await once(stream, 'data')
    t.equal(String(chunk), 'data: hello\n\n')
    stream.on('error', () => {})
    controller.abort()
    t.equal(await ended, 'client')
    t.match(await log.find('event stream closed'), { reason: 'client' })
  })

  t.test('gives an error before the first event as any other', async t => {
    const { app } = await serve(t, app => app.get('/', (request, reply) => reply.sse(async function * () {
      throw new Error('no')
    })))
    t.match(await app.inject('/'), { statusCode: 500, headers: { 'content-type': /^application\/json/ } })
  })

  t.test('sees the farewell of app.close()', async t => {
    const { source, ended } = parked()
    const { app } = await serve(t, app => app.get('/', (request, reply) => reply.sse(source)))
    const response = await app.inject({ url: '/', payloadAsStream: true })
    const chunks = response.stream().setEncoding('utf8').toArray()
    await app.close()
    t.equal(await ended, 'shutdown')
    t.match((await chunks).join(''), /^data: hello\n\nretry: \d+\n$/)
  })

  t.test('fails when the source fails after its first event', async t => {
    const { source, fail } = torn()
    const { app } = await serve(t, app => app.get('/', (request, reply) => reply.sse(source)))
    const response = await app.inject({ url: '/', payloadAsStream: true })
    const stream = response.stream()
    await once(stream, 'data')
    fail()
    await t.rejects(once(stream, 'end'))
  })
})

t.test('a reply is sent once', async t => {
  t.test('a second reply.sse is refused, and the first one streams', async t => {
    const refused = deferred<unknown>()
    let calls = 0
    const { url, log } = await serve(t, app => app.get('/', (request, reply) => {
      reply.sse(greet)
      try {
        reply.sse(() => {
          calls++
          return greet()
        })
      } catch (error) {
        refused.resolve(error)
      }
    }))
    const { rest } = await open(t, url)
    t.match(await refused.promise, { code: 'FST_ERR_SSE_ALREADY_SENT', message: /GET \// })
    t.match(await rest(), [{ data: 'hello' }])
    t.equal(calls, 0)
    t.same(log.complaints, [])
  })

  t.test('a second reply.sse that nobody catches is answered as any error of the handler, or logged', async t => {
    const { url, log } = await serve(t, app => {
      app.get('/sync', (request, reply) => {
        reply.sse(greet)
        reply.sse(greet)
      })
      app.get('/async', async (request, reply) => {
        reply.sse(greet)
        reply.sse(greet)
      })
      app.get('/later', async (request, reply) => {
        reply.sse(greet, { prime: 0 })
        await setTimeout(1)
        reply.sse(greet)
      })
      app.get('/', (request, reply) => reply.sse(greet))
    })
    for (const path of ['/sync', '/async', '/later']) {
      const { statusCode, body } = await request(url + path)
      const text = await body.text()
      t.ok(statusCode === 200 ? /data: hello/.test(text) : JSON.parse(text).code === 'FST_ERR_SSE_ALREADY_SENT', `${path}: ${statusCode} ${text}`)
    }
    await log.find('Promise errored, but reply.sent = true was set')
    t.match(log.complaints.map(({ err }) => err), Array(3).fill({ code: 'FST_ERR_SSE_ALREADY_SENT' }))
    const { rest } = await open(t, url)
    t.match(await rest(), [{ data: 'hello' }], 'the server lives')
  })

  t.test('an error of the handler after reply.sse is answered whole, and the source is ended', async t => {
    const page = 'x'.repeat(8 * 1024 * 1024)
    const { source, ended } = parked()
    const { url, log } = await serve(t, app => {
      app.setErrorHandler((_error, request, reply) => reply.code(500).type('text/html').send(page))
      app.get('/', (request, reply) => {
        reply.sse(source)
        throw new Error('no')
      })
    })
    const { statusCode, headers, body } = await request(url)
    t.equal(statusCode, 500)
    t.match(headers['content-type'], 'text/html')
    t.equal(await body.text() === page, true)
    t.equal(await ended, 'error')
    t.same(log.complaints, [])
  })

  const sent: Array<[title: string, send: (reply: FastifyReply) => unknown]> = [
    ['reply.send', reply => reply.send('sent')],
    ['reply.hijack', reply => reply.hijack().raw.end('sent')],
    ['reply.raw.write', reply => reply.raw.write('sent') && process.nextTick(() => reply.raw.end())],
    ['reply.redirect', reply => reply.redirect('/elsewhere')]
  ]
  for (const [title, send] of sent) {
    t.test(`reply.sse after ${title} is refused, and what was sent arrives`, async t => {
      const refused = deferred<unknown>()
      const pushed = readable()
      const { url, log } = await serve(t, app => app.get('/', (request, reply) => {
        send(reply)
        try {
          reply.sse(pushed)
        } catch (error) {
          refused.resolve(error)
        }
      }))
      const { statusCode, body } = await request(url)
      t.match(await refused.promise, { code: 'FST_ERR_SSE_ALREADY_SENT' })
      t.equal(await body.text(), statusCode === 200 ? 'sent' : '')
      t.same(log.complaints, [])
      pushed.destroy()
    })
  }

  t.test('reply.sse after a reply.send whose hooks still run starts no source', async t => {
    let calls = 0
    const { url } = await serve(t, app => {
      app.addHook('onSend', async () => { await setImmediate() })
      app.get('/', (request, reply) => {
        reply.send('sent')
        try {
          reply.sse(() => {
            calls++
            return greet()
          })
        } catch {}
      })
    })
    const { statusCode, body } = await request(url)
    t.equal(statusCode, 200)
    t.equal(await body.text(), 'sent')
    const again = await request(url)
    t.equal(await again.body.text(), 'sent', 'the server lives')
    t.equal(calls, 0)
  })
})

t.test('malformed requests leave the server alive', async t => {
  const { port, url, log } = await serve(t, app => app.get('/', (request, reply) => reply.sse([`id ${request.lastEventId}`])))
  for (const [title, bytes] of Object.entries({
    'a host that is no host': 'GET / HTTP/1.1\r\nHost: [\r\nConnection: close\r\n\r\n',
    'no host': 'GET / HTTP/1.1\r\nConnection: close\r\n\r\n',
    TRACE: 'TRACE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
    CONNECT: 'CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n',
    'an absolute target that is no URL': 'GET http://[ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
    'a query that cannot be decoded': 'GET /?lastEventId=%E0%A4%A&%=%zz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
    'an ID that is no UTF-8': 'GET / HTTP/1.1\r\nHost: a\r\nLast-Event-ID: \xff\r\nConnection: close\r\n\r\n',
    'an upgrade': 'GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n',
    junk: '\x16\x03\x01\x02\x00\x01\r\n\r\n'
  })) {
    t.test(title, async t => {
      const client = await connectTo(t, port, bytes)
      client.socket.end()
      await client.closed
      const { rest } = await open(t, url)
      t.match(await rest(), [{ data: 'id ' }])
      t.same(log.complaints.filter(({ level }) => level > 40), [])
    })
  }
})
