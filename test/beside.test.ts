import { once } from 'node:events'
import { PassThrough, pipeline, Readable, Transform } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import { createBrotliCompress, createDeflate, createGzip } from 'node:zlib'
import compress from '@fastify/compress'
import cookie from '@fastify/cookie'
import cors from '@fastify/cors'
import helmet from '@fastify/helmet'
import rateLimit from '@fastify/rate-limit'
import swagger from '@fastify/swagger'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { request } from 'undici'
import { readFrom } from './helpers/chunks'
import { EVENT_SOURCE, open, type Stream } from './helpers/client'
import { deferred } from './helpers/deferred'
import { serve } from './helpers/serve'
import { connectTo, get } from './helpers/socket'

const ORIGIN = 'https://page.example'
const COOKIE = { path: '/', sameSite: false }

async function * greet () {
  yield 'hello'
}

t.test('@fastify/cors', async t => {
  let calls = 0
  const { url } = await serve(t, async app => {
    await app.register(cors, { origin: [ORIGIN], credentials: true, methods: ['GET'] })
    app.get('/', (request, reply) => reply.sse(() => {
      calls++
      return greet()
    }))
  })

  t.test('a page of another origin may read a stream with credentials', async t => {
    const { response, rest } = await open(t, url, { headers: { ...EVENT_SOURCE, origin: ORIGIN } })
    t.equal(response.headers.get('access-control-allow-origin'), ORIGIN)
    t.equal(response.headers.get('access-control-allow-credentials'), 'true')
    t.equal(response.headers.get('vary'), 'Origin')
    t.match(await rest(), [{ data: 'hello' }])
  })

  t.test('a preflight is answered without a stream', async t => {
    const before = calls
    const { statusCode, headers } = await request(url, {
      method: 'OPTIONS',
      headers: {
        origin: ORIGIN,
        'access-control-request-method': 'GET',
        'access-control-request-headers': 'last-event-id'
      }
    })
    t.equal(statusCode, 204)
    t.equal(headers['access-control-allow-headers'], 'last-event-id')
    t.equal(headers['content-type'], undefined)
    t.equal(calls, before)
  })
})

t.test('@fastify/cookie sets its cookies on a stream', async t => {
  const { url } = await serve(t, async app => {
    await app.register(cookie)
    app.get('/', (request, reply) => reply.setCookie('seen', '1', COOKIE).setCookie('theme', 'dark', COOKIE).sse(greet))
  })
  const { response, rest } = await open(t, url)
  t.same(response.headers.getSetCookie(), ['seen=1; Path=/', 'theme=dark; Path=/'])
  t.match(await rest(), [{ data: 'hello' }])
})

t.test('@fastify/helmet sets its headers on a stream', async t => {
  const { url } = await serve(t, async app => {
    await app.register(helmet)
    app.get('/', (request, reply) => reply.sse(greet))
  })
  const { response, rest } = await open(t, url)
  t.equal(response.headers.get('x-content-type-options'), 'nosniff')
  t.match(response.headers.get('content-security-policy'), /default-src/)
  t.equal(response.headers.get('content-type'), 'text/event-stream')
  t.match(await rest(), [{ data: 'hello' }])
})

t.test('@fastify/rate-limit tells its limits on a stream, and refuses with an ordinary 429', async t => {
  let calls = 0
  const { url } = await serve(t, async app => {
    await app.register(rateLimit, { max: 1 })
    app.get('/', (request, reply) => reply.sse(() => {
      calls++
      return greet()
    }))
  })
  const { response, rest } = await open(t, url, { headers: EVENT_SOURCE })
  t.equal(response.headers.get('x-ratelimit-limit'), '1')
  t.equal(response.headers.get('x-ratelimit-remaining'), '0')
  t.match(await rest(), [{ data: 'hello' }])

  const { statusCode, headers, body } = await request(url, { headers: EVENT_SOURCE })
  t.equal(statusCode, 429)
  t.match(headers, { 'content-type': /^application\/json/, 'retry-after': /^\d+$/, 'cache-control': undefined })
  t.match(await body.json(), { error: 'Too Many Requests' })
  t.equal(calls, 1)
})

/** A source that waits after each event until the client has it, or for so long that it cannot have been on its way. */
function oneByOne () {
  const order: string[] = []
  const arrivals = new Map(['a', 'b', 'c'].map(name => [name, deferred()]))
  async function * source () {
    for (const [name, { promise }] of arrivals) {
      order.push(`${name} yielded`)
      yield name
      await Promise.race([promise, setTimeout(5_000, null, { ref: false })])
    }
  }
  return { source, order, arrivals }
}

