import { Type, type TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import Fastify from 'fastify'
import { expect, test } from 'tstyche'
import '../../plugin/index'

const app = Fastify().withTypeProvider<TypeBoxTypeProvider>()
const opts = { sse: true as const, schema: { events: { trade: Type.Object({ side: Type.Union([Type.Literal('a'), Type.Literal('b')]) }) } } }

test('zz', () => {
  // @ts-expect-error Type '"c"' is not assignable to type '"a" | "b"'
  app.get('/', opts, async function * (request) { yield { event: 'trade', data: { side: 'c' } } })
  // @ts-expect-error Type '"c"' is not assignable to type '"a" | "d"'
  app.get('/', opts, async function * (request) { yield { event: 'trade', data: { side: 'c' } } })
})
