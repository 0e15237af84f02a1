import type { JsonSchemaToTsProvider } from '@fastify/type-provider-json-schema-to-ts'
import { Type, type TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import Fastify, { type FastifyRequest } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { describe, expect, test } from 'tstyche'
import { z } from 'zod'
import ssePlugin, { type Channel, type ChannelEvent, type Gap, type PublishedEvent, type Source, type StatsSnapshot, type Subscription } from '../../plugin/index'

const app = Fastify()

/** What is declared by hand here, and by the schemas of each type provider below. */
interface Market {
  trade: { side: 'buy' | 'sell', prices: number[] }
  message: string
}

type Trade = ChannelEvent<'trade', Market['trade']>
type MarketEvent = Trade | ChannelEvent<undefined, string> | ChannelEvent<'gap', Gap>

const any = app.sse.channel('any')
const market = app.sse.channel<Market>('market', { history: { size: 5 } })

describe('the options of a channel', () => {
  test('are checked', () => {
    expect(app.sse.channel).type.toBeCallableWith('name')
    expect(app.sse.channel).type.toBeCallableWith('name', { history: false as const, maxSubscribers: 5, maxEventBytes: 5, idempotencyWindow: 5, serializer: String })
    expect(app.sse.channel).type.toBeCallableWith('name', { history: { size: 1, maxAge: 1, maxBytes: 1, mode: 'latest' as const } })
    expect(app.sse.channel).type.not.toBeCallableWith()
    expect(app.sse.channel).type.not.toBeCallableWith(5)
    expect(app.sse.channel).type.not.toBeCallableWith('name', { histroy: false })
    expect(app.sse.channel).type.not.toBeCallableWith('name', { history: true })
    expect(app.sse.channel).type.not.toBeCallableWith('name', { history: { mode: 'newest' } })
    expect(app.sse.channel).type.not.toBeCallableWith('name', { maxSubscribers: '5' })
  })

  test('have a function that is asked with the request', () => {
    app.sse.channel('name', {
      authorize: (request, channel) => {
        expect(request).type.toBe<FastifyRequest>()
        expect(channel).type.toBe<string>()
        return true
      }
    })
    app.sse.channel('name', { authorize: async () => false })
    // @ts-expect-error Type 'number' is not assignable to type 'boolean | Promise<boolean>'
    app.sse.channel('name', { authorize: () => 1 })
  })

  test('have no serializer beside schemas', () => {
    expect(app.sse.channel).type.not.toBeCallableWith('name', { events: {}, serializer: String })
  })
})

describe('a channel without declared events', () => {
  test('takes any', () => {
    expect(any).type.toBe<Channel>()
    expect(any.publish).type.toBeCallableWith('text')
    expect(any.publish).type.toBeCallableWith({ event: 'tick', data: { any: 'thing' } })
    expect(any.publish).type.toBeCallableWith({ data: null })
    expect(any.publish).type.toBeCallableWith({ event: 'ping' })
    expect(any.publish('text')).type.toBe<Promise<string>>()
  })

  test('refuses what is no event for a channel', () => {
    expect(any.publish).type.not.toBeCallableWith(5)
    expect(any.publish).type.not.toBeCallableWith()
    expect(any.publish).type.not.toBeCallableWith({ id: '1', data: 'x' })
    expect(any.publish).type.not.toBeCallableWith({ data: 'x', retry: 5 })
    expect(any.publish).type.not.toBeCallableWith({ comment: 'x' })
    expect(any.publish).type.not.toBeCallableWith({ event: 5 })
  })

  test('gives events of unknown data', async () => {
    for await (const event of any) {
      expect(event.id).type.toBe<string>()
      expect(event.event).type.toBe<string | undefined>()
      expect(event.data).type.toBe<unknown>()
    }
  })
})

describe('a channel with events declared by hand', () => {
  test('takes these', () => {
    expect(market).type.toBe<Channel<Market>>()
    expect(market.publish).type.toBeCallableWith({ event: 'trade', data: { side: 'buy', prices: [1.5] } })
    expect(market.publish).type.toBeCallableWith({ data: 'text' })
    expect(market.publish).type.toBeCallableWith({ event: 'message', data: 'text' })
    expect(market.publish).type.toBeCallableWith('text')
    expect(market.publish).type.toBeCallableWith('text', { idempotencyKey: 'a' })
  })

  test('refuses others', () => {
    // @ts-expect-error Type '"trad"' is not assignable to type
    market.publish({ event: 'trad', data: { side: 'buy', prices: [] } })
    // @ts-expect-error Type '"hold"' is not assignable to type '"buy" | "sell"'
    market.publish({ event: 'trade', data: { side: 'hold', prices: [] } })
    // @ts-expect-error is not assignable to parameter of type
    market.publish({ event: 'trade' })
    // @ts-expect-error Type 'number' is not assignable to type 'string'
    market.publish({ data: 1 })
    // @ts-expect-error 'id' does not exist in type
    market.publish({ id: '1', event: 'trade', data: { side: 'buy', prices: [] } })
    // @ts-expect-error 'key' does not exist in type 'PublishOptions'
    market.publish('text', { key: 'a' })
    expect(app.sse.channel<{ tick: string }>('ticks').publish).type.not.toBeCallableWith('unnamed')
    expect(app.sse.channel<{ message: number }>('numbers').publish).type.not.toBeCallableWith('text')
    expect(app.sse.channel<{ message: number }>('numbers').publish).type.toBeCallableWith({ data: 5 })
  })

  test('has a type for what is published', () => {
    expect<PublishedEvent<Market>>().type.toBeAssignableFrom<{ event: 'trade', data: { side: 'buy', prices: [] } }>()
    expect<PublishedEvent<Market>>().type.not.toBeAssignableFrom<{ event: 'trad', data: 'x' }>()
  })

  test('gives these, and gaps', async () => {
    for await (const event of market) {
      expect<MarketEvent>().type.toBeAssignableFrom(event)
      expect(event.id).type.toBe<string>()
      if (event.event === 'trade') expect(event.data.prices).type.toBe<number[]>()
      else if (event.event === 'gap') expect(event.data).type.toBeAssignableTo<Gap>()
      else expect(event.data).type.toBe<string>()
    }
  })

  test('is filtered by them', () => {
    market.subscribe({
      from: 'earliest',
      filter: event => {
        expect<MarketEvent>().type.toBeAssignableFrom(event)
        return event.event === 'trade' && event.data.side === 'buy'
      }
    })
    // @ts-expect-error This comparison appears to be unintentional because the types
    market.subscribe({ filter: event => event.event === 'trad' })
    // @ts-expect-error is not assignable to type 'boolean'
    market.subscribe({ filter: () => 'yes' })
    expect(market.subscribe).type.toBeCallableWith({ from: '', filter: undefined, signal: undefined })
    expect(market.subscribe).type.not.toBeCallableWith({ from: 5 })
    expect(market.subscribe).type.not.toBeCallableWith({ form: 'latest' })
  })

  test('is mapped to others', async () => {
    const mapped = market.subscribe({ map: ({ data }) => ({ event: 'mapped' as const, data: { data } }) })
    expect(mapped).type.toBeAssignableTo<Subscription>()
    for await (const event of mapped) {
      expect(event.id).type.toBe<string>()
      expect(event.event).type.toBe<'mapped' | 'gap'>()
      if (event.event === 'gap') expect(event.data).type.toBe<Gap>()
    }
    for await (const event of market.subscribe({ map: event => event.event === 'trade' ? `at ${event.data.prices[0]}` : undefined })) {
      expect(event).type.toBe<ChannelEvent<undefined, string> | ChannelEvent<'gap', Gap>>()
    }
    market.subscribe({ map: event => event })
    // @ts-expect-error is not assignable to type
    market.subscribe({ map: () => 5 })
  })

  test('keeps the literal names and data of what it is mapped to, for routes that declare them', () => {
    const toBid = () => market.subscribe({ map: ({ event, data }) => event === 'trade' ? { event: 'bid', data: { side: 'buy', prices: [data.prices.length] } } : undefined })
    app.get<{ Events: { bid: Market['trade'] } }>('/', { sse: true }, toBid)
    app.get<{ Events: { bid: Market['trade'] } }>('/', { sse: true }, () => app.sse.subscribe([market], { map: () => ({ event: 'bid', data: { side: 'buy', prices: [1] } }) }))
    // @ts-expect-error is not assignable to
    app.get<{ Events: { ask: Market['trade'] } }>('/', { sse: true }, toBid)
  })

  test('is mapped to what can be published, and an ID that does not count', () => {
    market.subscribe({ map: event => ({ ...event, data: 'changed' }) })
    market.subscribe({ map: () => ({ event: 'bell' }) })
    // @ts-expect-error '{ 'no field of an event': "retry"; }'
    market.subscribe({ map: () => ({ data: 1, retry: 5 }) })
    // @ts-expect-error '{ 'no field of an event': "comment"; }'
    market.subscribe({ map: () => ({ data: 1, comment: 'c' }) })
    // @ts-expect-error '{ 'no field of an event': "dta"; }'
    app.sse.subscribe([market], { map: () => ({ data: 1, dta: 1 }) })
  })

  test('is not asked for gaps, which go past a filter and a map', () => {
    const prices = app.sse.channel<{ price: { owner: string, bid: number } }>('prices')
    prices.subscribe({ filter: ({ data }) => data.owner === 'me', map: ({ event, data }) => ({ event, data: data.bid }) })
    app.sse.subscribe([prices], { filter: ({ data }) => data.owner === 'me', map: ({ event, data }) => ({ event, data: data.bid }) })
    // @ts-expect-error This comparison appears to be unintentional because the types
    prices.subscribe({ filter: ({ event }) => event === 'gap' })
    // @ts-expect-error This comparison appears to be unintentional because the types
    app.sse.subscribe([prices], { filter: ({ event }) => event === 'gap' })
  })

  test('says where it is and who reads it', () => {
    expect(market.position()).type.toBe<Promise<string>>()
    expect(market.subscribers).type.toBe<number>()
    expect(market.close()).type.toBe<Promise<void>>()
    expect(market.disconnect(request => request.ip === '127.0.0.1')).type.toBe<number>()
  })
})

describe('maps of events declared by hand', () => {
  test('may have any name with data of a type', async () => {
    const owned = app.sse.channel<{ [name: string]: { owner: string } }>('owned')
    owned.publish({ event: 'any', data: { owner: 'me' } })
    owned.publish({ data: { owner: 'me' } })
    // @ts-expect-error Type 'number' is not assignable to type '{ owner: string; }'
    owned.publish({ event: 'any', data: 5 })
    // @ts-expect-error is not assignable to parameter of type
    owned.publish('text')
    owned.subscribe({ filter: ({ data }) => data.owner === 'me' })
    for await (const event of app.sse.channel<Record<string, any>>('loose')) expect(event.data).type.toBe<any>()
  })

  test('may have events without data, and text that is one of some', () => {
    const bells = app.sse.channel<{ bell: undefined, chime: string | undefined, message: 'ding' | 'dong' }>('bells')
    bells.publish({ event: 'bell' })
    bells.publish({ event: 'chime' })
    bells.publish({ event: 'chime', data: 'twelve' })
    bells.publish('ding')
    // @ts-expect-error is not assignable to
    bells.publish({ event: 'bell', data: 5 })
    // @ts-expect-error Argument of type '"dang"' is not assignable to
    bells.publish('dang')
  })

  test('have no event named gap, which nobody can publish', async () => {
    const gaps = app.sse.channel<{ gap: number, tick: number }>('gaps')
    gaps.publish({ event: 'tick', data: 1 })
    // @ts-expect-error Type '"gap"' is not assignable to type '"tick"'
    gaps.publish({ event: 'gap', data: 1 })
    for await (const event of gaps) if (event.event === 'gap') expect(event.data).type.toBe<Gap>()
    expect(app.sse.channel).type.not.toBeCallableWith('gaps', { events: { gap: { type: 'number' } } })
    expect(app.sse.channel).type.toBeCallableWith('gaps', { events: { tick: { type: 'number' } } })
  })

  test('may hold what is not known yet', () => {
    expect(<Data>(data: Data) => app.sse.channel<{ tick: Data }>('generic').publish({ event: 'tick', data })).type.not.toRaiseError()
  })
})

describe('channels and subscriptions', () => {
  test('are sources', () => {
    expect<Source>().type.toBeAssignableFrom(any)
    expect<Source>().type.toBeAssignableFrom(market)
    app.get('/', (request, reply) => {
      expect(reply.sse).type.toBeCallableWith(any)
      expect(reply.sse).type.toBeCallableWith(market)
      expect(reply.sse).type.toBeCallableWith(market, { heartbeat: 5 })
      expect(reply.sse).type.toBeCallableWith(market.subscribe())
      expect(reply.sse).type.toBeCallableWith(market.subscribe({ filter: ({ event }) => event === 'trade' }))
      expect(reply.sse).type.toBeCallableWith(market.subscribe({ map: ({ data }) => ({ data }) }))
      expect(reply.sse).type.toBeCallableWith(() => market)
      expect(reply.sse).type.toBeCallableWith(async () => market.subscribe())
      return reply.sse(app.sse.subscribe(['market', any]))
    })
  })

  test('are sources of routes', () => {
    app.get('/', { sse: true }, () => any)
    app.get('/', { sse: true }, async () => market)
    app.get('/', { sse: true }, () => market.subscribe({ filter: ({ event }) => event === 'trade' }))
    app.get('/', { sse: true }, () => () => market)
    app.get('/', { sse: true }, async function * (request, reply, { signal, lastEventId }) {
      for await (const event of market.subscribe({ signal, from: lastEventId })) yield event
    })
    app.get('/', { sse: true }, async function * (request, reply, { signal }) { yield * market.subscribe({ signal }) })
  })

  test('are sources of routes that declare the same events', () => {
    app.get<{ Events: Market }>('/', { sse: true }, () => market)
    app.get<{ Events: Market }>('/', { sse: true }, () => market.subscribe())
    app.get<{ Events: Market }>('/', { sse: true }, async function * (request, reply, { signal }) {
      yield * market.subscribe({ signal })
    })
    app.get('/', (request, reply) => reply.sse<Market>(market))
    // @ts-expect-error is not assignable to
    app.get<{ Events: { trade: string } }>('/', { sse: true }, () => market)
  })

  test('may be read together', () => {
    const other = app.sse.channel<{ alert: string }>('other')
    expect(app.sse.subscribe(['market', 'other'])).type.toBeAssignableTo<Subscription>()
    expect(app.sse.subscribe([any, 'other'])).type.toBeAssignableTo<Subscription>()
    expect(app.sse.subscribe([market, 'other'])).type.toBeAssignableTo<Subscription>()
    expect(app.sse.subscribe([any, market, 'other'])).type.toBeAssignableTo<Subscription>()
    expect(app.sse.subscribe([market, other])).type.toBeAssignableTo<Subscription>()
    app.sse.subscribe([market], { map: event => ({ event: 'mapped', data: event.event === 'trade' ? event.data.prices : [] }) })
    app.sse.subscribe([market, other], {
      filter: event => {
        if (event.event === 'trade') expect(event.data).type.toBe<Market['trade']>()
        if (event.event === 'alert') expect(event.data).type.toBe<string>()
        return true
      }
    })
    app.sse.subscribe(['market', 'other'], { map: ({ event, data }) => ({ event: 'mapped', data: [event, data] }) })
    expect(app.sse.subscribe).type.not.toBeCallableWith([5])
    expect(app.sse.subscribe).type.not.toBeCallableWith('market')
    expect(app.sse.subscribe).type.not.toBeCallableWith(['market'], { form: 'latest' })
  })
})

describe('a channel with a schema by TypeBox', () => {
  const typed = app.withTypeProvider<TypeBoxTypeProvider>()
  const channel = typed.sse.channel('market', {
    history: false,
    events: {
      trade: Type.Object({ side: Type.Union([Type.Literal('buy'), Type.Literal('sell')]), prices: Type.Array(Type.Number()) }),
      message: Type.String()
    }
  })

  test('has its events', () => {
    expect(channel).type.toBe<Channel<Market>>()
    channel.publish({ event: 'trade', data: { side: 'buy', prices: [1.5] } })
    channel.publish('text')
    // @ts-expect-error Type '"hold"' is not assignable to type '"buy" | "sell"'
    channel.publish({ event: 'trade', data: { side: 'hold', prices: [] } })
    // @ts-expect-error Type '"trad"' is not assignable to type
    channel.publish({ event: 'trad', data: { side: 'buy', prices: [] } })
    channel.subscribe({ filter: event => event.event === 'trade' && event.data.side === 'sell' })
  })
})

describe('a channel with a JSON schema by json-schema-to-ts', () => {
  const typed = app.withTypeProvider<JsonSchemaToTsProvider>()
  const channel = typed.sse.channel('market', {
    events: {
      trade: {
        type: 'object',
        properties: { side: { enum: ['buy', 'sell'] }, prices: { type: 'array', items: { type: 'number' } } },
        required: ['side', 'prices'],
        additionalProperties: false
      },
      message: { type: 'string' }
    }
  })

  test('has its events', () => {
    channel.publish({ event: 'trade', data: { side: 'buy', prices: [1.5] } })
    channel.publish('text')
    // @ts-expect-error Type '"hold"' is not assignable to type '"buy" | "sell"'
    channel.publish({ event: 'trade', data: { side: 'hold', prices: [] } })
    // @ts-expect-error Type '"trad"' is not assignable to type
    channel.publish({ event: 'trad', data: { side: 'buy', prices: [] } })
    channel.subscribe({ filter: event => event.event === 'trade' && event.data.side === 'sell' })
  })
})

test('a channel with a JSON schema that refers to another takes any data', () => {
  const channel = app.withTypeProvider<JsonSchemaToTsProvider>().sse.channel('shared', { events: { trade: { $ref: 'trade#' } } })
  channel.publish({ event: 'trade', data: { any: 'thing' } })
  // @ts-expect-error Type '"trad"' is not assignable to type '"trade"'
  channel.publish({ event: 'trad', data: {} })
})

describe('a channel with a Zod schema', () => {
  const typed = app.withTypeProvider<ZodTypeProvider>()
  const channel = typed.sse.channel('market', {
    events: {
      trade: z.object({ side: z.enum(['buy', 'sell']), prices: z.array(z.number()) }),
      message: z.string()
    }
  })

  test('has its events', () => {
    expect(channel).type.toBe<Channel<Market>>()
    channel.publish({ event: 'trade', data: { side: 'buy', prices: [1.5] } })
    // @ts-expect-error Type '"hold"' is not assignable to type '"buy" | "sell"'
    channel.publish({ event: 'trade', data: { side: 'hold', prices: [] } })
    // @ts-expect-error Type '"trad"' is not assignable to type
    channel.publish({ event: 'trad', data: { side: 'buy', prices: [] } })
  })
})

describe('a channel with schemas and no type provider', () => {
  test('takes any data of the names that there are', () => {
    const channel = app.sse.channel('market', { events: { tick: { type: 'object' } } })
    channel.publish({ event: 'tick', data: { any: 'thing' } })
    // @ts-expect-error Type '"tock"' is not assignable to type '"tick"'
    channel.publish({ event: 'tock', data: {} })
  })
})

test('the numbers are typed', () => {
  expect(app.sse.stats()).type.toBe<StatsSnapshot>()
  expect(app.sse.stats().streams.closed.slow).type.toBe<number>()
  expect(app.sse.stats().gaps.evicted).type.toBe<number>()
  expect(app.sse.stats().backplane).type.toBe<ssePlugin.BackplaneState>()
})

test('the registration takes a backplane and what channels do with slow clients', () => {
  expect(app.register).type.toBeCallableWith(ssePlugin, { slow: 'latest' as const, maxChannels: 5 })
  expect(app.register).type.not.toBeCallableWith(ssePlugin, { slow: 'newest' })
  expect(app.register).type.not.toBeCallableWith(ssePlugin, { backplane: {} })
})