/** Reads such a source to its end: each event has to arrive before the next is yielded. */
async function readOneByOne (t: Test, { order, arrivals }: ReturnType<typeof oneByOne>, { next }: Stream) {
  for (let event = await next(); event !== undefined; event = await next()) {
    order.push(`${event.data} arrived`)
    arrivals.get(event.data)?.resolve()
  }
  t.same(order, ['a yielded', 'a arrived', 'b yielded', 'b arrived', 'c yielded', 'c arrived'])
}

t.test('@fastify/compress holds no event back', async t => {
  for (const [title, options] of Object.entries({
    'by default': { threshold: 0 },
    'where customTypes ask for event streams': { threshold: 0, customTypes: /event-stream|json/ }
  })) {
    t.test(title, async t => {
      const events = oneByOne()
      const { url } = await serve(t, async app => {
        await app.register(compress, options)
        app.get('/events', (request, reply) => reply.sse(events.source))
        app.get('/json', async () => ({ hello: 'world' }))
      })
      const headers = { 'accept-encoding': 'br, gzip' }
      const stream = await open(t, `${url}/events`, { headers })
      t.equal(stream.response.headers.get('content-encoding'), null)
      await readOneByOne(t, events, stream)

      const other = await request(`${url}/json`, { headers })
      t.equal(other.headers['content-encoding'], 'br', 'other routes are compressed')
      await other.body.dump()
    })
  }
})

t.test('an onSend hook may compress a stream', async t => {
  const compressions: Array<[title: string, encoding: string, compressed: (body: Readable) => Readable]> = [
    ['gzip, by pipe', 'gzip', body => body.pipe(createGzip())],
    ['gzip, by pipeline', 'gzip', body => pipeline(body, createGzip(), () => {})],
    ['brotli, by pipe', 'br', body => body.pipe(createBrotliCompress())],
    ['deflate, by pipeline', 'deflate', body => pipeline(body, createDeflate(), () => {})]
  ]
  for (const [title, encoding, compressed] of compressions) {
    t.test(title, async t => {
      const ended = deferred<unknown>()
      const headed = deferred<string>()
      const arrived = deferred()
      const events = oneByOne()
      const { url, log } = await serve(t, app => {
        app.addHook('onSend', async (request, reply, payload) => {
          if (typeof payload === 'string') return
          reply.header('content-encoding', encoding)
          return compressed(payload as Readable)
        })
        app.get('/events', (request, reply) => reply.sse(events.source))
        app.get('/late', (request, reply) => reply.sse(async function * ({ signal }) {
          yield await Promise.race([headed.promise, setTimeout(5_000, 'too late', { ref: false, signal })])
        }, { prime: 1 }))
        app.get('/empty', (request, reply) => reply.sse([]))
        app.get('/unavailable', (request, reply) => reply.sse(async function * () {
          throw Object.assign(new Error('no upstream'), { statusCode: 502 })
        }))
        app.get('/torn', (request, reply) => reply.sse(async function * () {
          yield 'hello'
          await arrived.promise
          throw new Error('torn')
        }))
        app.get('/endless', (request, reply) => reply.sse(async function * ({ signal }) {
          yield 'hello'
          await once(signal, 'abort').finally(() => { ended.resolve(signal.reason) })
        }))
      })

      await t.test('each event arrives as it is yielded', async t => {
        const stream = await open(t, `${url}/events`)
        t.equal(stream.response.headers.get('content-encoding'), encoding)
        await readOneByOne(t, events, stream)
      })

      await t.test('the head of a quiet stream arrives', async t => {
        const { next } = await open(t, `${url}/late`)
        headed.resolve('in time')
        t.match(await next(), { data: 'in time' })
      })

      await t.test('an error before the first event is answered, uncompressed', async t => {
        const { statusCode, headers, body } = await request(`${url}/unavailable`)
        t.equal(statusCode, 502)
        t.match(headers, { 'content-type': /^application\/json/, 'content-encoding': undefined })
        t.match(await body.json(), { message: 'no upstream' })
      })

      await t.test('a client sees that the source failed after the first event', async t => {
        const { next } = await open(t, `${url}/torn`)
        t.match(await next(), { data: 'hello' })
        arrived.resolve()
        await t.rejects(next())
      })

      await t.test('an empty stream is one for any client', async t => {
        const { response, rest } = await open(t, `${url}/empty`)
        t.equal(response.status, 200)
        t.same(await rest(), [])
      })

      await t.test('an empty stream stops an EventSource', async t => {
        const { statusCode, headers, body } = await request(`${url}/empty`, { headers: EVENT_SOURCE })
        t.equal(statusCode, 204)
        t.match(headers, { 'content-type': undefined, 'content-encoding': undefined })
        t.equal(await body.text(), '')
      })

      await t.test('the source ends when the client leaves', async t => {
        const { next, close } = await open(t, `${url}/endless`)
        t.match(await next(), { data: 'hello' })
        close()
        t.match(await ended.promise, { reason: 'client' })
      })

      t.same(log.complaints.map(({ err }) => (err as Error).message), ['no upstream', 'torn'])
    })
  }
})

