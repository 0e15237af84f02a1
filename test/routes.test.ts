import { once } from 'node:events'
import { mock } from 'node:test'
import { Readable } from 'node:stream'
import { ReadableStream } from 'node:stream/web'
import { inspect } from 'node:util'
import { Type, type TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import fc from 'fast-check'
import Fastify, {
  type FastifyInstance, type FastifyReply, type FastifyRequest, type FastifySchema, type HTTPMethods, type RouteHandlerMethod,
  type RouteOptions
} from 'fastify'
import { serializerCompiler, validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod'
import t, { type Test } from 'tap'
import { request } from 'undici'
import { z } from 'zod'
import ssePlugin from '../plugin/index'
import type { SseRouteHandler, StreamContext } from '../plugin/types'
import { EVENT_SOURCE, open } from './helpers/client'
import { deferred } from './helpers/deferred'
import { serve } from './helpers/serve'
import { text } from './helpers/wire'

const seed = process.env['FC_SEED'] === undefined ? {} : { seed: Number(process.env['FC_SEED']) }

const forever = new Promise<never>(() => {})

async function * greet () {
  yield 'hello'
}

/** A whole answer. */
async function ask (url: string, options: Parameters<typeof request>[1] = {}) {
  const { statusCode, headers, body } = await request(url, options)
  return { status: statusCode, type: headers['content-type'], headers, text: await body.text() }
}

const post = (body: unknown) => ({ method: 'POST' as const, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })

/** What an error says that was thrown. */
function refusalOf (call: () => unknown): { code?: string, message: string } {
  try {
    call()
  } catch (error) {
    return error as { code?: string, message: string }
  }
  return { message: 'nothing was thrown' }
}

t.test('a generator function', async t => {
  const kinds: Record<string, SseRouteHandler> = {
    'that is async': async function * ({ url }) { yield url },
    'that is sync': function * ({ url }) { yield url },
    'that is bound': async function * (this: string, { url }: FastifyRequest) { yield this + url }.bind(''),
    'that is a method': { async * handler ({ url }: FastifyRequest) { yield url } }.handler
  }
  for (const [which, handler] of Object.entries(kinds)) {
    t.test(`${which} is the source of its route`, async t => {
      const { url } = await serve(t, app => {
        app.get('/shorthand', { sse: true }, handler)
        app.get('/option', { sse: true, handler })
        app.route({ method: 'GET', url: '/route', sse: true, handler })
      })
      for (const path of ['/shorthand', '/option', '/route']) {
        t.match(await ask(url + path), { status: 200, type: 'text/event-stream', text: `data: ${path}\n\n` })
      }
    })
  }

  t.test('is the source for every method', async t => {
    const methods = ['get', 'post', 'put', 'patch', 'delete', 'options'] as const
    const { url } = await serve(t, app => {
      const handler: SseRouteHandler = async function * ({ method }) { yield method }
      for (const method of methods) app[method](`/${method}`, { sse: true }, handler)
      app.all('/all', { sse: true }, handler)
      app.route({ method: ['GET', 'POST', 'delete' as HTTPMethods], url: '/three', sse: true, handler })
    })
    for (const method of methods) {
      const verb = method.toUpperCase()
      t.equal((await ask(`${url}/${method}`, { method: verb })).text, `data: ${verb}\n\n`)
      t.equal((await ask(`${url}/all`, { method: verb })).text, `data: ${verb}\n\n`)
    }
    for (const method of ['GET', 'POST', 'DELETE']) t.equal((await ask(`${url}/three`, { method })).text, `data: ${method}\n\n`)
  })

  t.test('is called when all hooks have run, those of the route too', async t => {
    const order: string[] = []
    const log = (what: string) => async () => { order.push(what) }
    const responded = deferred()
    const { url } = await serve(t, app => {
      for (const hook of ['onRequest', 'preParsing', 'preValidation', 'preHandler', 'onSend'] as const) app.addHook(hook, log(hook))
      app.addHook('onResponse', async () => { responded.resolve() })
      app.get('/', { sse: true, preHandler: log('preHandler of the route'), onSend: log('onSend of the route') }, async function * () {
        order.push('generator')
        yield 'hello'
      })
    })
    t.equal((await ask(url)).text, 'data: hello\n\n')
    t.strictSame(order, [
      'onRequest', 'preParsing', 'preValidation', 'preHandler', 'preHandler of the route', 'onSend', 'onSend of the route', 'generator'
    ])
    await responded.promise
  })

  t.test('is not called where a hook answers in its place', async t => {
    let calls = 0
    const { url } = await serve(t, app => app.get('/', {
      sse: true,
      preHandler: async (request, reply) => reply.code(401).send({ who: 'are you' })
    }, async function * () { yield String(calls++) }))
    t.match(await ask(url), { status: 401, type: /json/, text: '{"who":"are you"}' })
    t.equal(calls, 0)
  })

  t.test('has the request, the reply and the stream, whose signal tells that the client has left', async t => {
    const reason = deferred<unknown>()
    const { url } = await serve(t, app => app.get<{ Params: { room: string } }>('/:room', { sse: true }, async function * (request, reply, stream) {
      yield { data: [request.params.room, reply.request === request, stream.request === request, stream.lastEventId] }
      await once(stream.signal, 'abort')
      reason.resolve(stream.signal.reason)
    }))
    const { next, close } = await open(t, `${url}/kitchen`, { headers: { 'last-event-id': '7' } })
    t.equal((await next())?.data, '["kitchen",true,true,"7"]')
    close()
    t.match(await reason.promise, { name: 'AbortError', reason: 'client' })
  })

  t.test('may set a status, headers and cookies until its first event', async t => {
    const { url } = await serve(t, app => app.get('/', { sse: true }, async function * (request, reply) {
      reply.code(206).header('x-room', 'kitchen').header('set-cookie', 'seen=1')
      yield 'hello'
    }))
    t.match(await ask(url), { status: 206, text: 'data: hello\n\n', headers: { 'x-room': 'kitchen', 'set-cookie': 'seen=1' } })
  })

  t.test('still has its stream where another plugin has wrapped it', async t => {
    const app = Fastify()
    t.teardown(() => app.close())
    app.addHook('onRoute', route => {
      const { handler } = route
      route.handler = function (...given) { return Reflect.apply(handler, this, given) }
    })
    await app.register(ssePlugin)
    app.get('/', { sse: true }, async function * (request, reply, { signal, lastEventId }) { yield `${signal.aborted} ${lastEventId}` })
    t.match(await app.inject({ url: '/', headers: { 'last-event-id': '7' } }), { statusCode: 200, body: 'data: false 7\n\n' })
  })

  t.test('that throws before its first event is answered by the error handler of its scope', async t => {
    const { url } = await serve(t, async app => {
      app.setErrorHandler(async (error, request, reply) => reply.code(500).send('the root'))
      await app.register(async scope => {
        scope.setErrorHandler<Error>(async (error, request, reply) => reply.code(418).send(`the scope: ${error.message}`))
        scope.get('/scope', { sse: true }, async function * () { throw new Error('no') })
        scope.get('/route', {
          sse: true,
          errorHandler: ({ message }, request, reply) => { reply.code(409).send(`the route: ${message}`) }
        }, function * () { throw new Error('no') })
      })
    })
    t.match(await ask(`${url}/scope`), { status: 418, type: /plain/, text: 'the scope: no' })
    t.match(await ask(`${url}/route`), { status: 409, type: /plain/, text: 'the route: no' })
  })
})

t.test('any other handler', async t => {
  const sources: Record<string, () => unknown> = {
    'an array': () => ['a', 'b'],
    'a generator object': function () { return (function * () { yield * ['a', 'b'] })() },
    'an async generator object': () => (async function * () { yield * ['a', 'b'] })(),
    'a generator function': () => async function * () { yield * ['a', 'b'] },
    'a function that returns a source': () => () => ['a', 'b'],
    'a Readable': () => Readable.from(['a', 'b']),
    'a web ReadableStream': () => ReadableStream.from(['a', 'b'])
  }
  for (const [what, make] of Object.entries(sources)) {
    t.test(`may return ${what}, or a promise of it`, async t => {
      const { url } = await serve(t, app => {
        app.get('/plain', { sse: true }, () => make() as string[])
        app.get('/async', { sse: true }, async () => make() as string[])
        app.get('/arrow', { sse: true, handler: () => make() as string[] })
      })
      for (const path of ['/plain', '/async', '/arrow']) {
        t.match(await ask(url + path), { status: 200, type: 'text/event-stream', text: 'data: a\n\ndata: b\n\n' })
      }
    })
  }

  t.test('may answer by the reply', async t => {
    const { url, log } = await serve(t, app => {
      app.get('/sse', { sse: true }, (request, reply) => reply.sse(greet))
      app.get('/sse-async', { sse: true }, async (request, reply) => reply.sse(greet))
      app.get('/json', { sse: true }, (request, reply) => reply.code(202).send({ not: 'a stream' }))
      app.get('/json-async', { sse: true }, async (request, reply) => reply.code(202).send({ not: 'a stream' }))
      app.get('/later', { sse: true }, ((request, reply) => { setImmediate(() => reply.code(202).send({ not: 'a stream' })) }) as RouteHandlerMethod as SseRouteHandler)
      app.get('/nothing', { sse: true }, (async (request, reply) => { reply.code(204) }) as RouteHandlerMethod as SseRouteHandler)
    })
    for (const path of ['/sse', '/sse-async']) t.match(await ask(url + path), { type: 'text/event-stream', text: 'data: hello\n\n' })
    for (const path of ['/json', '/json-async', '/later']) {
      t.match(await ask(url + path), { status: 202, type: /json/, text: '{"not":"a stream"}', headers: { 'cache-control': undefined } })
    }
    t.match(await ask(`${url}/nothing`), { status: 204, text: '' })
    t.same(log.complaints, [])
  })

  for (const junk of [null, 5, true, 'text', {}, Symbol('source'), new Date(0)]) {
    t.test(`that returns ${inspect(junk)} is answered by the error handler`, async t => {
      const { url } = await serve(t, app => {
        app.get('/plain', { sse: true }, () => junk as never)
        app.get('/async', { sse: true }, async () => junk as never)
      })
      for (const path of ['/plain', '/async']) {
        const { status, type, text } = await ask(url + path)
        t.match({ status, type }, { status: 500, type: /json/ })
        t.match(JSON.parse(text), { code: 'FST_ERR_SSE_SOURCE', message: inspect(junk) })
      }
    })
  }

  t.test('that throws or rejects is answered by the error handler, with the status of the error', async t => {
    const { url } = await serve(t, app => {
      const error = Object.assign(new Error('no such room'), { statusCode: 404 })
      app.get('/throws', { sse: true }, () => { throw error })
      app.get('/rejects', { sse: true }, async () => { throw error })
      app.get('/thenable', { sse: true }, () => ({ then (resolve: unknown, reject: (error: Error) => void) { reject(error) } }) as never)
    })
    for (const path of ['/throws', '/rejects', '/thenable']) {
      const { status, type, text } = await ask(url + path)
      t.match({ status, type }, { status: 404, type: /json/ })
      t.match(JSON.parse(text), { message: 'no such room' })
    }
  })

  t.test('is called at once, and what it returned is let go where the client only asks for the headers', async t => {
    const returned = deferred()
    const { url } = await serve(t, app => app.get('/', { sse: true }, () => ({
      [Symbol.asyncIterator]: () => ({
        next: async () => ({ done: false, value: 'never asked for' }),
        async return () {
          returned.resolve()
          return { done: true as const, value: undefined }
        }
      })
    })))
    t.match(await ask(url, { method: 'HEAD' }), { status: 200, type: 'text/event-stream', text: '' })
    await returned.promise
  })

  t.test('has the stream too, whose signal aborts when the client leaves', async t => {
    const reason = deferred<unknown>()
    const { url } = await serve(t, app => app.get('/', { sse: true }, async (request, reply, { signal, lastEventId }) => {
      signal.addEventListener('abort', () => { reason.resolve(signal.reason) })
      return (async function * () {
        yield lastEventId
        await forever
      })()
    }))
    const { next, close } = await open(t, url, { headers: { 'last-event-id': '7' } })
    if (!t.equal((await next())?.data, '7')) return
    close()
    t.match(await reason.promise, { name: 'AbortError', reason: 'client' })
  })
})

t.test("'this' is the Fastify instance of the scope, with its decorators", async t => {
  interface Named { room: string }
  const { url } = await serve(t, async app => {
    app.decorate('room', 'the hall')
    const declare = (scope: FastifyInstance) => {
      scope.get('/generator', { sse: true }, async function * () { yield (this as unknown as Named).room })
      scope.get('/sync', { sse: true }, function * () { yield (this as unknown as Named).room })
      scope.get('/plain', { sse: true }, function () { return [(this as unknown as Named).room] })
      scope.get('/async', { sse: true }, async function () { return [(this as unknown as Named).room] })
      scope.get('/function', { sse: true }, function () { return () => [(this as unknown as Named).room] })
    }
    declare(app)
    await app.register(async scope => {
      Object.assign(scope, { room: 'the kitchen' })
      declare(scope)
    }, { prefix: '/scope' })
  })
  for (const path of ['/generator', '/sync', '/plain', '/async', '/function']) {
    t.equal((await ask(url + path)).text, 'data: the hall\n\n')
    t.equal((await ask(`${url}/scope${path}`)).text, 'data: the kitchen\n\n')
  }
})

t.test('body, query and params are validated as in other routes', async t => {
  let calls = 0
  const { url } = await serve(t, app => app.post<{ Body: object, Querystring: { from: number }, Params: { room: number } }>('/rooms/:room', {
    sse: true,
    schema: {
      body: { type: 'object', properties: { name: { type: 'string', default: 'nobody' } }, additionalProperties: false },
      querystring: { type: 'object', properties: { from: { type: 'integer' } }, required: ['from'] },
      params: { type: 'object', properties: { room: { type: 'integer' } } },
      events: { entered: {} }
    }
  }, async function * ({ body, query: { from }, params: { room } }) {
    calls++
    yield { event: 'entered', data: { body, from, room } }
  }))
  for (const [path, body] of [['/rooms/1?from=2', 5], ['/rooms/1', {}], ['/rooms/1?from=x', {}], ['/rooms/x?from=1', {}]] as const) {
    const { status, type, text } = await ask(url + path, post(body))
    t.match({ status, type }, { status: 400, type: /json/ }, `${path} ${text}`)
    t.match(JSON.parse(text), { code: 'FST_ERR_VALIDATION' })
  }
  t.equal(calls, 0)
  t.equal((await ask(`${url}/rooms/1?from=2`, post({ other: 1 }))).text, 'event: entered\ndata: {"body":{"name":"nobody"},"from":2,"room":1}\n\n')
})

t.test('where a route is', async t => {
  const prefixes: [prefixTrailingSlash: RouteOptions['prefixTrailingSlash'], there: string[], notThere: string[]][] = [
    [undefined, ['/rooms', '/rooms/'], []],
    ['both', ['/rooms', '/rooms/'], []],
    ['slash', ['/rooms/'], ['/rooms']],
    ['no-slash', ['/rooms'], ['/rooms/']]
  ]
  for (const [prefixTrailingSlash, there, notThere] of prefixes) {
    t.test(`'/' in a prefix is a stream at ${there.join(' and ')} with prefixTrailingSlash: ${prefixTrailingSlash}`, async t => {
      const { url } = await serve(t, app => app.register(async scope => {
        const option = prefixTrailingSlash === undefined ? {} : { prefixTrailingSlash }
        scope.get('/', { sse: true, schema: { events: { message: { type: 'string' } } }, ...option }, async function * (request) { yield request.url })
      }, { prefix: '/rooms' }))
      for (const path of there) {
        t.match(await ask(url + path), { type: 'text/event-stream', text: `data: ${path}\n\n` })
        t.match(await ask(url + path, { method: 'HEAD' }), { status: 200, type: 'text/event-stream', text: '' })
      }
      for (const path of notThere) t.equal((await ask(url + path)).status, 404)
    })
  }

  t.test('in nested scopes it has all their prefixes and hooks, which others do not have', async t => {
    const { url } = await serve(t, app => app.register(async outer => {
      outer.addHook('onRequest', async (request, reply) => { reply.header('x-outer', '1') })
      await outer.register(async inner => {
        inner.addHook('onRequest', async (request, reply) => { reply.header('x-inner', '1') })
        inner.get('/events', { sse: true }, greet)
      }, { prefix: '/inner' })
      outer.get('/events', { sse: true }, greet)
    }, { prefix: '/outer' }))
    t.match((await ask(`${url}/outer/inner/events`)).headers, { 'x-outer': '1', 'x-inner': '1' })
    t.match((await ask(`${url}/outer/events`)).headers, { 'x-outer': '1', 'x-inner': undefined })
  })

  t.test('routes that differ in a constraint are streams of their own', async t => {
    const { url } = await serve(t, app => {
      for (const version of ['1.0.0', '2.0.0']) {
        app.get('/', {
          constraints: { version },
          sse: { retry: Number(version[0]) },
          schema: { events: { message: { type: 'object', properties: { [`of${version[0]}`]: {} } } } }
        }, async function * () { yield { data: { of1: 1, of2: 2 } } })
      }
    })
    for (const version of ['1', '2']) {
      t.equal((await ask(url, { headers: { 'accept-version': `${version}.x` } })).text, `retry: ${version}\ndata: {"of${version}":${version}}\n\n`)
    }
  })

  t.test('a route that is not declared with sse is no stream', async t => {
    const { url } = await serve(t, app => {
      app.get('/', async () => ['hello'])
      app.get('/false', { sse: false }, async () => ['hello'])
      app.get('/undefined', { sse: undefined }, async () => ['hello'])
    })
    for (const path of ['/', '/false', '/undefined']) t.match(await ask(url + path), { type: /json/, text: '["hello"]' })
  })

  t.test('a route that is declared before the plugin is registered, or out of its scope, is not seen by it', async t => {
    const app = Fastify()
    t.teardown(() => app.close())
    app.get('/before', { sse: true }, greet)
    await app.register(async scope => {
      await scope.register(ssePlugin)
      scope.get('/within', { sse: true }, greet)
    })
    app.get('/without', { sse: true }, greet)
    t.equal((await app.inject('/within')).body, 'data: hello\n\n')
    for (const url of ['/before', '/without']) t.match(await app.inject(url), { headers: { 'content-type': /json/ }, body: '{}' })
  })

  t.test('a route that is declared in the same tick as the plugin is registered is seen in after() and in plugins', async t => {
    const app = Fastify()
    t.teardown(() => app.close())
    app.register(ssePlugin)
    app.register(async scope => { scope.get('/plugin', { sse: true }, greet) })
    app.after(() => { app.get('/after', { sse: true }, greet) })
    for (const url of ['/plugin', '/after']) t.equal((await app.inject(url)).body, 'data: hello\n\n')
  })
})

t.test('HEAD', async t => {
  async function serveCounted (t: Test, declare: (app: FastifyInstance, handler: SseRouteHandler) => unknown) {
    let calls = 0
    const { url } = await serve(t, app => declare(app, async function * () {
      calls++
      yield 'hello'
    }))
    return { url, calls: () => calls }
  }

  t.test('of a GET route has its headers, and does not call its generator', async t => {
    const { url, calls } = await serveCounted(t, (app, handler) => app.get('/', { sse: true, schema: { events: { message: {} } } }, handler))
    const { status, headers, text } = await ask(url, { method: 'HEAD' })
    t.match({ status, headers, text }, {
      status: 200, headers: { 'content-type': 'text/event-stream', 'cache-control': /no-store/, 'x-accel-buffering': 'no' }, text: ''
    })
    t.equal(calls(), 0)
    t.equal((await ask(url)).text, 'data: hello\n\n')
  })

  t.test('is not there where it is not to be exposed', async t => {
    const { url } = await serveCounted(t, (app, handler) => app.get('/', { sse: true, exposeHeadRoute: false }, handler))
    t.equal((await ask(url, { method: 'HEAD' })).status, 404)
  })

  t.test('may be a route of its own', async t => {
    const { url, calls } = await serveCounted(t, (app, handler) => {
      app.head('/stream', { sse: true }, handler)
      app.head('/other', async (request, reply) => reply.header('x-head', 'of its own').send())
      app.get('/other', { sse: true }, handler)
      app.route({ method: ['GET', 'HEAD'], url: '/both', sse: true, handler })
    })
    t.match(await ask(`${url}/stream`, { method: 'HEAD' }), { status: 200, type: 'text/event-stream', text: '' })
    t.match((await ask(`${url}/other`, { method: 'HEAD' })).headers, { 'x-head': 'of its own', 'content-type': undefined })
    t.match(await ask(`${url}/both`, { method: 'HEAD' }), { status: 200, type: 'text/event-stream', text: '' })
    t.equal(calls(), 0)
    t.equal((await ask(`${url}/other`)).text, 'data: hello\n\n')
    t.equal((await ask(`${url}/both`)).text, 'data: hello\n\n')
  })
})

t.test('options', async t => {
  t.test('of the registration are overridden by those of the route, and these by those of the call', async t => {
    const { url } = await serve(t, app => {
      app.get('/true', { sse: true }, greet)
      app.get('/undefined', { sse: { retry: undefined } }, greet)
      app.get('/route', { sse: { retry: 2 } }, greet)
      app.get('/call', { sse: { retry: 2 } }, (request, reply) => reply.sse(greet, { retry: 3 }))
      app.get('/call-of-another', { sse: { retry: 2 } }, (request, reply) => reply.sse(greet, { heartbeat: false }))
      app.get('/plain', (request, reply) => reply.sse(greet))
    }, { plugin: { retry: 1 } })
    for (const [path, retry] of Object.entries({ true: 1, undefined: 1, route: 2, call: 3, 'call-of-another': 2, plain: 1 })) {
      t.equal((await ask(`${url}/${path}`)).text, `retry: ${retry}\ndata: hello\n\n`, path)
    }
  })

  t.test('of a route are for all that its handler may return', async t => {
    const sse = { retry: 2, serializer: () => 'serialized' }
    const { url } = await serve(t, app => {
      app.get('/generator', { sse }, async function * () { yield { data: {} } })
      app.get('/plain', { sse }, () => [{ data: {} }])
      app.get('/async', { sse }, async () => [{ data: {} }])
      app.get('/reply', { sse }, (request, reply) => reply.sse([{ data: {} }]))
    })
    for (const path of ['/generator', '/plain', '/async', '/reply']) t.equal((await ask(url + path)).text, 'retry: 2\ndata: serialized\n\n')
  })

  t.test('of shutdown are overridden one by one', async t => {
    mock.timers.enable({ apis: ['setTimeout'] })
    t.teardown(() => { mock.timers.reset() })
    const told = deferred()
    const { app, url, log } = await serve(t, app => {
      app.get('/', { sse: { shutdown: { retry: 7 } } }, async function * (request, reply, { signal }) {
        yield 'open'
        await once(signal, 'abort')
        told.resolve()
        await forever
      })
    }, { plugin: { shutdown: { grace: 60_000, retry: 5 } } })
    const stream = await open(t, url)
    t.equal((await stream.next())?.data, 'open')
    app.close()
    await told.promise
    mock.timers.tick(59_999)
    t.same(log.all.filter(({ msg }) => msg === 'event stream closed'), [])
    mock.timers.tick(1)
    t.equal(await stream.next(), undefined)
    t.equal(stream.retry(), 7)
  })

  t.test('maxStreams of a route counts the streams of this route, under whatever method or path', async t => {
    async function * parked () {
      yield 'open'
      await forever
    }
    const { url, log } = await serve(t, app => app.register(async scope => {
      scope.route({ method: ['GET', 'POST'], url: '/', sse: { maxStreams: 1 }, handler: parked })
      scope.get('/other', { sse: { maxStreams: 1 } }, parked)
    }, { prefix: '/rooms' }))
    const first = await open(t, `${url}/rooms`)
    t.equal((await first.next())?.data, 'open')
    t.equal((await (await open(t, `${url}/rooms/other`)).next())?.data, 'open')

    for (const path of ['/rooms', '/rooms/']) {
      for (const method of ['GET', 'POST']) {
        const { response: { status } } = await open(t, url + path, { method })
        if (!t.equal(status, 503, `${method} ${path}`)) return
      }
    }
    first.close()
    await log.take('event stream closed', 5)
    t.equal((await (await open(t, `${url}/rooms`)).next())?.data, 'open')
  })

  t.test('of a route say when one comes back for whom there is no place', async t => {
    const { url } = await serve(t, app => app.get('/', { sse: { maxStreams: 1, shutdown: { grace: 0 } } }, async function * () {
      yield 'open'
      await forever
    }), { plugin: { shutdown: { retry: 4321 } } })
    t.equal((await (await open(t, url)).next())?.data, 'open')
    t.match(await ask(url, { headers: EVENT_SOURCE }), { status: 200, text: 'retry: 4321\n' })
  })
})

t.test('what cannot work is refused where the route is declared', async t => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(ssePlugin)

  function refuses (t: Test, what: string, given: object, ...parts: string[]): void {
    const declarations = {
      'GET /a': () => app.get('/a', given as { sse: true }, greet),
      'POST /b': () => app.route({ method: 'POST', url: '/b', handler: greet, ...given as { sse: true } }),
      'GET,PUT /c': () => app.route({ method: ['GET', 'PUT'], url: '/c', handler: greet, ...given as { sse: true } })
    }
    for (const [route, declare] of Object.entries(declarations)) {
      const { code, message } = refusalOf(declare)
      t.equal(code, 'FST_ERR_SSE_ROUTE', `${route} ${what}`)
      t.ok([route, ...parts].every(part => message.includes(part)), message)
    }
  }

  t.test('options that are none', async t => {
    for (const sse of [5, 0, '', 'yes', null, [], () => true, new Map()]) refuses(t, inspect(sse), { sse }, 'must be an object', `got ${inspect(sse)}`)
  })

  t.test('options that are unknown or not allowed', async t => {
    refuses(t, 'unknown', { sse: { heartbeet: 5 } }, "'heartbeet'", 'heartbeat, retry', 'got 5')
    refuses(t, 'of the registration', { sse: { lastEventIdParameter: 'id' } }, "'lastEventIdParameter'", "got 'id'")
    refuses(t, 'not allowed', { sse: { prime: -1 } }, "'prime' must be an integer of milliseconds", 'got -1')
    refuses(t, 'without another', { sse: { maxStreamsPerKey: 1 } }, "'key' must be a function where 'maxStreamsPerKey' is set")
  })

  t.test('schemas of events on a route that is no stream', async t => {
    const schema = { events: { tick: {} } }
    refuses(t, 'without sse', { schema }, 'schema.events', 'add sse: true')
    refuses(t, 'with sse: false', { schema, sse: false }, 'schema.events', 'add sse: true')
  })

  t.test('schemas of events that are none', async t => {
    const wrong = [5, null, '', 'tick', true, [], [{}], {}, { tick: undefined }, { tick: null }, { tick: 5 }, { tick: 'string' }, { a: {}, b: 5 }]
    for (const events of wrong) {
      refuses(t, inspect(events), { sse: true, schema: { events } }, 'schema.events must be an object with a schema for each name', `got ${inspect(events)}`)
    }
  })

  t.test('names of events that cannot go over the wire, or that no event has', async t => {
    for (const name of ['a\nb', 'a\rb', 'a\0b', '\n', 'evil\ndata: x\n\n', '']) {
      refuses(t, inspect(name), { sse: true, schema: { events: { tick: {}, [name]: {} } } }, 'schema.events', 'name')
    }
  })

  t.test('a serializer beside schemas that would replace it', async t => {
    refuses(t, 'both', { sse: { serializer: String }, schema: { events: { tick: {} } } }, 'sse.serializer', 'schema.events')
  })

  t.test('in a plugin, which then does not start', async t => {
    const app = Fastify()
    t.teardown(() => app.close())
    app.register(ssePlugin)
    app.register(async scope => { scope.get('/', { sse: { prime: -1 } }, greet) }, { prefix: '/rooms' })
    await t.rejects(async () => { await app.ready() }, { code: 'FST_ERR_SSE_ROUTE', message: 'GET /rooms' })
  })
})
