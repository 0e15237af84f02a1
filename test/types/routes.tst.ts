import type { JsonSchemaToTsProvider } from '@fastify/type-provider-json-schema-to-ts'
import { Type, type FastifyPluginAsyncTypebox, type TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import Fastify, {
  type FastifyInstance, type FastifyReply, type FastifyRequest, type FastifySchema, type FastifyTypeProviderDefault, type RawServerDefault,
  type RouteGenericInterface
} from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Http2Server, Http2ServerRequest } from 'node:http2'
import { PassThrough } from 'node:stream'
import { ReadableStream } from 'node:stream/web'
import { describe, expect, test } from 'tstyche'
import { z } from 'zod'
import type { SseRouteHandler, SseRouteOptions, SseRouteShorthandOptions, StreamContext } from '../../plugin/index'
import type { AnyRouteOptions } from '../../plugin/route-types'

const app = Fastify()

/** What is declared by hand here, and by the schemas of each type provider below. */
interface Market {
  trade: { side: 'buy' | 'sell', prices: number[] }
  message: string
}

interface Order { symbol: string }

describe('the handler of an sse route', () => {
  test('is given request, reply, stream and the instance', () => {
    app.get('/', { sse: true }, async function * (request, reply, stream) {
      expect(this).type.toBe<FastifyInstance>()
      expect(request).type.toBe<FastifyRequest>()
      expect(reply).type.toBe<FastifyReply>()
      expect(stream).type.toBe<StreamContext>()
      yield stream.lastEventId
    })
  })

  test('yields any event where none is declared, and nothing else', () => {
    app.get('/', { sse: true }, async function * () {
      yield 'text'
      yield { id: 1, event: 'tick', data: { any: 'thing' }, retry: 5, comment: 'c' }
    })
    app.get('/', { sse: true }, async function * () {})
    app.get('/', { sse: true }, async function * (request) { throw new Error(request.ip) })
    expect(app.get).type.not.toBeCallableWith('/', { sse: true }, async function * () { yield 5 })
    expect(app.get).type.not.toBeCallableWith('/', { sse: true }, async function * () { yield undefined })
    expect(app.get).type.not.toBeCallableWith('/', { sse: true }, async function * () { yield { evnt: 'tick' } })
    // @ts-expect-error '{ 'no field of an event': "dta"; }'
    app.get('/', { sse: true }, async function * (request) { yield { event: 'tick', dta: request.ip } })
  })

  test('goes with every shorthand', () => {
    const methods = [
      'all', 'copy', 'delete', 'get', 'head', 'lock', 'mkcalendar', 'mkcol', 'move', 'options', 'patch', 'post', 'propfind',
      'proppatch', 'put', 'query', 'report', 'search', 'trace', 'unlock'
    ] as const
    for (const method of methods) {
      app[method]('/', { sse: true }, async function * (request, reply, stream) {
        expect(stream).type.toBe<StreamContext>()
        yield 'text'
      })
    }
  })

  test('may stand among the options', () => {
    app.get('/', {
      sse: true,
      handler: async function * (request, reply, stream) {
        expect(this).type.toBe<FastifyInstance>()
        expect(stream).type.toBe<StreamContext>()
        yield 'text'
      }
    })
    app.route({
      method: ['GET', 'HEAD'],
      url: '/',
      async * handler (request, reply, stream) {
        expect(this).type.toBe<FastifyInstance>()
        expect(stream).type.toBe<StreamContext>()
        yield 'text'
      },
      sse: {}
    })
    expect(app.get).type.not.toBeCallableWith('/', { sse: true })
    expect(app.get).type.not.toBeCallableWith('/', { sse: true, handler: async function * () { yield 5 } })
    expect(app.route).type.not.toBeCallableWith({ method: 'GET', url: '/', sse: true })
    expect(app.route).type.not.toBeCallableWith({ method: 'GET', url: '/', sse: true, handler: async function * () { yield 5 } })
  })

  test('may be a plain or async function that returns any source', () => {
    app.get('/', { sse: true }, () => ['text', { data: 1 }])
    app.get('/', { sse: true }, async request => [{ data: request.ip }])
    app.get('/', { sse: true }, () => (function * () { yield 'text' })())
    app.get('/', { sse: true }, () => new PassThrough({ objectMode: true }))
    app.get('/', { sse: true }, () => new ReadableStream<Uint8Array>())
    app.get('/', { sse: true }, async () => (await fetch('http://127.0.0.1/')).body ?? [])
    app.get('/', { sse: true }, () => async function * ({ signal }) {
      expect(signal).type.toBe<AbortSignal>()
      yield 'text'
    })
    app.get('/', { sse: true }, function () {
      expect(this).type.toBe<FastifyInstance>()
      return []
    })
    expect(app.get).type.not.toBeCallableWith('/', { sse: true }, () => {})
    expect(app.get).type.not.toBeCallableWith('/', { sse: true }, async () => {})
    expect(app.get).type.not.toBeCallableWith('/', { sse: true }, () => ({ data: 'an event is no source' }))
    expect(app.get).type.not.toBeCallableWith('/', { sse: true }, () => [{ dta: 1 }])
  })

  test('may answer by the reply', () => {
    app.get('/', { sse: true }, async (request, reply) => request.ip === '' ? reply.code(403).send('no') : [])
    app.get('/', { sse: true }, (request, reply) => reply.sse(['text']))
  })
})