t.test('an onSend hook that compresses streams leaves alone what those are sent that a limit turns away', async t => {
  const ended = deferred()
  const { url } = await serve(t, app => {
    app.addHook('onSend', async (request, reply, given) => {
      const payload = given as Readable | undefined
      const isStream = typeof payload?.pipe === 'function' && String(reply.getHeader('content-type')).startsWith('text/event-stream')
      if (!isStream || !/\bgzip\b/.test(String(request.headers['accept-encoding']))) return payload
      reply.header('content-encoding', 'gzip').header('vary', 'accept-encoding')
      return payload.pipe(createGzip())
    })
    app.get('/', (request, reply) => reply.sse(async function * ({ signal }) {
      yield 'hello'
      await once(signal, 'abort')
      ended.resolve()
    }))
  }, { plugin: { maxStreams: 1, shutdown: { retry: 1234 } } })
  const first = await open(t, url, { headers: EVENT_SOURCE })
  t.equal(first.response.headers.get('content-encoding'), 'gzip')
  t.match(await first.next(), { data: 'hello' })

  const again = await open(t, url, { headers: EVENT_SOURCE })
  t.match({ status: again.response.status, encoding: again.response.headers.get('content-encoding') }, { status: 200, encoding: null })
  t.same(await again.rest(), [])
  t.equal(again.retry(), 1234)

  const other = await open(t, url)
  t.match({ status: other.response.status, encoding: other.response.headers.get('content-encoding') }, { status: 503, encoding: null })
  t.match(other.response.headers.get('content-type'), /^application\/json/)

  first.close()
  await ended.promise
})

t.test('@fastify/swagger documents a route that streams', async t => {
  const { app, url } = await serve(t, async app => {
    await app.register(swagger, { openapi: {} })
    const content = { 'text/event-stream': { schema: { type: 'string', description: 'the time' } } }
    app.get('/clock', {
      schema: { summary: 'A clock', response: { 200: { description: 'Its ticks', content } } }
    }, (request, reply) => reply.sse(greet))
  })
  const { rest } = await open(t, `${url}/clock`)
  t.match(await rest(), [{ data: 'hello' }])
  t.match(app.swagger(), {
    paths: {
      '/clock': {
        get: {
          summary: 'A clock',
          responses: { 200: { content: { 'text/event-stream': { schema: { description: 'the time' } } } } }
        }
      }
    }
  })
})

