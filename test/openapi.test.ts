import { createServer } from 'node:http'
import swagger, { type FastifyDynamicSwaggerOptions } from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import { Type } from '@fastify/type-provider-typebox'
import Fastify, { type FastifyInstance, type FastifySchema } from 'fastify'
import {
  jsonSchemaTransform, jsonSchemaTransformObject, serializerCompiler, validatorCompiler
} from 'fastify-type-provider-zod'
import t, { type Test } from 'tap'
import { request } from 'undici'
import { z } from 'zod'
import ssePlugin from '../plugin/index'
import { kindsOf } from '../plugin/json-schema'
import { startBrowser } from './helpers/browser'
import { serve } from './helpers/serve'

const VERSIONS = ['3.0.3', '3.1.0', '3.2.0'] as const

type Json = Record<string, any>
type Register = (app: FastifyInstance, routes: (app: FastifyInstance) => unknown) => unknown

async function * greet () {
  yield 'hello'
}

const info = { title: 'A house', version: '1' }
const tick = { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'] }

const compiled = import('@seriousme/openapi-schema-validator').then(({ Validator }) => new Validator())

/** Checks a document by the schema of its version, and that its references lead somewhere. Gives it parsed. */
async function isValid (t: Test, document: Json | string, what: string): Promise<Json> {
  const validator = await compiled
  const { valid, errors } = await validator.validate(document)
  t.ok(valid, `${what} is valid: ${JSON.stringify(errors)}`)
  t.notMatch(JSON.stringify(validator.specification), 'x-event-stream', what)
  return validator.specification
}

interface Setting extends Omit<FastifyDynamicSwaggerOptions, 'openapi'> {
  openapi?: Json
  prepare?: (app: FastifyInstance) => unknown
}

/** The document of an app with these routes: valid, and the same in YAML. */
async function documentOf (t: Test, version: string, routes: (app: FastifyInstance) => unknown, { openapi = {}, prepare, ...options }: Setting = {}): Promise<Json> {
  const app = Fastify()
  t.teardown(() => app.close())
  prepare?.(app)
  await app.register(swagger, { ...options, openapi: { openapi: version, info, ...openapi } })
  await app.register(ssePlugin)
  await routes(app)
  await app.ready()
  const document = await isValid(t, structuredClone(app.swagger()), `JSON of ${version}`)
  const yaml = await isValid(t, app.swagger({ yaml: true }), `YAML of ${version}`)
  t.strictSame(yaml, JSON.parse(JSON.stringify(document)), `YAML and JSON of ${version}`)
  return document
}

/** What a document says of the stream at a path. */
function streamAt (document: Json, path: string, method = 'get'): Json {
  const { description, content } = document['paths'][path][method].responses['200']
  return { description, ...content }
}

/** A stream as OpenAPI describes it until 3.1: the schema is that of an event. */
const streamOf = (schema: object) => ({ description: 'A stream of events', 'text/event-stream': { schema } })

/** A stream as OpenAPI 3.2 describes it: the schema is that of all events, `itemSchema` that of one. */
const itemsOf = (itemSchema: object) => ({
  description: 'A stream of events',
  'text/event-stream': { schema: { type: 'array', description: 'The events in their order', items: itemSchema }, itemSchema }
})

const eventOf = (name: string, data: object) => ({
  type: 'object',
  description: `The event '${name}'`,
  properties: { event: { type: 'string', enum: [name] }, data, id: { type: 'string' }, retry: { type: 'integer', minimum: 0 } },
  required: name === 'message' ? ['data'] : ['event', 'data']
})

const jsonText = (contentSchema: object) => ({ type: 'string', contentMediaType: 'application/json', contentSchema })

t.test('a stream of one event is described by its name and its data', async t => {
  for (const version of VERSIONS) {
    const document = await documentOf(t, version, app => app.get('/', { sse: true, schema: { events: { tick } } }, greet as never))
    t.strictSame(streamAt(document, '/'), version === '3.2.0' ? itemsOf(eventOf('tick', jsonText(tick))) : streamOf(eventOf('tick', tick)))
  }
})

t.test('one of several events by each of them; in 3.2 data is the text that goes over the wire', async t => {
  const day = { type: 'string', format: 'date' }
  for (const version of VERSIONS) {
    const document = await documentOf(t, version, app => app.get('/', {
      sse: true, schema: { events: { tick, day, message: { type: 'integer' } } }
    }, greet as never))
    t.strictSame(streamAt(document, '/'), version === '3.2.0'
      ? itemsOf({ oneOf: [eventOf('tick', jsonText(tick)), eventOf('day', day), eventOf('message', jsonText({ type: 'integer' }))] })
      : streamOf({ oneOf: [eventOf('tick', tick), eventOf('day', day), eventOf('message', { type: 'integer' })] }))
  }
})

t.test('the schemas of events become those of the version, with references to shared ones', async t => {
  for (const version of VERSIONS) {
    const document = await documentOf(t, version, app => {
      app.addSchema({ $id: 'place', type: 'object', properties: { x: { type: ['number', 'null'] } } })
      app.get('/', { sse: true, schema: { events: { here: { $ref: 'place#' }, far: { type: 'array', items: { $ref: 'place#' } }, none: { type: ['string', 'null'] } } } }, greet as never)
    })
    const { schema, itemSchema = schema } = streamAt(document, '/')['text/event-stream']
    const [here, far, none] = itemSchema.oneOf.map(({ properties: { data } }: Json) => data.contentSchema ?? data)
    t.strictSame([here, far], [{ $ref: '#/components/schemas/def-0' }, { type: 'array', items: { $ref: '#/components/schemas/def-0' } }])
    t.strictSame(none, { '3.0.3': { type: 'string', nullable: true }, '3.1.0': { type: ['string', 'null'] }, '3.2.0': { type: 'string' } }[version])
    t.match(document, { components: { schemas: { 'def-0': { title: 'place' } } } })
  }
})

t.test('in 3.2 data is described as it goes over the wire', async t => {
  /** Schemas with values that they allow, by what goes over the wire. */
  type Samples = Record<'text' | 'JSON' | 'either', Record<string, [schema: object, ...values: unknown[]]>>

  /** What of a value goes over the wire: text as it is, and all else as JSON. */
  function wireOf (value: unknown): string {
    if (typeof value === 'string') return value
    return value instanceof Date ? value.toISOString() : JSON.stringify(value)
  }

  async function agrees (t: Test, samples: Samples, prepare: (app: FastifyInstance) => unknown, options: FastifyDynamicSwaggerOptions = {}): Promise<void> {
    const app = Fastify()
    t.teardown(() => app.close())
    prepare(app)
    await app.register(swagger, { ...options, openapi: { openapi: '3.2.0', info } })
    await app.register(ssePlugin)
    const all = Object.entries(samples).flatMap(([kind, events]) => Object.entries(events).map(([event, [schema, ...values]]) => ({ kind, event, schema, values })))
    app.get('/', { sse: true, schema: { events: Object.fromEntries(all.map(({ event, schema }) => [event, schema])) } }, function * () {
      for (const { event, values } of all) for (const data of values) yield { event, data } as never
    })
    t.equal((await app.inject('/')).body, all.flatMap(({ event, values }) => values.map(value => `event: ${event}\ndata: ${wireOf(value)}\n\n`)).join(''))

    const { itemSchema } = streamAt(await isValid(t, structuredClone(app.swagger()), 'JSON'), '/')['text/event-stream']
    for (const [n, { properties }] of itemSchema.oneOf.entries()) {
      const { event = '', kind } = all[n] ?? {}
      t.strictSame(properties.event.enum, [event])
      const { contentSchema, ...schema } = properties.data
      if (kind === 'text') t.notSame(properties.data, { type: 'string' }, event)
      else t.strictSame(schema, { type: 'string', ...kind === 'JSON' && { contentMediaType: 'application/json' } }, event)
      t.equal(contentSchema !== undefined, kind === 'JSON', event)
    }
  }

  t.test('by its JSON Schema', async t => {
    const n = { type: 'integer' }
    const shared = [
      { $id: 'word', type: 'string' },
      { $id: 'place', type: 'object', properties: { x: n } },
      { $id: 'some', definitions: { word: { type: 'string' }, n, here: { $id: '#here', type: 'integer' } } },
      { $id: 'own', $ref: '#/definitions/word', definitions: { word: { type: 'string' } } },
      { $id: 'untyped', properties: { n } },
      { $id: 'tree', type: 'object', properties: { n, next: { $ref: '#' } } }
    ]
    await agrees(t, {
      text: {
        string: [{ type: 'string', minLength: 1 }, 'a'],
        enum: [{ enum: ['a', 'b'] }, 'a'],
        const: [{ const: 'a' }, 'a'],
        union: [Type.Union([Type.Literal('buy'), Type.Literal('sell')]), 'buy'],
        oneOf: [{ oneOf: [{ type: 'string', format: 'date' }, { const: 'never' }] }, 'never'],
        allOf: [{ allOf: [{ type: 'string' }, { minLength: 1 }] }, 'a'],
        date: [{ type: 'string', format: 'date-time' }, new Date(0)],
        reference: [{ $ref: 'word#' }, 'a'],
        'reference within': [{ $ref: 'some#/definitions/word' }, 'a'],
        'reference to a reference': [{ $ref: 'own#' }, 'a'],
        'union with a reference': [{ anyOf: [{ $ref: 'word' }, { const: 'a' }] }, 'a']
      },
      either: {
        any: [{}, 'a', 5, { x: 1 }],
        'nullable text': [{ type: 'string', nullable: true }, 'a', null],
        'text or null': [{ type: ['string', 'null'] }, 'a', null],
        'text or number': [Type.Union([Type.String(), Type.Number()]), 'a', 5],
        'one of some': [{ enum: ['a', 5] }, 'a', 5],
        'reference or number': [{ anyOf: [{ $ref: 'word#' }, n] }, 'a', 5],
        // Could be followed, which is not worth it.
        anchor: [{ $ref: 'some#here' }, 5]
      },
      JSON: {
        object: [tick, { n: 1 }],
        'object without a type': [{ properties: { n } }, { n: 1 }],
        'nullable object': [{ ...tick, nullable: true }, { n: 1 }, null],
        'object or null': [{ ...tick, type: ['object', 'null'] }, { n: 1 }, null],
        integer: [n, 5],
        null: [{ type: 'null' }, null],
        numbers: [{ enum: [1, 2] }, 1, 2],
        texts: [Type.Array(Type.String()), ['a']],
        'union of objects': [{ anyOf: [tick, { $ref: 'place#' }] }, { n: 1 }],
        'reference to an object': [{ $ref: 'place#' }, { x: 1 }],
        'reference to an object without a type': [{ $ref: 'untyped#' }, { n: 1 }],
        'reference to a number': [{ $ref: 'some#/definitions/n' }, 5],
        'reference to what holds itself': [{ $ref: 'tree#' }, { n: 1, next: { n: 2 } }]
      }
    }, app => { for (const schema of shared) app.addSchema(schema) })
  })

  t.test('by its Zod schema, of which a codec writes its input', async t => {
    const asDate = z.codec(z.iso.datetime(), z.date(), { decode: text => new Date(text), encode: date => date.toISOString() })
    const asNumber = z.codec(z.string(), z.number(), { decode: Number, encode: String })
    await agrees(t, {
      text: {
        union: [z.union([z.literal('a'), z.literal('b')]), 'a'],
        enum: [z.enum(['a', 'b']), 'a'],
        email: [z.email(), 'a@b.cc']
      },
      either: {
        date: [z.date(), new Date(0)],
        codec: [asDate, new Date(0)],
        any: [z.any(), 'a', 5],
        nullable: [z.string().nullable(), 'a', null],
        optional: [z.string().optional(), 'a']
      },
      JSON: {
        object: [z.object({ at: asDate }), { at: new Date(0) }],
        discriminated: [z.discriminatedUnion('k', [z.object({ k: z.literal('a') }), z.object({ k: z.literal('b') })]), { k: 'a' }],
        record: [z.record(z.string(), z.number()), { a: 1 }],
        tuple: [z.tuple([z.string(), z.number()]), ['a', 1]]
      }
    }, app => { app.setSerializerCompiler(serializerCompiler) }, { transform: jsonSchemaTransform })
    t.strictSame(kindsOf(asNumber, {}), { text: true, other: true })
  })

  t.test('with a reference that leads nowhere, or around, as what may be anything', async t => {
    const anything = { text: true, other: true }
    const word = { definitions: { word: { type: 'string' } } }
    t.strictSame(kindsOf({ $ref: '#/definitions/word', ...word }, {}), { text: true, other: false })
    t.strictSame(kindsOf({ anyOf: [{ type: 'null' }, { $ref: '#/definitions/word' }], ...word }, {}), anything)
    for (const $ref of ['#', '#/definitions/other', '#word', 'word', 'word#', '']) t.strictSame(kindsOf({ $ref, ...word }, {}), anything, $ref)
    t.strictSame(kindsOf({ anyOf: [{ type: 'integer' }, { $ref: '#' }] }, {}), anything)
    t.strictSame(kindsOf({ allOf: [{ type: 'integer' }, { $ref: '#' }] }, {}), { text: false, other: true })
    for (const schema of [undefined, null, true, false]) t.strictSame(kindsOf(schema, {}), anything)
  })
})

t.test('TypeBox schemas are described like others', async t => {
  for (const version of VERSIONS) {
    const document = await documentOf(t, version, app => app.get('/', {
      sse: true,
      schema: { events: { trade: Type.Object({ side: Type.Union([Type.Literal('buy'), Type.Literal('sell')]), volume: Type.Optional(Type.Integer({ minimum: 1 })) }) } }
    }, greet as never))
    const { schema, itemSchema = schema } = streamAt(document, '/')['text/event-stream']
    const { data } = itemSchema.properties
    t.match(data.contentSchema ?? data, {
      properties: { side: { anyOf: [{ enum: ['buy'] }, { enum: ['sell'] }] }, volume: { type: 'integer', minimum: 1 } }, required: ['side']
    })
  }
})

t.test('a route is described', async t => {
  const schema = { events: { tick } }
  const described = (version: string) => version === '3.2.0' ? itemsOf(eventOf('tick', jsonText(tick))) : streamOf(eventOf('tick', tick))

  for (const version of VERSIONS) {
    t.test(`in ${version} whatever its URL and its methods`, async t => {
      const document = await documentOf(t, version, async app => {
        app.get('/rooms/:room', { sse: true, schema }, greet as never)
        app.get('/rooms/:room/doors/:door(^\\d+$)', { sse: true, schema }, greet as never)
        app.get('/files/*', { sse: true, schema: { ...schema, params: { type: 'object', properties: { '*': { type: 'string' } } } } }, greet as never)
        app.post('/orders', { sse: true, schema: { ...schema, body: { type: 'object' } } }, greet as never)
        app.route({ method: ['PUT', 'PATCH'], url: '/orders', sse: true, schema, handler: greet as never })
        app.get('/orders::cancel', { sse: true, schema }, greet as never)
        await app.register(async scope => {
          scope.get('/', { sse: true, schema }, greet as never)
          await scope.register(async inner => { inner.get('/:id', { sse: true, schema }, greet as never) }, { prefix: '/inner' })
        }, { prefix: '/scope' })
      })
      const operations = Object.entries<Json>(document['paths']).flatMap(([path, item]) => Object.keys(item).map(method => `${method} ${path}`))
      t.strictSame(operations, [
        'get /rooms/{room}', 'get /rooms/{room}/doors/{door}', 'get /files/{*}', 'post /orders', 'put /orders', 'patch /orders',
        'get /orders:cancel', 'get /scope/', 'get /scope/inner/{id}'
      ])
      for (const operation of operations) {
        const [method, path = ''] = operation.split(' ')
        t.strictSame(streamAt(document, path, method), described(version), operation)
      }
    })

    t.test(`in ${version} by its own events, also beside a hidden one whose URL ends alike`, async t => {
      const document = await documentOf(t, version, app => {
        app.get('/api/events', { sse: true, schema }, greet as never)
        app.get('/hidden/api/events', { sse: true, schema: { hide: true, events: { secret: {} } } }, greet as never)
        app.get('/v2/api/events', { sse: true, schema: { events: { other: tick } } }, greet as never)
        app.get('/events', async () => 'no stream')
      }, { openapi: { servers: [{ url: '/v2' }] } })
      t.strictSame(Object.keys(document['paths']), ['/api/events', '/events'])
      t.match(JSON.stringify(streamAt(document, '/api/events')), "The event 'other'")
      t.strictSame(streamAt(document, '/events'), { description: 'Default Response' })
    })

    t.test(`in ${version} below the path of a server, which is stripped or not`, async t => {
      for (const stripBasePath of [true, false]) {
        const document = await documentOf(t, version, app => app.get('/api/ticks/:of', { sse: true, schema }, greet as never), {
          stripBasePath, openapi: { servers: [{ url: 'http://127.0.0.1/api' }] }
        })
        t.strictSame(streamAt(document, stripBasePath ? '/ticks/{of}' : '/api/ticks/{of}'), described(version))
      }
    })

    t.test(`in ${version} where a transform of the user gives it another URL, or hides it`, async t => {
      const document = await documentOf(t, version, app => {
        app.get('/ticks', { sse: true, schema }, greet as never)
        app.get('/internal', { sse: true, schema }, greet as never)
      }, {
        transform: ({ schema, url }) => ({ schema: { ...schema, hide: url === '/internal', summary: 'by the transform' }, url: `/moved${url}` })
      })
      t.strictSame(Object.keys(document['paths']), ['/moved/ticks'])
      t.equal(document['paths']['/moved/ticks'].get.summary, 'by the transform')
      t.strictSame(streamAt(document, '/moved/ticks'), described(version))
    })

    t.test(`in ${version} as a transform of the user describes it in place of ours`, async t => {
      const document = await documentOf(t, version, app => app.get('/ticks', { sse: true, schema }, greet as never), {
        transform: ({ schema, url }) => ({
          schema: { ...schema, response: { 200: { description: 'Mine', content: { 'text/event-stream': { schema: { type: 'string' } } } } } }, url
        })
      })
      t.strictSame(streamAt(document, '/ticks'), { description: 'Mine', 'text/event-stream': { schema: { type: 'string' } } })
    })

    t.test(`in ${version} by its own events, where another has its URL in another version`, async t => {
      const document = await documentOf(t, version, app => {
        app.get('/', { constraints: { version: '1.0.0' }, sse: true, schema: { events: { old: tick } } }, greet as never)
        app.get('/', { constraints: { version: '2.0.0' }, sse: true, schema }, greet as never)
      })
      t.strictSame(streamAt(document, '/'), described(version))
    })

    t.test(`in ${version} for HEAD as for GET, where HEAD is shown`, async t => {
      const document = await documentOf(t, version, app => app.get('/', { sse: true, schema }, greet as never), { exposeHeadRoutes: true })
      for (const method of ['get', 'head']) t.strictSame(streamAt(document, '/', method), described(version))
    })

    t.test(`in ${version} wherever @fastify/swagger is registered`, async t => {
      const options = { openapi: { openapi: version, info } }
      const ways: Record<string, Register> = {
        'after the plugin': async (app, routes) => {
          await app.register(ssePlugin)
          await app.register(swagger, options)
          routes(app)
        },
        'without waiting': (app, routes) => {
          app.register(swagger, options)
          app.register(ssePlugin)
          app.after(() => { routes(app) })
        },
        'above it': async (app, routes) => {
          await app.register(swagger, options)
          await app.register(async scope => {
            await scope.register(ssePlugin)
            routes(scope)
          })
        },
        'below it': async (app, routes) => {
          await app.register(ssePlugin)
          await app.register(async scope => {
            await scope.register(swagger, options)
            routes(scope)
          })
        }
      }
      for (const [way, register] of Object.entries(ways)) {
        const app = Fastify()
        t.teardown(() => app.close())
        await register(app, scope => {
          scope.get('/', { sse: true, schema }, greet as never)
          scope.get('/document', { schema: { hide: true } }, async () => scope.swagger())
        })
        const document = await isValid(t, (await app.inject('/document')).json(), way)
        t.strictSame(streamAt(document, '/'), described(version), way)
      }
    })

    t.test(`in ${version} with those of other registrations of the plugin`, async t => {
      const app = Fastify()
      t.teardown(() => app.close())
      await app.register(swagger, { openapi: { openapi: version, info } })
      for (const name of ['a', 'b', 'c']) {
        app.register(async scope => {
          await scope.register(ssePlugin)
          scope.get(`/${name}`, { sse: true, schema }, greet as never)
        })
      }
      await app.ready()
      const document = await isValid(t, structuredClone(app.swagger()), version)
      for (const path of ['/a', '/b', '/c']) t.strictSame(streamAt(document, path), described(version))
    })

    t.test(`in ${version} for a hook of the user's that asks when the server is ready`, async t => {
      const options = { openapi: { openapi: version, info } }
      const route = { sse: true, schema } as const
      let seen: Json = {}
      const look = (app: FastifyInstance) => app.addHook('onReady', async () => { seen = structuredClone(app.swagger()) })
      const ways: Record<string, (app: FastifyInstance) => unknown> = {
        'after the routes': async app => {
          await app.register(swagger, options)
          await app.register(ssePlugin)
          app.get('/', route, greet as never)
          look(app)
        },
        'after routes of a plugin': async app => {
          await app.register(swagger, options)
          await app.register(ssePlugin)
          await app.register(async scope => { scope.get('/', route, greet as never) })
          look(app)
        },
        'in the scope of @fastify/swagger': async app => {
          await app.register(ssePlugin)
          app.get('/before', route, greet as never)
          await app.register(async scope => {
            await scope.register(swagger, options)
            scope.get('/', route, greet as never)
            look(scope)
          })
        },
        'where another registration comes before': async app => {
          await app.register(swagger, options)
          await app.register(async scope => {
            await scope.register(ssePlugin)
            scope.get('/other', route, greet as never)
          })
          await app.register(ssePlugin)
          app.get('/', route, greet as never)
          look(app)
        },
        'where a stream is declared before @fastify/swagger is there': async app => {
          await app.register(ssePlugin)
          app.get('/before', route, greet as never)
          await app.register(swagger, options)
          app.get('/', route, greet as never)
          look(app)
        }
      }
      for (const [way, declare] of Object.entries(ways)) {
        const app = Fastify()
        t.teardown(() => app.close())
        await declare(app)
        await app.ready()
        t.strictSame(streamAt(await isValid(t, seen, way), '/'), described(version), way)
      }
    })

    t.test(`in ${version} for each of two apps on one server`, async t => {
      const server = createServer()
      const apps = ['a', 'b'].map(name => ({ name, app: Fastify({ serverFactory: () => server }) }))
      for (const { app, name } of apps) {
        t.teardown(() => app.close())
        await app.register(swagger, { openapi: { openapi: version, info } })
        await app.register(ssePlugin)
        app.get(`/${name}`, { sse: true, schema: { events: { [name]: tick } } }, async function * () { yield { event: name, data: { n: 1, other: 2 } } as never })
      }
      for (const { app, name } of apps) {
        t.equal((await app.inject(`/${name}`)).body, `event: ${name}\ndata: {"n":1}\n\n`)
        const document = await isValid(t, structuredClone(app.swagger()), name)
        t.strictSame(streamAt(document, `/${name}`), version === '3.2.0' ? itemsOf(eventOf(name, jsonText(tick))) : streamOf(eventOf(name, tick)))
      }
    })
  }

  t.test('with a document that has another name on the instance as in 3.1, whatever its version', async t => {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(swagger, { decorator: 'docs' as 'swagger', openapi: { openapi: '3.2.0', info } })
    await app.register(ssePlugin)
    app.get('/', { sse: true, schema }, greet as never)
    await app.ready()
    const { docs } = app as unknown as { docs: () => Json }
    t.strictSame(streamAt(docs(), '/'), streamOf(eventOf('tick', tick)))
  })
})

t.test('what the user says of a route is kept', async t => {
  for (const version of VERSIONS) {
    for (const status of ['200', '2xx', '2XX', 'default']) {
      t.test(`a response schema for ${status} in ${version}, as it is`, async t => {
        const own = { description: 'My own', content: { 'text/event-stream': { schema: { type: 'string', description: 'a stream' } } } }
        const document = await documentOf(t, version, app => app.get('/', {
          sse: true, schema: { events: { tick }, response: { [status]: own } }
        }, greet as never))
        const written = status === 'default' ? status : status.toUpperCase()
        t.strictSame(document['paths']['/'].get.responses, { [written]: own })
      })
    }

    t.test(`the other media types of a response that stands for a 200 in ${version}, beside the stream`, async t => {
      for (const status of ['200', '2xx', '2XX', 'default']) {
        const own = { description: 'By Accept', content: { 'application/json': { schema: { type: 'array', items: tick } } } }
        const before = structuredClone(own)
        const document = await documentOf(t, version, app => app.get('/', {
          sse: true, schema: { events: { tick }, response: { [status]: own } }
        }, greet as never))
        const { 'text/event-stream': stream } = version === '3.2.0' ? itemsOf(eventOf('tick', jsonText(tick))) : streamOf(eventOf('tick', tick))
        const written = status === 'default' ? status : status.toUpperCase()
        t.strictSame(document['paths']['/'].get.responses, {
          [written]: { description: 'By Accept', content: { ...own.content, 'text/event-stream': stream } }
        })
        t.strictSame(own, before)
      }
    })

    t.test(`a response schema without media types in ${version}`, async t => {
      const document = await documentOf(t, version, app => app.get('/', {
        sse: true, schema: { events: { tick }, response: { 200: { description: 'My own', type: 'string' } } }
      }, greet as never))
      t.match(streamAt(document, '/'), { description: 'My own', 'text/event-stream': undefined })
    })

    t.test(`the responses of other statuses in ${version}, beside the stream`, async t => {
      const problem = { type: 'object', description: 'A problem', properties: { message: { type: 'string' } } }
      const document = await documentOf(t, version, app => app.get('/', {
        sse: true, schema: { events: { tick }, response: { 404: problem, '5xx': problem } }
      }, greet as never))
      const { responses } = document['paths']['/'].get
      t.strictSame(Object.keys(responses), ['200', '404', '5XX'])
      t.strictSame(responses['404'], { description: 'A problem', content: { 'application/json': { schema: problem } } })
    })

    t.test(`its summary, tags, body and parameters in ${version}`, async t => {
      const query = { type: 'object', properties: { from: { type: 'integer' } } }
      const document = await documentOf(t, version, app => app.post('/', {
        sse: true, schema: { summary: 'Ticks', tags: ['clock'], operationId: 'ticks', 'x-own': 1, body: tick, query, events: { tick } } as FastifySchema
      }, greet as never))
      t.match(document['paths']['/'].post, {
        summary: 'Ticks',
        tags: ['clock'],
        operationId: 'ticks',
        'x-own': 1,
        requestBody: { content: { 'application/json': { schema: tick } } },
        parameters: [{ in: 'query', name: 'from', schema: { type: 'integer' } }]
      })
    })
  }
})

t.test('a route without events is described as by @fastify/swagger', async t => {
  for (const version of VERSIONS) {
    const document = await documentOf(t, version, app => {
      app.get('/sse', { sse: true }, greet)
      app.get('/reply', (request, reply) => reply.sse(greet))
      app.get('/json', async () => 'no stream')
    })
    for (const path of ['/sse', '/reply', '/json']) t.strictSame(streamAt(document, path), { description: 'Default Response' })
  }
})

t.test('a document that cannot be made does not keep the server from starting', async t => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(swagger, { openapi: { info }, transform: () => { throw new Error('the transform says no') } })
  await app.register(ssePlugin)
  app.get('/', { sse: true, schema: { events: { message: {} } } }, greet)
  t.equal((await app.inject('/')).body, 'data: hello\n\n')
  t.throws(() => app.swagger(), { message: 'the transform says no' })
})