describe('the options of an sse route', () => {
  test('are true or the options of its streams', () => {
    app.get('/', { sse: { heartbeat: 1000, key: request => request.ip } }, async function * (request, reply, stream) {
      expect(stream).type.toBe<StreamContext>()
      yield 'text'
    })
    expect(app.get).type.not.toBeCallableWith('/', { sse: 5 }, async function * () {})
    expect(app.get).type.not.toBeCallableWith('/', { sse: 'yes' }, async function * () {})
    expect(app.get).type.not.toBeCallableWith('/', { sse: { hartbeat: 1 } }, async function * () {})
    expect(app.route).type.not.toBeCallableWith({ method: 'GET', url: '/', sse: 5, handler: async function * () {} })
  })

  test('are those of other routes besides', () => {
    app.post<{ Body: Order }>('/', {
      sse: true,
      exposeHeadRoute: false,
      constraints: { version: '1.0.0' },
      preHandler: async request => { expect(request.body).type.toBe<Order>() },
      onSend: (request, reply, payload, done) => { done() }
    }, async function * (request) {
      expect(request.body).type.toBe<Order>()
      yield request.body.symbol
    })
    expect(app.get).type.not.toBeCallableWith('/', { sse: true, bodyLimit: 'much' }, async function * () {})
    expect(app.get).type.not.toBeCallableWith('/', { sse: true, schema: { events: 5 } }, async function * () {})
  })
})

describe('a route without sse', () => {
  test('knows nothing of it', () => {
    app.get('/', { sse: false }, async () => 5)
    app.get('/', { sse: undefined, schema: { events: {} } }, async () => 5)
    expect(app.get).type.not.toBeCallableWith('/', { sse: 5 }, async () => 5)
    expect(app.get).type.not.toBeCallableWith('/', { schema: { events: 5 } }, async () => 5)
  })

  test('has a handler of two arguments', () => {
    // @ts-expect-error Target signature provides too few arguments. Expected 3 or more, but got 2.
    app.get('/', {}, async (request: FastifyRequest, reply: FastifyReply, stream: StreamContext) => stream.lastEventId)
    // @ts-expect-error Target signature provides too few arguments. Expected 3 or more, but got 2.
    app.route({ method: 'GET', url: '/', handler: async (request: FastifyRequest, reply: FastifyReply, stream: StreamContext) => 5 })
  })

  test('is what an onRoute hook sees, and any route is', () => {
    app.addHook('onRoute', options => {
      const route: AnyRouteOptions = options
      expect(options.sse).type.toBe<false | undefined>()
      expect(route.sse).type.toBeAssignableFrom<true | { heartbeat: number }>()
      expect(route.schema?.events).type.toBe<Record<string, unknown> | undefined>()
      options.handler = async () => 5
    })
  })
})