t.test('hooks', async t => {
  t.test('run for a stream as for any other, in their order', async t => {
    const order: string[] = []
    const responded = deferred()
    const { url } = await serve(t, app => {
      app.addHook('onRequest', async () => { order.push('onRequest') })
      app.addHook('preHandler', async () => { order.push('preHandler') })
      app.addHook('preSerialization', async (request, reply, payload) => {
        order.push('preSerialization')
        return payload
      })
      app.addHook('onSend', async () => {
        await new Promise(resolve => { setImmediate(resolve) })
        order.push('onSend')
      })
      app.addHook('onError', async () => { order.push('onError') })
      app.addHook('onResponse', async () => {
        order.push('onResponse')
        responded.resolve()
      })
      app.get('/', (request, reply) => reply.sse(async function * () {
        order.push('source')
        yield 'hello'
      }))
    })
    const { rest } = await open(t, url)
    t.match(await rest(), [{ data: 'hello' }])
    await responded.promise
    t.same(order, ['onRequest', 'preHandler', 'onSend', 'source', 'onResponse'])
  })

  t.test('a session may set its header in onSend', async t => {
    const { url } = await serve(t, app => {
      app.decorateRequest('session', '')
      app.addHook('onSend', async (request, reply) => {
        reply.header('set-cookie', `session=${request.getDecorator<string>('session')}`)
      })
      app.get('/', (request, reply) => {
        request.setDecorator('session', 's1')
        return reply.sse(greet)
      })
    })
    const { response, rest } = await open(t, url)
    t.equal(response.headers.get('set-cookie'), 'session=s1')
    t.match(await rest(), [{ data: 'hello' }])
  })

  t.test('onRequestAbort runs when the client leaves', async t => {
    const aborted = deferred()
    const { url } = await serve(t, app => {
      app.addHook('onRequestAbort', async request => { aborted.resolve() })
      app.get('/', (request, reply) => reply.sse(async function * ({ signal }) {
        yield 'hello'
        await once(signal, 'abort')
      }))
    })
    const { next, close } = await open(t, url)
    t.match(await next(), { data: 'hello' })
    close()
    await aborted.promise
  })

  t.test('a hook may answer with a stream in place of the handler', async t => {
    let calls = 0
    const { url } = await serve(t, app => app.get('/', {
      preHandler: async (request, reply) => reply.sse(greet)
    }, async () => { calls++ }))
    const { rest } = await open(t, url)
    t.match(await rest(), [{ data: 'hello' }])
    t.equal(calls, 0)
  })

  t.test('so may the handlers for what was not found and for errors', async t => {
    const { url } = await serve(t, app => {
      app.setNotFoundHandler((request, reply) => reply.code(200).sse(['not found']))
      app.setErrorHandler<Error>((error, request, reply) => reply.code(200).sse([error.message]))
      app.get('/error', async () => { throw new Error('no') })
    }, { plugin: { maxStreams: 1, maxStreamsPerKey: 1, key: ({ ip }) => ip } })
    for (const [path, data] of [['/', 'not found'], ['/error', 'no'], ['/', 'not found']]) {
      const { rest } = await open(t, url + path)
      t.match(await rest(), [{ data }])
    }
  })

  t.test('a client that leaves while the hooks run starts no source', async t => {
    let calls = 0
    const entered = deferred()
    const left = deferred()
    const { port, url, log } = await serve(t, app => {
      app.addHook('onSend', async (request, reply) => {
        if (request.url === '/') return
        entered.resolve()
        await once(reply.raw, 'close')
        left.resolve()
      })
      app.get('/gone', (request, reply) => reply.sse(() => {
        calls++
        return greet()
      }))
      app.get('/', (request, reply) => reply.sse(greet))
    }, { plugin: { maxStreams: 1 } })
    const client = await connectTo(t, port, get('/gone'))
    await entered.promise
    client.socket.destroy()
    await left.promise

    const { rest } = await open(t, url)
    t.match(await rest(), [{ data: 'hello' }], 'its place is free')
    t.equal(calls, 0)
    t.same(log.complaints, [])
  })

  t.test('an onSend hook that throws answers in place of the stream', async t => {
    let calls = 0
    const readable = new Readable({ objectMode: true, read () { this.push('hello') } })
    const { url } = await serve(t, app => {
      app.addHook('onSend', async (request, reply) => {
        if (reply.statusCode === 200 && request.url !== '/hello') throw Object.assign(new Error('no'), { statusCode: 418 })
      })
      app.get('/function', (request, reply) => reply.sse(() => {
        calls++
        return greet()
      }))
      app.get('/readable', (request, reply) => reply.sse(readable))
      app.get('/hello', (request, reply) => reply.sse(greet))
    }, { plugin: { maxStreams: 1 } })

    for (const path of ['/function', '/readable']) {
      const { statusCode, headers, body } = await request(url + path)
      t.equal(statusCode, 418)
      t.match(headers['content-type'], 'application/json')
      t.match(await body.json(), { message: 'no' })
    }
    t.equal(calls, 0)
    if (!readable.closed) await once(readable, 'close')
    t.equal(readable.readableDidRead, false)

    const { rest } = await open(t, `${url}/hello`)
    t.match(await rest(), [{ data: 'hello' }], 'the place of the others is free')
  })

  t.test('an onSend hook may replace the stream, which then never starts', async t => {
    let calls = 0
    const readable = new Readable({ objectMode: true, read () { this.push('hello') } })
    const { url } = await serve(t, app => {
      app.addHook('onSend', async (request, reply) => {
        if (request.url === '/hello') return
        reply.type('text/plain')
        return 'instead'
      })
      app.get('/function', (request, reply) => reply.sse(() => {
        calls++
        return greet()
      }))
      app.get('/readable', (request, reply) => reply.sse(readable))
      app.get('/hello', (request, reply) => reply.sse(greet))
    }, { plugin: { maxStreams: 1 } })

    for (const path of ['/function', '/readable']) {
      const { statusCode, body } = await request(url + path)
      t.equal(statusCode, 200)
      t.equal(await body.text(), 'instead')
    }
    t.equal(calls, 0)
    if (!readable.closed) await once(readable, 'close')

    const { rest } = await open(t, `${url}/hello`)
    t.match(await rest(), [{ data: 'hello' }], 'the place of the others is free')
  })

  t.test('an onSend hook may pipe the stream through a transform', async t => {
    const shout = () => new Transform({
      transform (chunk, encoding, callback) { callback(null, chunk.toString().replace('hello', 'HELLO')) }
    })
    const arrived = deferred()
    const ended = deferred<unknown>()
    const { url, log } = await serve(t, app => {
      app.addHook('onSend', async (request, reply, payload) => (payload as Readable).pipe(shout()))
      app.get('/finite', (request, reply) => reply.sse(async function * () {
        yield 'hello'
        await arrived.promise
        yield 'hello again'
      }))
      app.get('/endless', (request, reply) => reply.sse(async function * ({ signal }) {
        yield 'hello'
        await once(signal, 'abort').finally(() => { ended.resolve(signal.reason) })
      }))
    })
    const finite = await open(t, `${url}/finite`)
    t.match(await finite.next(), { data: 'HELLO' })
    arrived.resolve()
    t.match(await finite.rest(), [{ data: 'HELLO again' }])

    const endless = await open(t, `${url}/endless`)
    t.match(await endless.next(), { data: 'HELLO' })
    endless.close()
    t.match(await ended.promise, { reason: 'client' })
    t.same(log.complaints, [])
  })
})

