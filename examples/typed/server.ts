/**
 * A market feed whose events have schemas: one declaration types the generator, compiles its serializers and documents
 * the stream.
 *
 *     npm run example:typed        and open what it prints; the environment's PORT and HOST are heeded
 */
import { setInterval } from 'node:timers/promises'
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import { Type, type Static, type TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import fastify from 'fastify'
import ssePlugin from 'fastify-event-stream'

const { HOST = '127.0.0.1', PORT = '8845', LOG_LEVEL = 'warn' } = process.env

const Symbol = Type.String({ pattern: '^[A-Z]{1,5}$', examples: ['ACME'] })
const Quote = Type.Object({ symbol: Symbol, bid: Type.Number(), ask: Type.Number() })
const Trade = Type.Object({ symbol: Symbol, price: Type.Number(), volume: Type.Integer({ minimum: 1 }) })
const Order = Type.Object({
  symbol: Symbol,
  volume: Type.Integer({ minimum: 1, maximum: 1000, examples: [30] }),
  limit: Type.Number({ exclusiveMinimum: 0, examples: [120] })
})

const app = fastify({ logger: { level: LOG_LEVEL }, forceCloseConnections: true }).withTypeProvider<TypeBoxTypeProvider>()

app.register(swagger, { openapi: { openapi: '3.1.0', info: { title: 'A market of one', version: '1' } } })
app.register(swaggerUi, { routePrefix: '/' })
app.register(ssePlugin)

/** A price that wanders, and what is offered around it. */
async function * quotes (symbol: string, signal: AbortSignal): AsyncGenerator<Static<typeof Quote>> {
  let price = 100
  for await (const _ of setInterval(500, null, { signal })) {
    price = Math.max(1, price + Math.random() * 4 - 2)
    yield { symbol, bid: cents(price - 0.05), ask: cents(price + 0.05) }
  }
}

const cents = (price: number): number => Math.round(price * 100) / 100

app.after(() => {
  app.get('/market/:symbol', {
    schema: {
      summary: 'Quotes and trades, until the client goes or has its count of quotes. This page shows a stream when it has ended',
      params: Type.Object({ symbol: Symbol }),
      querystring: Type.Object({ count: Type.Optional(Type.Integer({ minimum: 1, examples: [3] })) }),
      events: { quote: Quote, trade: Trade }
    },
    sse: { retry: 1000 }
  }, async function * (request, _reply, { signal }) {
    let { count = Infinity } = request.query
    for await (const quote of quotes(request.params.symbol, signal)) {
      yield { event: 'quote', data: quote }
      if (Math.random() < 0.3) yield { event: 'trade', data: { symbol: quote.symbol, price: quote.ask, volume: 10 } }
      if (--count === 0) return
    }
  })

  app.post('/orders', {
    schema: {
      summary: 'Buys up to a limit: a trade for each part of the order, and the unnamed event when it is filled',
      body: Order,
      events: { trade: Trade, message: Type.String() }
    },
    sse: true
  }, async function * (request, _reply, { signal }) {
    let { symbol, volume, limit } = request.body
    for await (const { ask } of quotes(symbol, signal)) {
      if (ask > limit) continue
      const bought = Math.min(volume, 10)
      yield { event: 'trade', data: { symbol, price: ask, volume: bought } }
      volume -= bought
      if (volume === 0) break
    }
    yield 'filled'
  })
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => app.close())

app.listen({ host: HOST, port: Number(PORT) }, (error, address) => {
  if (error) throw error
  console.log(`The market is open. Its description is at ${address}/, and its streams are at:

  curl -N ${address}/market/ACME
  curl -N ${address}/orders --json '{ "symbol": "ACME", "volume": 30, "limit": 101 }'
`)
})