t.test('a document of Swagger 2.0, which knows no media types of a response, has a text in place of the stream', async t => {
  const routes: Record<string, [schema: FastifySchema, expected: object]> = {
    'as it is': [{}, { produces: ['text/event-stream'], responses: { 200: { description: 'A stream of events', schema: { type: 'string' } } } }],
    'that produces other things too': [{ produces: ['application/json', 'text/event-stream'], response: { 404: { type: 'object', description: 'None' } } }, {
      produces: ['application/json', 'text/event-stream'],
      responses: { 200: { description: 'A stream of events', schema: { type: 'string' } }, 404: { description: 'None', schema: { type: 'object', description: 'None' } } }
    }],
    'that the user describes': [{ produces: ['text/event-stream'], response: { 200: { description: 'My own', type: 'string' } } }, {
      produces: ['text/event-stream'],
      responses: { 200: { description: 'My own', schema: { description: 'My own', type: 'string' } } }
    }]
  }
  for (const [which, [schema, expected]] of Object.entries(routes)) {
    for (const [kind, events] of Object.entries({ 'JSON Schema': { tick, message: { type: 'string' } }, Zod: { tick: z.object({ n: z.int() }) } })) {
      const app = Fastify()
      t.teardown(() => app.close())
      if (kind === 'Zod') app.setSerializerCompiler(() => JSON.stringify)
      await app.register(swagger, { swagger: { info } })
      await app.register(ssePlugin)
      app.get('/', { sse: true, schema: { ...schema, events } }, greet as never)
      await app.ready()
      const document = await isValid(t, structuredClone(app.swagger()), `JSON of a route ${which} by ${kind}`)
      t.strictSame(document['paths'], { '/': { get: expected } }, `a route ${which} by ${kind}`)
      // What is made of a library's schemas is in the document only.
      const yaml = await isValid(t, app.swagger({ yaml: true }), `YAML of a route ${which} by ${kind}`)
      if (kind !== 'Zod') t.strictSame(yaml['paths'], document['paths'], `a route ${which}`)
    }
  }
})