/** What an onSend hook may put before the response, and what it makes of one event. */
const transforms: Record<string, (body: Readable) => Readable> = {
  'a transform, by pipe': body => body.pipe(new PassThrough()),
  'a transform, by pipeline': body => pipeline(body, new PassThrough(), () => {}),
  'two transforms': body => body.pipe(new PassThrough()).pipe(new PassThrough()),
  'gzip, by pipe': body => body.pipe(createGzip()),
  'gzip, by pipeline': body => pipeline(body, createGzip(), () => {})
}

type LaterHook = (request: FastifyRequest, reply: FastifyReply, payload: unknown) => Promise<unknown>

/** A server with a hook that puts a transform before the response, and one behind it; there is one place for a stream. */
function serveTransformed (t: Test, transform: (body: Readable) => Readable, later: LaterHook, routes: (app: FastifyInstance) => unknown) {
  return serve(t, app => {
    app.get('/next', (request, reply) => reply.sse(['next']))
    app.register(async app => {
      app.addHook('onSend', async (request, reply, payload) => {
        if (typeof payload === 'string') return payload
        const transformed = transform(payload as Readable)
        if ('flush' in transformed) reply.header('content-encoding', 'gzip')
        return transformed
      })
      app.addHook('onSend', later)
      await routes(app)
    })
  }, { plugin: { maxStreams: 1 } })
}

/** That the place of the stream before is free again. */
async function hasRoom (t: Test, url: string) {
  const { response, rest } = await open(t, `${url}/next`)
  t.equal(response.status, 200)
  t.match(await rest(), [{ data: 'next' }])
}