describe('events declared by hand', () => {
  test('type what is yielded', () => {
    app.get<{ Events: Market, Querystring: { symbol: string } }>('/', { sse: true }, async function * (request) {
      expect(request.query).type.toBe<{ symbol: string }>()
      yield { event: 'trade', data: { side: 'buy', prices: [1.5, 2] }, id: 1 }
      yield { data: 'text' }
      yield 'text'
      yield { retry: 1000 }
    })
    app.route<{ Events: Market }>({
      method: 'GET', url: '/', sse: true, handler: async function * () { yield { event: 'trade', data: { side: 'buy', prices: [] } } }
    })
    app.get<{ Events: Market }>('/', { sse: true }, () => [{ event: 'trade', data: { side: 'sell', prices: [1] } }])
    app.get('/', (request, reply) => reply.sse<Market>(async function * () { yield { event: 'trade', data: { side: 'buy', prices: [] } } }))
  })

  test('refuse what they do not have', () => {
    // @ts-expect-error Type '"trad"' is not assignable to type '"trade"'
    app.get<{ Events: Market }>('/', { sse: true }, async function * () { yield { event: 'trad', data: { side: 'buy', prices: [] } } })
    // @ts-expect-error Type '"hold"' is not assignable to type '"buy" | "sell"'
    app.get<{ Events: Market }>('/', { sse: true }, async function * () { yield { event: 'trade', data: { side: 'hold', prices: [] } } })
    // @ts-expect-error Property 'data' is missing in type '{ event: "trade"; }'
    app.get<{ Events: Market }>('/', { sse: true }, async function * () { yield { event: 'trade' } })
    // @ts-expect-error Type 'number' is not assignable to type 'string'
    app.get<{ Events: Market }>('/', { sse: true }, async function * () { yield { data: 1 } })
    expect(app.get<{ Events: { tick: string } }>).type.not.toBeCallableWith('/', { sse: true }, async function * () { yield 'unnamed' })
    expect(app.get<{ Events: Market }>).type.not.toBeCallableWith('/', { sse: true }, () => ({ event: 'trad' }))
    // @ts-expect-error Type '{ Events: 5; }' does not satisfy the constraint 'RouteGenericInterface'
    app.get<{ Events: 5 }>('/', { sse: true }, async function * () {})
  })

  test('may have any name with data of a type', () => {
    interface Owned { [name: string]: { owner: string } }
    app.get<{ Events: Owned }>('/', { sse: true }, async function * () {
      yield { event: 'any', data: { owner: 'me' } }
      yield { data: { owner: 'me' } }
      yield { retry: 1000 }
    })
    // @ts-expect-error Type 'number' is not assignable to type '{ owner: string; }'
    app.get<{ Events: Owned }>('/', { sse: true }, async function * () { yield { event: 'any', data: 5 } })
    app.get<{ Events: Record<string, any> }>('/', { sse: true }, async function * () { yield { event: 'any', data: 5 } })
  })

  test('may be without data', () => {
    interface Bells { bell: undefined, chime: string | undefined, toll: void }
    app.get<{ Events: Bells }>('/', { sse: true }, async function * () {
      yield { event: 'bell' }
      yield { event: 'bell', id: 1, data: undefined }
      yield { event: 'chime' }
      yield { event: 'chime', data: 'twelve' }
      yield { event: 'toll' }
    })
    // @ts-expect-error Type 'number' is not assignable to type 'undefined'
    app.get<{ Events: Bells }>('/', { sse: true }, async function * () { yield { event: 'bell', data: 5 } })
    // @ts-expect-error Property 'data' is missing in type '{ event: "bel"; }'
    app.get<{ Events: Bells }>('/', { sse: true }, async function * () { yield { event: 'bel' } })
  })

  test('may have text that is optional, or one of some', () => {
    app.get<{ Events: { message?: string } }>('/', { sse: true }, async function * () { yield 'text' })
    app.get<{ Events: { message: 'ding' | 'dong' } }>('/', { sse: true }, () => ['ding', 'dong'])
    app.get<{ Events: { message: 'ding' | 'dong' } }>('/', { sse: true }, async function * () { yield 'ding' as const })
    // @ts-expect-error Type '"dang"' is not assignable to type
    app.get<{ Events: { message: 'ding' | 'dong' } }>('/', { sse: true }, () => ['dang'])
    // @ts-expect-error Type 'string' is not assignable to type
    app.get<{ Events: { message: { a: number } } }>('/', { sse: true }, async function * () { yield 'text' })
  })

  test('may hold what is not known yet', () => {
    expect(<Data>(data: Data) => app.get<{ Events: { tick: Data } }>('/', { sse: true }, async function * () { yield { event: 'tick', data } }))
      .type.not.toRaiseError()
  })

  test('win over the schema', () => {
    app.get<{ Events: Market }>('/', { sse: true, schema: { events: { trade: {} } } }, async function * () {
      yield { event: 'trade', data: { side: 'buy', prices: [] } }
      yield 'text'
    })
  })

  test('type handlers and options that are declared apart', () => {
    const handler: SseRouteHandler<{ Events: Market, Body: Order }> = async function * (request, reply, stream) {
      expect(request.body).type.toBe<Order>()
      expect(stream).type.toBe<StreamContext>()
      yield { event: 'trade', data: { side: 'buy', prices: [] } }
    }
    app.post<{ Events: Market, Body: Order }>('/', { sse: true }, handler)
    const options: SseRouteShorthandOptions = { sse: { heartbeat: 1 } }
    app.get('/', options, async function * () { yield 'text' })
    const route: SseRouteOptions<{ Events: Market }> = { method: 'GET', url: '/', sse: true, handler: () => ['text'] }
    app.route(route)
    // @ts-expect-error Type '"trad"' is not assignable to type '"trade"'
    const wrong: SseRouteHandler<{ Events: Market }> = async function * () { yield { event: 'trad', data: { side: 'buy', prices: [] } } }
    expect(wrong).type.not.toBeAssignableTo<SseRouteHandler<{ Events: { other: number } }>>()
  })
})