t.test('Zod schemas', async t => {
  const place = z.object({ x: z.number(), y: z.number().nullable() }).meta({ id: 'Place' })
  const node = z.object({ n: z.number(), get next () { return z.array(node) } })
  const asJson = { type: 'object', properties: { x: { type: 'number' }, y: { type: ['number', 'null'] } }, required: ['x', 'y'], additionalProperties: false }

  const setting: Setting = {
    prepare (app) {
      app.setValidatorCompiler(validatorCompiler)
      app.setSerializerCompiler(serializerCompiler)
    },
    transform: jsonSchemaTransform,
    transformObject: jsonSchemaTransformObject
  }

  /** As `documentOf`; what is made of a library's schemas is in the document only, and not in the YAML of it. */
  async function zodDocumentOf (t: Test, version: string, routes: (app: FastifyInstance) => unknown, { prepare, ...options }: Setting = setting): Promise<Json> {
    const app = Fastify()
    t.teardown(() => app.close())
    prepare?.(app)
    await app.register(swagger, { ...options, openapi: { openapi: version, info } })
    await app.register(ssePlugin)
    await routes(app)
    await app.ready()
    await isValid(t, app.swagger({ yaml: true }), `YAML of ${version}`)
    return isValid(t, structuredClone(app.swagger()), `JSON of ${version}`)
  }

  for (const version of VERSIONS) {
    const is32 = version === '3.2.0'
    const ofVersion = version === '3.0.3' ? { ...asJson, properties: { ...asJson.properties, y: { type: 'number', nullable: true } } } : asJson

    t.test(`are described in ${version} as JSON Schema, beside those of the body and of other statuses`, async t => {
      const document = await zodDocumentOf(t, version, app => {
        app.post('/all', {
          sse: true,
          schema: { body: z.object({ x: z.number() }), response: { 404: z.object({ message: z.string() }) }, events: { place, message: z.string() } }
        }, greet as never)
        app.get('/one', { sse: true, schema: { events: { place } } }, greet as never)
      })
      const data = is32 ? jsonText(ofVersion) : ofVersion
      const wrap = is32 ? itemsOf : streamOf
      t.strictSame(streamAt(document, '/all', 'post'), wrap({ oneOf: [eventOf('place', data), eventOf('message', { type: 'string' })] }))
      t.strictSame(streamAt(document, '/one'), wrap(eventOf('place', data)))
      t.match(document['paths']['/all'].post, {
        requestBody: { content: { 'application/json': { schema: { properties: { x: { type: 'number' } } } } } },
        responses: { 404: { content: { 'application/json': { schema: { properties: { message: { type: 'string' } } } } } } }
      })
    })

    t.test(`that hold others, themselves, or what JSON Schema cannot say, are described in ${version} without references`, async t => {
      const document = await zodDocumentOf(t, version, app => app.get('/', {
        sse: true, schema: { events: { places: z.array(place), node, list: z.array(node), date: z.object({ at: z.date() }), date2: z.date() } }
      }, greet as never))
      const { schema, itemSchema = schema } = streamAt(document, '/')['text/event-stream']
      const [places, tree, list, date, date2] = itemSchema.oneOf.map(({ properties: { data } }: Json) => data.contentSchema ?? data)
      t.strictSame(places, { type: 'array', items: ofVersion })
      t.match(tree, { type: 'object', properties: { n: { type: 'number' }, next: { type: 'array' } } })
      t.match(list, { type: 'array', items: { type: 'object', properties: { n: { type: 'number' }, next: { type: 'array', items: {} } } } })
      t.match(date, { type: 'object', properties: { at: {} }, required: ['at'] })
      t.strictSame(date2, is32 ? { type: 'string' } : {})
      t.notMatch(JSON.stringify(itemSchema), '$ref')
    })

    t.test(`that hold each other in many ways are described in ${version} in few words`, async t => {
      const nodes: z.ZodType[] = Array.from({ length: 12 }, (_, n) => z.object({ n: z.literal(n), get children () { return z.array(z.union(nodes)) } }))
      const document = await zodDocumentOf(t, version, app => app.get('/', { sse: true, schema: { events: { tree: z.object({ root: z.union(nodes) }) } } }, greet as never))
      t.ok(JSON.stringify(document).length < 50_000)
      const { schema, itemSchema = schema } = streamAt(document, '/')['text/event-stream']
      const { data } = itemSchema.properties
      t.match((data.contentSchema ?? data).properties.root.anyOf[3].properties, { n: { type: 'number' }, children: { type: 'array' } })
    })

    t.test(`are described in ${version} beside what else the user answers with a 200`, async t => {
      const list = z.array(z.string())
      const document = await zodDocumentOf(t, version, app => app.get('/', {
        sse: true, schema: { response: { 200: { description: 'By Accept', content: { 'application/json': { schema: list } } } }, events: { place } }
      }, greet as never))
      const { 'text/event-stream': stream } = is32 ? itemsOf(eventOf('place', jsonText(ofVersion))) : streamOf(eventOf('place', ofVersion))
      t.strictSame(streamAt(document, '/'), {
        description: 'By Accept', 'application/json': { schema: { type: 'array', items: { type: 'string' } } }, 'text/event-stream': stream
      })
    })

    t.test(`are kept from the document of ${version} where the user describes the stream, or hides the route`, async t => {
      const own = { description: 'My own', content: { 'text/event-stream': { schema: z.string() } } }
      const document = await zodDocumentOf(t, version, app => {
        app.get('/own', { sse: true, schema: { response: { 200: own }, events: { place } } }, greet as never)
        app.get('/hidden', { sse: true, schema: { hide: true, events: { place } } }, greet as never)
        app.get('/internal', { sse: true, schema: { events: { place } } }, greet as never)
      }, {
        ...setting,
        transform (given) {
          const { schema, url } = jsonSchemaTransform(given as Parameters<typeof jsonSchemaTransform>[0])
          return { schema: { ...schema as object, hide: url === '/internal' || url === '/hidden' }, url }
        }
      })
      t.strictSame(Object.keys(document['paths']), ['/own'])
      t.strictSame(streamAt(document, '/own'), { description: 'My own', 'text/event-stream': { schema: { type: 'string' } } })
    })
  }
})