t.test('an onSend hook behind one that has put a transform before the response', async t => {
  for (const [title, transform] of Object.entries(transforms)) {
    t.test(title, async t => {
      t.test('may wait, and then set headers and cookies', async t => {
        const order: string[] = []
        const { url, log } = await serveTransformed(t, transform, async (request, reply, payload) => {
          await setTimeout(20)
          order.push('hook')
          reply.header('x-late', '1').header('set-cookie', 'session=1')
          return payload
        }, app => app.get('/', (request, reply) => reply.sse(async function * () {
          order.push('source')
          yield 'hello'
        })))
        const { response, rest } = await open(t, url)
        t.match(Object.fromEntries(response.headers), { 'x-late': '1', 'content-type': 'text/event-stream' })
        t.same(response.headers.getSetCookie(), ['session=1'])
        t.match(await rest(), [{ data: 'hello' }])
        t.same(order, ['hook', 'source'])
        t.same(log.complaints, [])
      })

      t.test('may throw, which is the answer, and starts no source', async t => {
        const readable = new Readable({ objectMode: true, read () { this.push('hello') } })
        let calls = 0
        const { url, log } = await serveTransformed(t, transform, async (request, reply, payload) => {
          await setTimeout(5)
          reply.removeHeader('content-encoding')
          if (reply.statusCode === 200) throw Object.assign(new Error('no'), { statusCode: 418 })
          return payload
        }, app => {
          app.get('/function', (request, reply) => reply.sse(() => {
            calls++
            return greet()
          }))
          app.get('/readable', (request, reply) => reply.sse(readable))
        })
        for (const path of ['/function', '/readable']) {
          const { statusCode, body } = await request(url + path)
          t.equal(statusCode, 418)
          t.match(await body.json(), { message: 'no' })
          await hasRoom(t, url)
        }
        t.equal(calls, 0)
        if (!readable.closed) await once(readable, 'close')
        t.equal(readable.readableDidRead, false)
        t.same(log.complaints, [])
      })

      t.test('may put another payload in its place, which starts no source', async t => {
        let calls = 0
        const { url, log } = await serveTransformed(t, transform, async (request, reply) => {
          await setTimeout(5)
          reply.removeHeader('content-encoding').type('text/plain')
          return 'instead'
        }, app => app.get('/', (request, reply) => reply.sse(() => {
          calls++
          return greet()
        })))
        const { statusCode, body } = await request(url)
        t.equal(statusCode, 200)
        t.equal(await body.text(), 'instead')
        t.equal(calls, 0)
        await hasRoom(t, url)
        t.same(log.complaints, [])
      })

      t.test('lets HEAD have its headers, and starts no source', async t => {
        let calls = 0
        const { url, log } = await serveTransformed(t, transform, async (request, reply, payload) => {
          await setTimeout(5)
          reply.header('x-late', '1')
          if (request.url === '/refused' && reply.statusCode === 200) throw Object.assign(new Error('no'), { statusCode: 418 })
          return payload
        }, app => {
          for (const path of ['/', '/refused']) {
            app.get(path, (request, reply) => reply.sse(() => {
              calls++
              return greet()
            }))
          }
        })
        for (const [path, status] of [['/', 200], ['/refused', 418]] as const) {
          const { statusCode, headers } = await request(url + path, { method: 'HEAD' })
          t.equal(statusCode, status)
          t.equal(headers['x-late'], '1')
          await hasRoom(t, url)
        }
        t.equal(calls, 0)
        t.same(log.complaints, [])
      })

      t.test('is waited for when a client leaves meanwhile, whose source is never started', async t => {
        const entered = deferred()
        let calls = 0
        const { port, url, log } = await serveTransformed(t, transform, async (request, reply, payload) => {
          entered.resolve()
          await once(reply.raw, 'close')
          return payload
        }, app => app.get('/', (request, reply) => reply.sse(() => {
          calls++
          return greet()
        })))
        const client = await connectTo(t, port, get('/'))
        await entered.promise
        client.socket.destroy()
        t.match(await log.find('event stream closed'), { reason: 'client', events: 0 })
        await hasRoom(t, url)
        t.equal(calls, 0)
      })

      // Two transforms in a row do not tell each other of an error.
      if (title === 'two transforms') return
      t.test('leaves a source that fails before its first event an HTTP error', async t => {
        const { url } = await serveTransformed(t, transform, async (request, reply, payload) => {
          await setTimeout(5)
          reply.header('x-late', '1')
          return payload
        }, app => app.get('/', (request, reply) => reply.sse(async function * () {
          throw Object.assign(new Error('no upstream'), { statusCode: 502 })
        })))
        const { statusCode, headers, body } = await request(url)
        t.equal(statusCode, 502)
        t.match(headers, { 'content-type': /^application\/json/, 'x-late': '1', 'content-encoding': undefined })
        t.match(await body.json(), { message: 'no upstream' })
        await hasRoom(t, url)
      })
    })
  }

  t.test('leaves a source that has failed while it ran an HTTP error', async t => {
    const failed = deferred()
    const readable = new Readable({ objectMode: true, read () {} })
    const { url } = await serveTransformed(t, body => body.pipe(new PassThrough()), async (request, reply, payload) => {
      readable.destroy(Object.assign(new Error('no upstream'), { statusCode: 502 }))
      if (!readable.closed) await once(readable, 'close').catch(() => {})
      failed.resolve()
      return payload
    }, app => app.get('/', (request, reply) => reply.sse(readable)))
    const { statusCode, body } = await request(url)
    await failed.promise
    t.equal(statusCode, 502)
    t.match(await body.json(), { message: 'no upstream' })
    await hasRoom(t, url)
  })

  t.test('sees trailers follow the stream', async t => {
    const { port } = await serveTransformed(t, body => body.pipe(new PassThrough()), async (request, reply, payload) => {
      await setTimeout(5)
      return payload
    }, app => app.get('/', (request, reply) => {
      reply.trailer('x-count', (reply, payload, done) => { done(null, '1') })
      return reply.sse(greet)
    }))
    const client = await connectTo(t, port, get('/'))
    t.match(await client.until('x-count: 1\r\n\r\n'), /data: hello\n\n\r\n0\r\nx-count: 1\r\n\r\n$/)
  })

  t.test('may let app.close() end the stream that waits for it', async t => {
    const entered = deferred()
    const told = deferred()
    const { app, url } = await serve(t, app => {
      app.addHook('onSend', async (request, reply, payload) => (payload as Readable).pipe(new PassThrough()))
      app.addHook('onSend', async (request, reply, payload) => {
        if (request.url === '/other') return payload
        entered.resolve()
        await told.promise
        return payload
      })
      app.get('/', (request, reply) => reply.sse(async function * () { t.fail('is not started') }))
      app.get('/other', (request, reply) => reply.sse(async function * ({ signal }) {
        yield 'hello'
        await once(signal, 'abort')
        told.resolve()
      }))
    })
    await (await open(t, `${url}/other`)).next()
    const opening = open(t, url, { headers: EVENT_SOURCE })
    await entered.promise
    const closed = app.close()
    const stream = await opening
    t.equal(stream.response.status, 200)
    t.same(await stream.rest(), [])
    t.type(stream.retry(), 'number')
    await closed
  })
})