describe('handlers and options for other servers and loggers', () => {
  const http2 = Fastify({ http2: true })
  const quiet = { ...app.log, quiet: true }
  const logging = Fastify({ loggerInstance: quiet })

  test('are declared apart for an HTTP/2 server', () => {
    const handler: SseRouteHandler<RouteGenericInterface, FastifySchema, FastifyTypeProviderDefault, Http2Server> = async function * (request) {
      expect(request.raw).type.toBe<Http2ServerRequest>()
      yield 'text'
    }
    const options: SseRouteShorthandOptions<RouteGenericInterface, FastifySchema, FastifyTypeProviderDefault, Http2Server> = { sse: true }
    const route: SseRouteOptions<RouteGenericInterface, FastifySchema, FastifyTypeProviderDefault, Http2Server> = { method: 'GET', url: '/', sse: true, handler }
    http2.get('/', { sse: true }, handler)
    http2.get('/', options, async function * () { yield 'text' })
    http2.route(route)
    expect(app.get).type.not.toBeCallableWith('/', { sse: true }, handler)
  })

  test('are declared apart for a logger and the config of a route', () => {
    const handler: SseRouteHandler<
      RouteGenericInterface, FastifySchema, FastifyTypeProviderDefault, RawServerDefault, IncomingMessage, ServerResponse, { cost: number }, typeof quiet
    > = async function * (request) {
      expect(request.log.quiet).type.toBe<boolean>()
      expect(request.routeOptions.config.cost).type.toBe<number>()
      yield 'text'
    }
    logging.get<RouteGenericInterface, { cost: number }>('/', { sse: true, config: { cost: 1 } }, handler)
    expect(app.get<RouteGenericInterface, { cost: number }>).type.not.toBeCallableWith('/', { sse: true, config: { cost: 1 } }, handler)
  })
})