t.test('schemas of a library that cannot say what they are allow anything', async t => {
  const schemas = {
    silent: { '~standard': { version: 1, vendor: 'test', validate: () => ({ value: 1 }) } },
    dangling: { '~standard': { version: 1, vendor: 'test', jsonSchema: { output: () => ({ $ref: '#/$defs/nowhere', $defs: {} }) } } },
    failing: { '~standard': { version: 1, vendor: 'test', jsonSchema: { output () { throw new Error('cannot say') } } } }
  }
  for (const version of VERSIONS) {
    const app = Fastify()
    t.teardown(() => app.close())
    app.setSerializerCompiler(() => JSON.stringify)
    await app.register(swagger, { openapi: { openapi: version, info } })
    await app.register(ssePlugin)
    app.get('/', { sse: true, schema: { events: schemas } }, greet as never)
    await app.ready()
    const document = await isValid(t, structuredClone(app.swagger()), version)
    const { schema, itemSchema = schema } = streamAt(document, '/')['text/event-stream']
    t.strictSame(itemSchema, { oneOf: Object.keys(schemas).map(name => eventOf(name, version === '3.2.0' ? { type: 'string' } : {})) })
  }
})

t.test('@fastify/swagger-ui serves the document with the stream', async t => {
  const { url } = await serve(t, async app => {
    await app.register(swagger, { openapi: { openapi: '3.2.0', info } })
    await app.register(swaggerUi, { routePrefix: '/docs' })
    app.get('/ticks', { sse: true, schema: { events: { tick } } }, async function * () { yield { event: 'tick', data: { n: 1 } } })
  })
  const page = await request(`${url}/docs/`)
  t.match([page.statusCode, await page.body.text()], [200, /<div id="swagger-ui">/])
  const json = await isValid(t, await (await request(`${url}/docs/json`)).body.json() as Json, 'JSON')
  const yaml = await isValid(t, await (await request(`${url}/docs/yaml`)).body.text(), 'YAML')
  for (const document of [json, yaml]) t.strictSame(streamAt(document, '/ticks'), itemsOf(eventOf('tick', jsonText(tick))))
  t.equal(await (await request(`${url}/ticks`)).body.text(), 'event: tick\ndata: {"n":1}\n\n')
})

for (const version of VERSIONS) {
  t.test(`@fastify/swagger-ui shows the events of a stream in ${version}`, async t => {
    const browser = await startBrowser(t)
    if (browser === undefined) return
    const { url } = await serve(t, async app => {
      await app.register(swagger, { openapi: { openapi: version, info } })
      await app.register(swaggerUi, { routePrefix: '/docs' })
      app.get('/ticks', { sse: true, schema: { events: { tick, message: { type: 'string' } } } }, greet)
    })
    const page = await browser.newPage()
    await page.goto(`${url}/docs/`)
    await page.click('.opblock-summary-control')
    t.match(await page.textContent('.response .example'), /"event": "tick",\s*"data": /)
  })
}