const shout = async function * (body: AsyncIterable<unknown>) {
  for await (const chunk of body) yield String(chunk).toUpperCase()
}

/** What an onSend hook may make of a stream by reading it. */
const readers: Record<string, (body: Readable) => Readable> = {
  'by Readable.from': body => Readable.from(body),
  'in a generator': body => Readable.from(shout(body)),
  'in a pipeline with a generator': body => pipeline(body, shout, () => {}) as unknown as Readable,
  'in a pipeline with a generator and a transform': body => pipeline(body, shout, new PassThrough(), () => {})
}

t.test('an onSend hook that reads the stream', async t => {
  for (const [title, read] of Object.entries(readers)) {
    t.test(`${title} may send what it makes of it, event by event`, async t => {
      const arrived = deferred()
      const ended = deferred<unknown>()
      const { port, url } = await serve(t, app => {
        app.addHook('onSend', async (request, reply, payload) => typeof payload === 'string' ? payload : read(payload as Readable))
        app.get('/finite', (request, reply) => reply.sse(async function * () {
          yield '1'
          await arrived.promise
          yield '2'
        }))
        app.get('/torn', (request, reply) => reply.sse(async function * () {
          yield '1'
          await arrived.promise
          throw new Error('torn')
        }))
        app.get('/endless', (request, reply) => reply.sse(async function * ({ signal }) {
          yield '1'
          await once(signal, 'abort').finally(() => { ended.resolve(signal.reason) })
        }))
        app.get('/unavailable', (request, reply) => reply.sse(async function * () {
          throw Object.assign(new Error('no upstream'), { statusCode: 502 })
        }))
      })
      const [finite, torn, endless] = await Promise.all([readFrom(t, port, get('/finite')), readFrom(t, port, get('/torn')), readFrom(t, port, get('/endless'))])
      for (const client of [finite, torn, endless]) {
        t.match(await client.head(), /^HTTP\/1.1 200 OK\r\n[^]*content-type: text\/event-stream/)
        t.match(String(await client.chunk()), /^data: 1\n\n$/i)
      }
      arrived.resolve()
      t.match(await finite.body(), /^data: 2\n\n$/i)
      t.equal(await torn.torn(), '')
      endless.socket.destroy()
      t.match(await ended.promise, { reason: 'client' })

      const { statusCode, body } = await request(`${url}/unavailable`)
      t.equal(statusCode, 502)
      t.match(await body.json(), { message: 'no upstream' })
    })
  }

  for (const [title, read] of Object.entries(readers)) {
    t.test(`${title} leaves the head to the hooks behind it, which may throw`, async t => {
      const { url, log } = await serveTransformed(t, body => Object.assign(read(body), { flush: undefined }), async (request, reply, payload) => {
        await setTimeout(20)
        reply.removeHeader('content-encoding').header('x-late', '1')
        if (request.url === '/refused' && reply.statusCode === 200) throw Object.assign(new Error('no'), { statusCode: 418 })
        return payload
      }, app => {
        for (const path of ['/', '/refused']) app.get(path, (request, reply) => reply.sse(greet))
        app.get('/empty', (request, reply) => reply.sse([]))
      })
      const refused = await request(`${url}/refused`)
      t.equal(refused.statusCode, 418)
      t.match(await refused.body.json(), { message: 'no' })

      const streamed = await request(url)
      t.match(streamed, { statusCode: 200, headers: { 'content-type': 'text/event-stream', 'x-late': '1' } })
      t.match(await streamed.body.text(), /^data: hello\n\n$/i)

      const empty = await request(`${url}/empty`, { headers: EVENT_SOURCE })
      t.equal(empty.statusCode, 204)
      await empty.body.dump()
      await hasRoom(t, url)
      t.same(log.complaints, [])
    })
  }

  t.test('to its end may send a text made of it', async t => {
    const { url, log } = await serve(t, app => {
      app.addHook('onSend', async (request, reply, payload) => {
        if (typeof payload === 'string') return payload
        let text = ''
        for await (const piece of shout(payload as Readable)) text += piece
        return text
      })
      app.get('/', (request, reply) => reply.sse(async function * () {
        yield 'hello'
        await setTimeout(10)
        yield 'again'
      }))
      app.get('/empty', (request, reply) => reply.sse([]))
      app.get('/unavailable', (request, reply) => reply.sse(async function * () {
        throw Object.assign(new Error('no upstream'), { statusCode: 502 })
      }))
    })
    for (const [path, status, text] of [['/', 200, 'DATA: HELLO\n\nDATA: AGAIN\n\n'], ['/empty', 200, ''], ['/unavailable', 502, /"no upstream"/]] as const) {
      const { statusCode, body } = await request(url + path)
      t.equal(statusCode, status)
      t.match(await body.text(), text)
    }
    t.match(log.complaints, [{ err: { message: 'no upstream' } }])
    t.equal(log.complaints.length, 1)
  })

  t.test('for its first piece may send that, and the source ends', async t => {
    const ended = deferred<unknown>()
    const { url } = await serve(t, app => {
      app.addHook('onSend', async (request, reply, payload) => {
        const { value } = await (payload as Readable)[Symbol.asyncIterator]().next()
        return String(value)
      })
      app.get('/', (request, reply) => reply.sse(async function * ({ signal }) {
        yield 'hello'
        await once(signal, 'abort').finally(() => { ended.resolve(signal.reason) })
      }))
    })
    const { statusCode, body } = await request(url)
    t.equal(statusCode, 200)
    t.equal(await body.text(), 'data: hello\n\n')
    t.type(await ended.promise, Error)
  })

  t.test('and one that pipes it elsewhere: the client gets the stream', async t => {
    const { url, log } = await serve(t, app => {
      app.addHook('onSend', async (request, reply, payload) => {
        const stream = payload as Readable
        stream.pipe(new PassThrough())
        return stream
      })
      app.get('/', (request, reply) => reply.sse(greet))
    })
    t.match(await (await open(t, url)).rest(), [{ data: 'hello' }])
    t.same(log.complaints, [])
  })
})