describe('a schema without a type provider', () => {
  const options = { sse: true, schema: { events: { trade: { type: 'object' }, tick: { type: 'string' } } } } satisfies SseRouteShorthandOptions

  test('gives the names of the events, with any data', () => {
    app.get('/', options, async function * (request) {
      yield { event: 'trade', data: { any: request.ip } }
      yield { event: 'tick', data: 5 }
    })
    // @ts-expect-error Type '"trad"' is not assignable to type '"tick"'
    app.get('/', options, async function * (request) { yield { event: 'trad', data: request.ip } })
    // @ts-expect-error Property 'data' is missing in type '{ event: "trade"; }'
    app.get('/', options, async function * (request) { yield { event: 'trade' } })
    // @ts-expect-error Type 'string' is not assignable to type
    app.get('/', options, async function * (request) { yield request.ip })
  })
})

describe('a TypeBox schema', () => {
  const typed = app.withTypeProvider<TypeBoxTypeProvider>()
  const schema = {
    body: Type.Object({ symbol: Type.String() }),
    events: {
      trade: Type.Object({ side: Type.Union([Type.Literal('buy'), Type.Literal('sell')]), prices: Type.Array(Type.Number()) }),
      message: Type.String()
    }
  }

  async function * texts (): AsyncGenerator<string> { yield 'text' }

  test('types what is yielded', () => {
    typed.post('/', { sse: true, schema }, async function * (request, reply, stream) {
      expect(this).type.toBe<typeof typed>()
      expect(request.body).type.toBe<Order>()
      expect(stream).type.toBe<StreamContext>()
      yield { event: 'trade', data: { side: 'buy', prices: [1.5, 2] }, id: 1 }
      yield { data: 'text' }
      yield 'text'
      yield { retry: 1000 }
    })
    typed.post('/', { sse: true, schema }, async function * () { yield { event: 'trade', data: { side: 'buy', prices: [] } } })
    typed.post('/', { sse: true, schema }, () => [{ event: 'trade', data: { side: 'buy', prices: [1] } }])
    typed.post('/', { sse: true, schema }, function * () { yield { event: 'trade', data: { side: 'buy', prices: [] } } })
    typed.post('/', { sse: true, schema }, async function * () { yield * texts() })
    typed.post('/', { sse: true, schema }, texts)
    typed.post('/', { sse: true, schema }, async request => async function * ({ signal }) {
      expect(signal).type.toBe<AbortSignal>()
      yield { event: 'trade', data: { side: 'buy', prices: [request.body.symbol.length] } }
    })
    typed.post('/', {
      sse: { key: request => request.ip },
      schema,
      preHandler: async request => { expect(request.body).type.toBe<Order>() },
      handler: async function * (request) {
        expect(request.body).type.toBe<Order>()
        yield { event: 'trade', data: { side: 'buy', prices: [] } }
      }
    })
    typed.route({
      method: 'POST',
      url: '/',
      async * handler (request) {
        expect(request.body).type.toBe<Order>()
        yield { event: 'trade', data: { side: 'buy', prices: [] } }
      },
      sse: true,
      schema
    })
    typed.route({
      method: 'POST', url: '/', sse: true, schema, handler: async function * () { yield { event: 'trade', data: { side: 'buy', prices: [] } } }
    })
  })

  test('refuses what it does not have', () => {
    // @ts-expect-error Type '"trad"' is not assignable to type '"trade"'
    typed.post('/', { sse: true, schema }, async function * (request) { yield { event: 'trad', data: { side: 'buy', prices: [] } } })
    // @ts-expect-error Type '"hold"' is not assignable to type '"buy" | "sell"'
    typed.post('/', { sse: true, schema }, async function * (request) { yield { event: 'trade', data: { side: 'hold', prices: [] } } })
    // @ts-expect-error Property 'data' is missing in type '{ event: "trade"; }'
    typed.post('/', { sse: true, schema }, async function * (request) { yield { event: 'trade' } })
    // @ts-expect-error '{ 'no field of an event': "dta"; }'
    typed.post('/', { sse: true, schema }, async function * (request) { yield { event: 'trade', data: { side: 'buy', prices: [] }, dta: 1 } })
    // @ts-expect-error Type 'number' is not assignable to type 'string'
    typed.post('/', { sse: true, schema }, async function * (request) { yield { data: 1 } })
    // @ts-expect-error Type '"hold"' is not assignable to type '"buy" | "sell"'
    typed.post('/', { sse: true, schema }, () => [{ event: 'trade', data: { side: 'hold', prices: [1] } }])
    // @ts-expect-error Type '"hold"' is not assignable to type '"buy" | "sell"'
    typed.route({
      method: 'POST',
      url: '/',
      sse: true,
      schema,
      handler: async function * (request) { yield { event: 'trade', data: { side: 'hold', prices: [] } } }
    })
    expect(typed.post).type.not.toBeCallableWith('/', { sse: true, schema }, async function * () { yield { event: 'trad', data: 1 } })
    expect(typed.post).type.not.toBeCallableWith('/', { sse: true, schema, handler: async function * () { yield { event: 'trade', data: 1 } } })
  })

  test('types tuples', () => {
    const events = { at: Type.Object({ place: Type.Tuple([Type.Literal('x'), Type.Number()]), path: Type.Array(Type.Number()) }), n: Type.Number() }
    typed.get('/', { sse: true, schema: { events } }, async function * () {
      yield { event: 'at', data: { place: ['x', 1], path: [] } }
      yield { event: 'at', data: { place: ['x', 1], path: [1, 2] } }
      yield { event: 'n', data: 5 }
    })
    typed.route({ method: 'GET', url: '/', sse: true, schema: { events }, handler: () => [{ event: 'at', data: { place: ['x', 1], path: [1] } }] })
    typed.get('/', { sse: true, schema: { events: { n: Type.Union([Type.Null(), Type.Literal(5)]) } } }, async function * () {
      yield { event: 'n', data: null }
      yield { event: 'n', data: 5 }
    })
    // @ts-expect-error Type '"y"' is not assignable to type '"x"'
    typed.get('/', { sse: true, schema: { events } }, async function * () { yield { event: 'at', data: { place: ['y', 1], path: [] } } })
  })

  test('without events allows any', () => {
    typed.get('/', { sse: true, schema: { querystring: Type.Object({ symbol: Type.String() }) } }, async function * (request) {
      expect(request.query).type.toBe<Order>()
      yield { event: 'any', data: 1 }
    })
  })

  test('types handlers that are declared apart', () => {
    const handler: SseRouteHandler<{}, typeof schema, TypeBoxTypeProvider> = async function * (request) {
      expect(request.body).type.toBe<Order>()
      yield { event: 'trade', data: { side: 'buy', prices: [] } }
    }
    typed.post('/', { sse: true, schema }, handler)
  })

  test('goes with plugins and instances of a type provider', () => {
    const plugin: FastifyPluginAsyncTypebox = async app => {
      app.post('/', { sse: true, schema }, async function * () { yield { event: 'trade', data: { side: 'buy', prices: [] } } })
      expect<(app: FastifyInstance) => void>().type.toBeCallableWith(app)
    }
    expect(app.register).type.toBeCallableWith(plugin)
  })
})

