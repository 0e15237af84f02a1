import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mock } from 'node:test'
import { Readable } from 'node:stream'
import { ReadableStream } from 'node:stream/web'
import { inspect } from 'node:util'
import { Type, type TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import fc from 'fast-check'
import Fastify, {
  type FastifyInstance, type FastifyRequest, type FastifySchema, type HTTPMethods, type RouteHandlerMethod,
  type RouteOptions
} from 'fastify'
import { serializerCompiler, validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod'
import t, { type Test } from 'tap'
import { request } from 'undici'
import { z } from 'zod'
import ssePlugin from '../plugin/index'
import type { SseRouteHandler } from '../plugin/types'
import { EVENT_SOURCE, open } from './helpers/client'
import { deferred } from './helpers/deferred'
import { serve } from './helpers/serve'
import { connectTo, get } from './helpers/socket'
import { expected, parse, text, type Event } from './helpers/wire'

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

function refuse (reason: unknown): never {
  throw reason
}

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
      app.get('/', { sse: true, preHandler: log('preHandler of the route'), onSend: log('onSend of the route') }, async function * (request, reply, stream, called = order.push('the call')) {
        order.push('its first step')
        yield 'hello'
      })
    })
    t.equal((await ask(url)).text, 'data: hello\n\n')
    t.strictSame(order, [
      'onRequest', 'preParsing', 'preValidation', 'preHandler', 'preHandler of the route', 'onSend', 'onSend of the route',
      'the call', 'its first step'
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
      app.setErrorHandler(async (_, request, reply) => reply.code(500).send('the root'))
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

  const junks: [junk: unknown, shown?: string][] = [
    [null], [5], [true], ['text'], [Symbol('source')], [new Date(0)], [{}, '[object Object]'], [{ secret: 7 }, 'an object with secret']
  ]
  for (const [junk, shown = inspect(junk)] of junks) {
    t.test(`that returns ${inspect(junk)} is answered by the error handler`, async t => {
      const { url } = await serve(t, app => {
        app.get('/plain', { sse: true }, () => junk as never)
        app.get('/async', { sse: true }, async () => junk as never)
      })
      for (const path of ['/plain', '/async']) {
        const { status, type, text } = await ask(url + path)
        t.match({ status, type }, { status: 500, type: /json/ })
        t.match(JSON.parse(text), { code: 'FST_ERR_SSE_SOURCE', message: `got ${shown}` })
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
    const readable = new Readable({ read () {} })
    const closed = once(readable, 'close')
    const { url } = await serve(t, app => app.get('/', { sse: true }, () => readable))
    t.match(await ask(url, { method: 'HEAD' }), { status: 200, type: 'text/event-stream', text: '' })
    await closed
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

  t.test('hears by its signal that the client has left while it is at work', async t => {
    const called = deferred()
    const { port, log } = await serve(t, app => app.get('/', { sse: true }, async (request, reply, { signal }) => {
      called.resolve()
      await once(signal, 'abort')
      log.write(JSON.stringify({ level: 30, msg: 'aborted', reason: signal.reason.reason }))
      return ['never sent']
    }))
    const client = await connectTo(t, port, get('/'))
    await called.promise
    client.socket.destroy()
    t.match(await log.find('aborted'), { reason: 'client' })
    t.match(await log.find('event stream closed'), { reason: 'client', events: 0 })
  })

  t.test('may be cut short in its work by the signal where the client has left, which is no error', async t => {
    const upstream = await serve(t, app => app.get('/', async () => forever))
    const works: Record<string, (signal: AbortSignal) => Promise<unknown>> = {
      '/fetch': signal => fetch(upstream.url, { signal }),
      '/throw': async signal => {
        await once(signal, 'abort')
        throw signal.reason
      },
      '/wrapped': async signal => {
        await once(signal, 'abort')
        throw new Error('the search failed', { cause: signal.reason })
      }
    }
    for (const [path, work] of Object.entries(works)) {
      const called = deferred()
      const { port, log } = await serve(t, app => app.get(path, { sse: true }, async (request, reply, { signal }) => {
        const done = work(signal)
        called.resolve()
        await done
        return ['never sent']
      }))
      const client = await connectTo(t, port, get(path))
      await called.promise
      client.socket.destroy()
      t.match(await log.find('event stream closed'), { level: 20, reason: 'client', events: 0 }, path)
      t.same(log.complaints, [], path)
    }
  })

  t.test('that fails by an error of its own where the client has left is still heard of', async t => {
    const called = deferred()
    const { port, log } = await serve(t, app => app.get('/', { sse: true }, async (request, reply, { signal }) => {
      called.resolve()
      await once(signal, 'abort')
      throw new Error('the search failed')
    }))
    const client = await connectTo(t, port, get('/'))
    await called.promise
    client.socket.destroy()
    t.match(await log.find('the search failed'), { level: 50 })
  })

  t.test('that is aborted by another signal is answered by the error handler', async t => {
    const { url } = await serve(t, app => app.get('/', { sse: true }, async () => {
      AbortSignal.abort().throwIfAborted()
      return ['never sent']
    }))
    t.equal((await ask(url)).status, 500)
  })

  t.test('has a signal that does not abort where the answer is done', async t => {
    const signals: AbortSignal[] = []
    const closed = deferred()
    const { url } = await serve(t, app => {
      app.get('/stream', { sse: true }, (request, reply, { signal }) => {
        signals.push(signal)
        return ['hello']
      })
      app.get('/json', { sse: true }, (request, reply, { signal }) => {
        signals.push(signal)
        reply.raw.once('close', closed.resolve)
        return reply.send({ not: 'a stream' })
      })
    })
    await ask(`${url}/stream`)
    await ask(`${url}/json`)
    await closed.promise
    t.strictSame(signals.map(({ aborted }) => aborted), [false, false])
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
    }, { plugin: { shutdown: { grace: 60_000, retry: 5 } }, fastify: { pluginTimeout: 0 } })
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

  t.test('a handler that is no function, such as a generator that was called', async t => {
    for (const handler of [greet(), ['a'], { handler: greet }, 'text', 5]) {
      const { code, message } = refusalOf(() => app.route({ method: 'GET', url: '/a', sse: true, handler: handler as never }))
      t.equal(code, 'FST_ERR_SSE_ROUTE', inspect(handler))
      t.match(message, `GET /a: its handler must be a function, such as an async generator function that is not called yet, got ${inspect(handler)}`)
    }
  })

  t.test('a generator function as the handler of a route without sse, which would answer {}', async t => {
    for (const handler of [greet, function * () { yield 'a' }, greet.bind(null)]) {
      for (const given of [{}, { sse: false as const }, { sse: undefined }]) {
        const { code, message } = refusalOf(() => app.route({ method: 'GET', url: '/a', ...given, handler: handler as never }))
        t.equal(code, 'FST_ERR_SSE_ROUTE')
        t.match(message, 'GET /a: its handler is a generator function, which makes a stream only with sse: true')
      }
    }
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

t.test('the schema of an event', async t => {
  interface Typed {
    route?: Partial<RouteOptions>
    plugin?: ssePlugin.PluginOptions
    sse?: true | ssePlugin.SseOptions
    prepare?: (app: FastifyInstance) => unknown
  }

  /** Serves a route with these schemas; gives what answers a request by these events. */
  async function serveTyped (t: Test, events: Record<string, unknown>, { route = {}, plugin = {}, sse = true, prepare }: Typed = {}) {
    let given: unknown[] = []
    const { url, log } = await serve(t, async app => {
      await prepare?.(app)
      app.get('/', { ...route as {}, sse, schema: { events } }, () => given as string[])
    }, { plugin })

    /** The whole answer. */
    async function send (...events: unknown[]) {
      given = events
      return ask(url)
    }

    /** The error that answers the request. */
    async function sendWrong (...events: unknown[]): Promise<{ code?: string, message: string }> {
      const { status, type, text } = await send(...events)
      return status === 500 && /json/.test(String(type)) ? JSON.parse(text) : { message: `${status} ${text}` }
    }

    return { url, log, send, sendWrong }
  }

  const tick = { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'] }

  t.test('serializes its data, by the name of the event', async t => {
    const { send } = await serveTyped(t, {
      tick: { type: 'object', properties: { n: { type: 'integer' }, at: { type: 'object', properties: { x: { type: 'number' } } } } },
      tock: { type: 'array', items: { type: 'object', properties: { m: {} } } },
      count: { type: 'integer' },
      on: { type: 'boolean' },
      off: { type: 'null' },
      any: {}
    })
    const secret = 'not in the schema'
    const { text } = await send(
      { event: 'tick', data: { n: 1, secret, at: { x: 1.5, secret } }, id: 7 },
      { event: 'tock', data: [{ m: 1, secret }, { m: [{ deep: true }], secret }] },
      { event: 'count', data: 5 }, { event: 'on', data: false }, { event: 'off', data: null }, { event: 'any', data: { kept: [1] } }
    )
    t.equal(text, [
      'id: 7\nevent: tick\ndata: {"n":1,"at":{"x":1.5}}\n\n',
      'event: tock\ndata: [{"m":1},{"m":[{"deep":true}]}]\n\n',
      'event: count\ndata: 5\n\n', 'event: on\ndata: false\n\n', 'event: off\ndata: null\n\n', 'event: any\ndata: {"kept":[1]}\n\n'
    ].join(''))
  })

  t.test('writes dates by their format, without quotes where they are all of the data', async t => {
    const { send } = await serveTyped(t, {
      moment: { type: 'string', format: 'date-time' },
      day: { type: 'string', format: 'date' },
      both: { type: 'object', properties: { moment: { type: 'string', format: 'date-time' }, day: { type: 'string', format: 'date' } } }
    })
    const noon = new Date(Date.UTC(2024, 1, 29, 12))
    const { text } = await send(
      { event: 'moment', data: noon }, { event: 'day', data: noon }, { event: 'both', data: { moment: noon, day: noon } }
    )
    t.equal(text, 'event: moment\ndata: 2024-02-29T12:00:00.000Z\n\nevent: day\ndata: 2024-02-29\n\n' +
      'event: both\ndata: {"moment":"2024-02-29T12:00:00.000Z","day":"2024-02-29"}\n\n')
  })

  t.test('lets every text go over as it is', async t => {
    const { send } = await serveTyped(t, { message: { type: 'string' }, quote: { type: 'string' }, any: {} })
    await fc.assert(fc.asyncProperty(fc.array(text, { minLength: 1 }), async texts => {
      const events: Event[] = texts.flatMap(data => [data, { event: 'quote', data }, { event: 'any', data }])
      const answer = await send(...events)
      assert.deepEqual(parse([Buffer.from(answer.text)]), expected(events))
    }), { ...seed, numRuns: 50 })
  })

  t.test("of 'message' is that of the unnamed event", async t => {
    const { send } = await serveTyped(t, { message: tick })
    const data = { n: 1, secret: true }
    const { text } = await send({ data }, { event: 'message', data }, { event: '', data })
    t.equal(text, 'data: {"n":1}\n\nevent: message\ndata: {"n":1}\n\nevent: \ndata: {"n":1}\n\n')
  })

  t.test('must be there for each event', async t => {
    const { sendWrong } = await serveTyped(t, { tick, tock: tick })
    const nameless: Record<string, unknown[]> = {
      tuck: [{ event: 'tuck', data: { n: 1 } }, { event: 'tuck' }],
      Tick: [{ event: 'Tick', data: { n: 1 } }],
      message: ['text', { data: { n: 1 } }, { event: '', data: { n: 1 } }, { event: '' }],
      constructor: [{ event: 'constructor', data: { n: 1 } }],
      __proto__: []
    }
    for (const [name, events] of [...Object.entries(nameless), ['__proto__', [{ event: '__proto__', data: { n: 1 } }]] as const]) {
      for (const event of events) {
        t.match(await sendWrong(event), { code: 'FST_ERR_SSE_EVENT', message: `no schema for an event named '${name}', only for tick, tock` })
      }
    }
  })

  t.test('is for events with data only', async t => {
    const { send, sendWrong } = await serveTyped(t, { tick, message: tick })
    t.equal((await send({ id: 7 }, { retry: 5 }, { comment: 'c' })).text, 'id: 7\n\nretry: 5\n: c\n')
    for (const event of [{ event: 'tick' }, { event: 'tick', data: undefined, id: 1 }, { event: 'message' }, { event: '' }]) {
      t.match(await sendWrong(event), { code: 'FST_ERR_SSE_FIELD', message: `'${event.event || 'message'}'` })
    }
  })

  t.test('refuses data', async t => {
    const circle: Record<string, unknown> = {}
    circle['self'] = circle
    const refused: Record<string, { schema: object, data: unknown, reason?: string, got?: string }> = {
      'without a required property': { schema: tick, data: { m: 5 }, reason: '"n" is required!', got: 'an object with m' },
      'that cannot be converted': { schema: { type: 'integer' }, data: 'five' },
      'that is none of its alternatives': { schema: { anyOf: [{ type: 'integer' }, { type: 'boolean' }] }, data: 'five' },
      'that is no date': { schema: { type: 'string', format: 'date-time' }, data: new Date(NaN) },
      'that holds itself': { schema: {}, data: circle, got: 'an object with self' },
      'that turns into nothing': { schema: {}, data: { toJSON () {} }, reason: 'its serializer gives', got: 'an object with toJSON' },
      'that is a function': { schema: {}, data: () => 5 },
      'that is a symbol': { schema: {}, data: Symbol('data') },
      'that is a bigint': { schema: {}, data: 5n }
    }
    for (const [which, { schema, data, reason = '', got = inspect(data) }] of Object.entries(refused)) {
      t.test(`${which}, with the name of the event`, async t => {
        const { sendWrong, send } = await serveTyped(t, { tick: schema, before: {} })
        const { code, message } = await sendWrong({ event: 'tick', data })
        t.equal(code, 'FST_ERR_SSE_FIELD')
        t.ok(["'data'", "'tick'", reason, `got ${got}`].every(part => message.includes(part)), message)
        await t.rejects(send({ event: 'before', data: 1 }, { event: 'tick', data }), 'a torn connection where an event went before')
      })
    }
  })

  t.test('that refuses data leaves the events before it, tears the connection, and says so in the log', async t => {
    const refused = deferred()
    const { url, log } = await serve(t, app => app.get('/', { sse: true, schema: { events: { tick } } }, async function * () {
      yield { event: 'tick', data: { n: 1 } }
      await refused.promise
      yield { event: 'tick', data: { m: 2 } }
    }))
    const { next } = await open(t, url)
    t.equal((await next())?.data, '{"n":1}')
    refused.resolve()
    await t.rejects(next())
    t.match(await log.find('event stream failed'), { level: 50, err: { code: 'FST_ERR_SSE_FIELD' } })
    t.match(await log.find('event stream closed'), { reason: 'error', events: 1 })
  })

  t.test('of text takes bytes, as base64', async t => {
    const { send } = await serveTyped(t, { bytes: { type: 'string' } })
    const bytes = Buffer.from('....hello....').subarray(4, 9)
    const { text } = await send({ event: 'bytes', data: bytes }, { event: 'bytes', data: new Uint8Array(bytes) })
    t.equal(text, 'event: bytes\ndata: aGVsbG8=\n\n'.repeat(2))
  })

  t.test('may refer to the shared schemas of its scope', async t => {
    const share = (scope: FastifyInstance, kept: string) => {
      scope.addSchema({ $id: 'place', type: 'object', properties: { [kept]: { $ref: 'point#/definitions/number' } } })
      scope.get('/', {
        sse: true,
        schema: { events: { here: { $ref: 'place#' }, all: { type: 'array', items: { $ref: 'place' } } } }
      }, async function * () {
        const data = { x: 1, y: 2 }
        yield { event: 'here', data }
        yield { event: 'all', data: [data] }
      })
    }
    const { url } = await serve(t, async app => {
      app.addSchema({ $id: 'point', definitions: { number: { type: 'number' } } })
      await app.register(async scope => { share(scope, 'x') }, { prefix: '/x' })
      await app.register(async scope => { share(scope, 'y') }, { prefix: '/y' })
    })
    t.equal((await ask(`${url}/x`)).text, 'event: here\ndata: {"x":1}\n\nevent: all\ndata: [{"x":1}]\n\n')
    t.equal((await ask(`${url}/y`)).text, 'event: here\ndata: {"y":2}\n\nevent: all\ndata: [{"y":2}]\n\n')
  })

  t.test('may refer to itself, and have the $id of another', async t => {
    const node = { $id: 'node', type: 'object', properties: { n: { $ref: '#/definitions/n' }, next: { $ref: '#' } }, definitions: { n: { type: 'integer' } } }
    const { send } = await serveTyped(t, { first: node, second: { ...node } })
    const data = { n: 1, other: 1, next: { n: 2, other: 2 } }
    const json = '{"n":1,"next":{"n":2}}'
    t.equal((await send({ event: 'first', data }, { event: 'second', data })).text, `event: first\ndata: ${json}\n\nevent: second\ndata: ${json}\n\n`)
  })

  t.test('is compiled once for the route, by the compiler of the route, of its scope, or of the server', async t => {
    const compiled: unknown[] = []
    const compilerOf = (whose: string) => (given: { schema: unknown }) => {
      compiled.push({ whose, ...given })
      return (data: unknown) => `${whose}: ${JSON.stringify(data)}`
    }
    const options = { sse: true as const, exposeHeadRoute: false, schema: { events: { tick: { of: 'ours' }, tock: { of: 'ours' } } } }
    const handler = async function * () { for (const event of ['tick', 'tock', 'tick'] as const) yield { event, data: 5 } }
    const { url } = await serve(t, async app => {
      app.setSerializerCompiler(compilerOf('server'))
      app.get('/server', options, handler)
      app.get('/route', { ...options, serializerCompiler: compilerOf('route') }, handler)
      await app.register(async scope => {
        scope.setSerializerCompiler(compilerOf('scope'))
        scope.get('/scope', options, handler)
      })
    })
    for (const whose of ['server', 'route', 'scope']) {
      for (let i = 0; i < 2; i++) {
        t.equal((await ask(`${url}/${whose}`)).text, ['tick', 'tock', 'tick'].map(event => `event: ${event}\ndata: ${whose}: 5\n\n`).join(''))
      }
    }
    const call = (whose: string) => ({ whose, schema: { of: 'ours' }, method: 'GET', url: `/${whose}`, httpStatus: '200', contentType: 'text/event-stream' })
    t.strictSame(compiled, ['server', 'route', 'scope'].flatMap(whose => [call(whose), call(whose)]))
  })

  t.test('with a compiler of the user goes over as this one writes it, but for the quotes of a JSON string', async t => {
    const written = ['"a\\n\\u2603"', '"a","b"', '"', '', 'text\nevent: evil\n\ndata: x', '{"a":1}']
    const { send } = await serveTyped(t, { csv: {} }, { route: { serializerCompiler: () => n => String(written[Number(n)]) } })
    const { text } = await send(...[...written.keys()].map(data => ({ event: 'csv', data })))
    t.equal(text, [
      'data: a\ndata: ☃', 'data: "a","b"', 'data: "', 'data: ', 'data: text\ndata: event: evil\ndata: \ndata: data: x', 'data: {"a":1}'
    ].map(data => `event: csv\n${data}\n\n`).join(''))
  })

  const noTexts: [what: string, given: unknown, shown: string][] = [
    ['nothing', undefined, 'undefined'], ['a number', 5, '5'], ['bytes', Buffer.from('5'), '1 bytes'],
    ['an object', { secret: 7 }, 'an object with secret'],
    ['a promise', Promise.resolve('{}'), 'a promise, and must be synchronous'],
    ['a thenable', { then () {} }, 'a promise, and must be synchronous']
  ]
  for (const [what, given, shown] of noTexts) {
    t.test(`with a compiler of the user whose serializer gives ${what} lets nothing through`, async t => {
      const { sendWrong } = await serveTyped(t, { tick }, { route: { serializerCompiler: () => () => given as never } })
      t.match(await sendWrong({ event: 'tick', data: { n: 1 } }), { code: 'FST_ERR_SSE_FIELD', message: `(its serializer gives ${shown})` })
    })
  }

  t.test('with a serializer that rejects lets nothing through, and nothing is left unhandled', async t => {
    const fails = async () => { throw new Error('the database is gone') }
    const { url } = await serve(t, app => {
      app.get('/compiled', { sse: true, serializerCompiler: () => fails as never, schema: { events: { tick } } }, async function * () {
        yield { event: 'tick', data: { n: 1 } }
      })
      app.get('/option', { sse: { serializer: fails as never } }, async function * () { yield { data: { n: 1 } } })
    })
    for (const path of ['/compiled', '/option']) {
      const { status, text } = await ask(url + path)
      t.equal(status, 500, path)
      t.match(JSON.parse(text), { code: 'FST_ERR_SSE_FIELD', message: '(its serializer gives a promise, and must be synchronous)' }, path)
    }
  })

  t.test('refuses data that is a promise, or a query, and says how to mend it', async t => {
    const promises = [async () => 5, async () => refuse(new Error('nobody waits for it')), () => ({ then () {} })]
    const { url } = await serve(t, app => app.get<{ Params: { n: number } }>('/:n', { sse: true, schema: { events: { tick: {} } } }, async function * ({ params: { n } }) {
      yield { event: 'tick', data: promises[n]?.() }
    }))
    for (const n of promises.keys()) {
      t.match(JSON.parse((await ask(`${url}/${n}`)).text), { code: 'FST_ERR_SSE_FIELD', message: '(it is a promise: await it)' })
    }
  })

  t.test('refuses data with what the serializer threw as the cause', async t => {
    const thrown = new Error('it says no')
    const causes: unknown[] = []
    const { send } = await serveTyped(t, { tick }, {
      prepare (app) {
        app.setSerializerCompiler(() => () => refuse(thrown))
        app.setErrorHandler<Error>((error, request, reply) => {
          causes.push(error.cause)
          return reply.code(500).send(error.message)
        })
      }
    })
    t.match((await send({ event: 'tick', data: { n: 1 } })).text, '(it says no)')
    t.strictSame(causes, [thrown])
  })

  t.test('keeps what it would have left out of the answer, where it refuses the data', async t => {
    const secret = '$2b$10$secret'
    const { send } = await serveTyped(t, { tick, message: { type: 'string' } })
    const deep: Record<string, unknown> = { passwordHash: secret, owner: { passwordHash: secret } }
    const wrong: [event: unknown, got: string][] = [
      [{ event: 'tick', data: deep }, 'got an object with passwordHash, owner'],
      [{ event: 'tick', data: [deep] }, 'got an array of 1'],
      [{ event: 'tock', data: deep }, "no schema for an event named 'tock'"],
      [{ event: deep, data: { n: 1 } }, 'an object with passwordHash, owner'],
      [{ id: deep, data: 'text' }, 'got an object with passwordHash, owner'],
      [deep, 'passwordHash, owner']
    ]
    for (const [event, got] of wrong) {
      const { status, text } = await send(event)
      t.equal(status, 500, got)
      t.ok(text.includes(got), text)
      t.notOk(text.includes(secret), text)
    }
  })

  t.test('with a compiler of the user whose serializer throws what is no error lets nothing through', async t => {
    const { sendWrong } = await serveTyped(t, { tick }, { route: { serializerCompiler: () => () => refuse('it says no') } })
    t.match(await sendWrong({ event: 'tick', data: { n: 1 } }), { code: 'FST_ERR_SSE_FIELD', message: "'it says no'" })
  })

  t.test('is refused when the server starts, where it is broken, with its route and its event', async t => {
    const broken: [what: string, schema: object, route?: Partial<RouteOptions>][] = [
      ['an unknown type', { type: 'strin' }],
      ['a reference that leads nowhere', { type: 'object', properties: { a: { $ref: 'nowhere#' } } }],
      ['a keyword of the wrong type', { type: 'object', properties: 5 }],
      ['one that the compiler of the route refuses by what is no error', {}, { serializerCompiler: () => refuse('it says no') }],
      ...[undefined, null, 'text', {}].map((given): [string, object, Partial<RouteOptions>] =>
        [`one for which the compiler of the route gives ${inspect(given)}`, {}, { serializerCompiler: () => given as never }]),
      ['none of the kind that the compiler of the route takes', {}, { serializerCompiler: serializerCompiler as never }]
    ]
    for (const [what, schema, route = {}] of broken) {
      const app = Fastify()
      t.teardown(() => app.close())
      app.register(ssePlugin)
      app.register(async scope => {
        scope.get('/rooms', { ...route as {}, sse: true, schema: { events: { broken: schema } } }, greet as never)
      }, { prefix: '/house' })
      await t.rejects(async () => { await app.ready() }, {
        code: 'FST_ERR_SSE_ROUTE', message: /(GET|HEAD) \/house\/rooms: schema\.events\.broken cannot be compiled: ./
      }, what)
    }
  })

  t.test('is also that of the events of onError', async t => {
    const onError = (error: unknown) => ({ event: (error as Error).message, data: { n: 1, secret: 'dropped' } })
    const { url, log } = await serve(t, app => app.get<{ Params: { name: string } }>('/:name', { sse: { onError }, schema: { events: { tick } } },
      async function * ({ params: { name } }) {
        yield { event: 'tick', data: { n: 0 } }
        throw new Error(name)
      }))
    const known = await open(t, `${url}/tick`)
    await known.next()
    t.match(await known.next(), { event: 'tick', data: '{"n":1}' })
    await t.rejects(known.next())

    const unknown = await open(t, `${url}/other`)
    await unknown.next()
    await t.rejects(unknown.next())
    t.match(await log.find('onError of an event stream failed'), { err: { code: 'FST_ERR_SSE_EVENT' } })
  })

  t.test('holds for all that its handler may return', async t => {
    const data = { n: 1, secret: true }
    const events = [{ event: 'tick', data }] as const
    const { url } = await serve(t, app => {
      const options = { sse: true as const, schema: { events: { tick } } }
      app.get('/generator', options, function * () { yield * events })
      app.get('/array', options, () => events)
      app.get('/function', options, async () => () => events)
      app.get('/readable', options, () => Readable.from(events))
      app.get('/reply', options, (request, reply) => reply.sse(events))
      app.get('/call', options, (request, reply) => reply.sse(events, { serializer: JSON.stringify }))
    }, { plugin: { serializer: JSON.stringify } })
    for (const path of ['/generator', '/array', '/function', '/readable', '/reply', '/call']) {
      t.equal((await ask(url + path)).text, 'event: tick\ndata: {"n":1}\n\n', path)
    }
  })

  t.test('is nothing to an answer that is no stream', async t => {
    const { url } = await serve(t, app => app.get('/', { sse: true, schema: { events: { tick } } }, (request, reply) => reply.send({ whole: [1] })))
    t.match(await ask(url), { status: 200, type: /json/, text: '{"whole":[1]}' })
  })

  t.test('leaves the response schemas of the user at work', async t => {
    const response = { '2xx': { type: 'object', properties: { kept: {} } }, 404: { type: 'object', properties: { kept: {} } } }
    const { url } = await serve(t, app => app.get<{ Params: { code: number } }>('/:code', {
      sse: true, schema: { params: { type: 'object', properties: { code: { type: 'integer' } } }, response, events: { tick } }
    }, (request, reply) => {
      const { code } = request.params
      return code === 200 ? [{ event: 'tick' as const, data: { n: 1 } }] : reply.code(code).send({ kept: 1, other: 2 })
    }))
    t.equal((await ask(`${url}/200`)).text, 'event: tick\ndata: {"n":1}\n\n')
    for (const code of [201, 404]) t.match(await ask(`${url}/${code}`), { status: code, text: '{"kept":1}' })
  })

  t.test('is left as it is, and may be shared by routes', async t => {
    const schema: FastifySchema = { querystring: { type: 'object' }, response: { 404: { type: 'object' } }, events: { tick, tock: { $ref: 'shared#' } } }
    const before = structuredClone(schema)
    const { url } = await serve(t, app => {
      app.addSchema({ $id: 'shared', type: 'string' })
      const handler = async function * () { yield { event: 'tick' as const, data: { n: 1, secret: true } } }
      app.get('/a', { sse: true, schema }, handler)
      app.get('/b', { sse: true, schema }, handler)
      app.register(async scope => { scope.get('/', { sse: true, schema }, handler) }, { prefix: '/c' })
    })
    for (const path of ['/a', '/b', '/c', '/c/']) t.equal((await ask(url + path)).text, 'event: tick\ndata: {"n":1}\n\n')
    t.strictSame(schema, before)
  })

  t.test('keeps its name from writing what is not its own', async t => {
    const { send, sendWrong } = await serveTyped(t, { 'a: b\tdata: ☃ "': {}, message: { type: 'string' } })
    t.equal((await send({ event: 'a: b\tdata: ☃ "', data: 'x\n\nevent: evil' })).text, 'event: a: b\tdata: ☃ "\ndata: x\ndata: \ndata: event: evil\n\n')
    t.match(await sendWrong({ event: 'message\ndata: evil', data: 'x' }), { code: 'FST_ERR_SSE_FIELD', message: "'event'" })
    t.match(await sendWrong({ id: '1\ndata: evil', data: 'x' }), { code: 'FST_ERR_SSE_FIELD', message: "'id'" })
  })
})

t.test('a TypeBox schema serializes what is yielded', async t => {
  const Place = Type.Object({ x: Type.Number(), at: Type.Optional(Type.String({ format: 'date-time' })) })
  const { url } = await serve(t, app => {
    app.withTypeProvider<TypeBoxTypeProvider>().post('/', {
      sse: true,
      schema: {
        body: Type.Object({ x: Type.Number() }),
        events: {
          place: Place,
          order: Type.Object({ side: Type.Union([Type.Literal('buy'), Type.Literal('sell')]) }),
          series: Type.Array(Type.Integer()),
          message: Type.String()
        }
      }
    }, async function * ({ body: { x } }) {
      yield { event: 'place', data: Object.assign({ x }, { secret: true }) }
      yield { event: 'order', data: { side: 'buy' } }
      yield { event: 'series', data: [1, 2] }
      yield 'text'
    })
  })
  t.equal((await ask(url, post({ x: 5 }))).text, 'event: place\ndata: {"x":5}\n\nevent: order\ndata: {"side":"buy"}\n\nevent: series\ndata: [1,2]\n\ndata: text\n\n')
  t.equal((await ask(url, post({ x: 'a' }))).status, 400)
})

t.test('a Zod schema', async t => {
  const serveZod = (t: Test, routes: (app: FastifyInstance) => unknown) => serve(t, app => {
    app.setValidatorCompiler(validatorCompiler)
    app.setSerializerCompiler(serializerCompiler)
    return routes(app)
  })
  const place = z.object({ x: z.number().max(10), at: z.date().optional() }).meta({ id: 'routes.test.place' })

  t.test('serializes what is yielded', async t => {
    const { url } = await serveZod(t, app => {
      app.withTypeProvider<ZodTypeProvider>().post('/', {
        sse: true,
        schema: { body: z.object({ x: z.number() }), events: { place, order: z.object({ side: z.enum(['buy', 'sell']) }), message: z.string() } }
      }, async function * ({ body: { x } }) {
        yield { event: 'place', data: Object.assign({ x, at: new Date(0) }, { secret: true }) }
        yield { event: 'order', data: { side: 'buy' } }
        yield 'te"xt\n'
      })
    })
    t.equal((await ask(url, post({ x: 5 }))).text,
      'event: place\ndata: {"x":5,"at":"1970-01-01T00:00:00.000Z"}\n\nevent: order\ndata: {"side":"buy"}\n\ndata: te"xt\ndata: \n\n')
    t.equal((await ask(url, post({ x: 'a' }))).status, 400)
  })

  t.test('refuses what it does not allow: an error before the first event, and after it a torn connection', async t => {
    const { url } = await serveZod(t, app => app.withTypeProvider<ZodTypeProvider>().get('/:x', {
      sse: true, schema: { params: z.object({ x: z.coerce.number() }), events: { place } }
    }, async function * ({ params }) {
      for (let { x } = params; ; x++) yield { event: 'place', data: { x } }
    }))
    t.match(JSON.parse((await ask(`${url}/11`)).text), { statusCode: 500, code: 'FST_ERR_SSE_FIELD', message: "schema of the event 'place'" })
    const { next } = await open(t, `${url}/10`)
    t.match(await next(), { event: 'place', data: '{"x":10}' })
    await t.rejects(next())
  })

  t.test('stands beside response schemas of its kind', async t => {
    const { url } = await serveZod(t, app => app.withTypeProvider<ZodTypeProvider>().get('/:code', {
      sse: true, schema: { params: z.object({ code: z.coerce.number() }), response: { 404: z.object({ kept: z.number() }) }, events: { place } }
    }, (request, reply) => request.params.code === 404 ? reply.code(404).send({ kept: 1 }) : [{ event: 'place', data: { x: 1 } }]))
    t.match(await ask(`${url}/404`), { status: 404, text: '{"kept":1}' })
    t.match(await ask(`${url}/200`), { status: 200, text: 'event: place\ndata: {"x":1}\n\n' })
  })
})