t.test('errors before the first event', async t => {
  t.test('reach the error handler, which answers in its own content type', async t => {
    const failure = new Error('no upstream')
    const seen: unknown[] = []
    const { url } = await serve(t, app => {
      app.setErrorHandler((error, request, reply) => {
        seen.push(error)
        return reply.code(502).type('text/html').send('<p>Try again')
      })
      app.addHook('onError', async (request, reply, error) => { seen.push(error) })
      app.get('/', (request, reply) => reply.header('x-own', 'kept').sse(async function * () {
        throw failure
      }))
    })
    const { statusCode, headers, body } = await request(url, { headers: EVENT_SOURCE })
    t.equal(statusCode, 502)
    t.match(headers, { 'content-type': /^text\/html/, 'x-own': 'kept', 'cache-control': undefined, 'x-accel-buffering': undefined })
    t.equal(await body.text(), '<p>Try again')
    t.same(seen, [failure, failure])
  })

  t.test('keep the headers that hooks have set', async t => {
    const { url } = await serve(t, async app => {
      await app.register(cors, { origin: ORIGIN })
      app.get('/', (request, reply) => reply.sse(async function * () {
        throw new Error('no')
      }))
    })
    const { statusCode, headers, body } = await request(url, { headers: { origin: ORIGIN } })
    t.equal(statusCode, 500)
    t.equal(headers['access-control-allow-origin'], ORIGIN)
    t.match(await body.json(), { message: 'no' })
  })
})

t.test('trailers', async t => {
  const arrived = deferred()
  const { port } = await serve(t, app => {
    app.get('/finite', (request, reply) => {
      reply.trailer('x-count', (reply, payload, done) => { done(null, '1') })
      return reply.sse(greet)
    })
    app.get('/torn', (request, reply) => {
      reply.trailer('x-count', (reply, payload, done) => { done(null, '1') })
      return reply.sse(async function * () {
        yield 'hello'
        await arrived.promise
        throw new Error('torn')
      })
    })
  })

  t.test('follow a stream that has finished', async t => {
    const client = await connectTo(t, port, get('/finite'))
    const received = await client.until('x-count: 1\r\n\r\n')
    t.match(received, /\r\nTrailer: x-count\r\n/i)
    t.match(received, /data: hello\n\n\r\n0\r\nx-count: 1\r\n\r\n$/)
  })

  t.test('do not follow one that has failed', async t => {
    const client = await connectTo(t, port, get('/torn'))
    await client.until('data: hello')
    arrived.resolve()
    await client.closed
    t.notMatch(client.received, /\r\n0\r\n/)
  })
})