describe('a JSON schema by json-schema-to-ts', () => {
  const typed = app.withTypeProvider<JsonSchemaToTsProvider>()
  const schema = {
    body: { type: 'object', properties: { symbol: { type: 'string' } }, required: ['symbol'], additionalProperties: false },
    events: {
      trade: {
        type: 'object',
        properties: { side: { enum: ['buy', 'sell'] }, prices: { type: 'array', items: { type: 'number' } } },
        required: ['side', 'prices'],
        additionalProperties: false
      },
      message: { type: 'string' }
    }
  } as const

  test('types what is yielded', () => {
    typed.post('/', { sse: true, schema }, async function * (request) {
      expect(this).type.toBe<typeof typed>()
      expect(request.body).type.toBe<Order>()
      yield { event: 'trade', data: { side: 'buy', prices: [1.5, 2] }, id: 1 }
      yield { data: 'text' }
      yield 'text'
    })
    typed.get('/', {
      sse: true,
      schema: { events: { tick: { type: 'object', properties: { now: { enum: ['noon'] } }, required: ['now'] } } }
    }, async function * () { yield { event: 'tick', data: { now: 'noon' } } })
    typed.route({
      method: 'POST', url: '/', sse: true, schema, handler: async function * () { yield { event: 'trade', data: { side: 'buy', prices: [] } } }
    })
  })

  test('refuses what it does not have', () => {
    // @ts-expect-error Type '"trad"' is not assignable to type '"trade"'
    typed.post('/', { sse: true, schema }, async function * (request) { yield { event: 'trad', data: { side: 'buy', prices: [] } } })
    // @ts-expect-error Type '"hold"' is not assignable to type '"buy" | "sell"'
    typed.post('/', { sse: true, schema }, async function * (request) { yield { event: 'trade', data: { side: 'hold', prices: [] } } })
    // @ts-expect-error Property 'data' is missing in type '{ event: "trade"; }'
    typed.post('/', { sse: true, schema }, async function * (request) { yield { event: 'trade' } })
    // @ts-expect-error '{ 'no field of an event': "dta"; }'
    typed.post('/', { sse: true, schema }, async function * (request) { yield { event: 'trade', data: { side: 'buy', prices: [] }, dta: 1 } })
    expect(typed.post).type.not.toBeCallableWith('/', { sse: true, schema }, async function * () { yield { event: 'trade', data: 1 } })
  })
})

test('a JSON schema that refers to another allows any data', () => {
  const typed = app.withTypeProvider<JsonSchemaToTsProvider>()
  typed.get('/', { sse: true, schema: { events: { trade: { $ref: 'trade#' } } } }, async function * () { yield { event: 'trade', data: { side: 'buy' } } })
  // @ts-expect-error Type '"trad"' is not assignable to type '"trade"'
  typed.get('/', { sse: true, schema: { events: { trade: { $ref: 'trade#' } } } }, async function * () { yield { event: 'trad', data: { side: 'buy' } } })
})

describe('a Zod schema', () => {
  const typed = app.withTypeProvider<ZodTypeProvider>()
  const schema = {
    body: z.object({ symbol: z.string() }),
    events: {
      trade: z.object({ side: z.enum(['buy', 'sell']), prices: z.array(z.number()) }),
      message: z.string()
    }
  }

  test('types what is yielded', () => {
    typed.post('/', { sse: true, schema }, async function * (request) {
      expect(this).type.toBe<typeof typed>()
      expect(request.body).type.toBe<Order>()
      yield { event: 'trade', data: { side: 'buy', prices: [1.5, 2] }, id: 1 }
      yield { data: 'text' }
      yield 'text'
    })
    typed.route({
      method: 'POST', url: '/', sse: true, schema, handler: async function * () { yield { event: 'trade', data: { side: 'buy', prices: [] } } }
    })
  })

  test('refuses what it does not have', () => {
    // @ts-expect-error Type '"trad"' is not assignable to type '"trade"'
    typed.post('/', { sse: true, schema }, async function * (request) { yield { event: 'trad', data: { side: 'buy', prices: [] } } })
    // @ts-expect-error Type '"hold"' is not assignable to type '"buy" | "sell"'
    typed.post('/', { sse: true, schema }, async function * (request) { yield { event: 'trade', data: { side: 'hold', prices: [] } } })
    // @ts-expect-error Property 'data' is missing in type '{ event: "trade"; }'
    typed.post('/', { sse: true, schema }, async function * (request) { yield { event: 'trade' } })
    // @ts-expect-error '{ 'no field of an event': "dta"; }'
    typed.post('/', { sse: true, schema }, async function * (request) { yield { event: 'trade', data: { side: 'buy', prices: [] }, dta: 1 } })
    expect(typed.post).type.not.toBeCallableWith('/', { sse: true, schema }, async function * () { yield { event: 'trade', data: 1 } })
  })
})

test('an HTTP/2 server has sse routes', () => {
  Fastify({ http2: true }).get('/', { sse: true }, async function * (request) { yield String(request.raw.stream.id) })
})
