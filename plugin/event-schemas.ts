import type { FastifyInstance, FastifySerializerCompiler } from 'fastify'
import { describeDocument, describeEvents } from './describe'
import { FST_ERR_SSE_ROUTE } from './errors'
import type { Serializer } from './event'
import { show } from './inspect'
import type { Schema } from './json-schema'
import type { AnyRouteOptions } from './route-types'
import { bySchema, type ToText } from './to-text'

interface TypedRoute {
  name: string
  instance: FastifyInstance
  route: AnyRouteOptions
  events: Record<string, unknown>
  /** The route's schema, a copy of its own. */
  schema: Schema
  serializers: Map<string, Serializer>
}

type Swagger = () => unknown

// By what is the same in all of an app: routes of several registrations may be in one document, which is made once.
const waiting = new WeakMap<object, TypedRoute[]>()
// By what makes the document, as far as there is one.
const documented = new WeakMap<object, TypedRoute[]>()

/** The event schemas of all routes: checked where they are declared, compiled once when the server is ready. */
export class EventSchemas {
  readonly #instance: FastifyInstance
  /** The instances with a hook, and what that describes the routes of. */
  readonly #describing = new WeakMap<FastifyInstance, TypedRoute[]>()
  #routes: TypedRoute[] = []

  /** @param instance that the plugin is registered on */
  constructor (instance: FastifyInstance) {
    this.#instance = instance
  }

  /**
   * Takes the schemas of a route, and describes them in the route's response schema, where there is none for a 200 yet.
   *
   * @param name of the route, for messages
   * @throws FST_ERR_SSE_ROUTE when they are no schemas by the names of events
   */
  add (name: string, instance: FastifyInstance, route: AnyRouteOptions, events: unknown): ToText {
    if (!isEventSchemas(events)) {
      throw new FST_ERR_SSE_ROUTE(name, `schema.events must be an object with a schema for each name of an event, got ${show(events)}`)
    }
    // With a response schema, if an empty one, Fastify makes a serializer compiler of the instance.
    const schema: Schema = { ...route.schema, response: { ...Object(route.schema?.response) } }
    route.schema = schema
    const typed = { name, instance, route, schema, events, serializers: new Map<string, Serializer>() }
    this.#routes = listIn(waiting, instance.initialConfig)
    this.#routes.push(typed)
    this.#describeLater(typed)
    return bySchema(typed.serializers)
  }

  /**
   * Sees to it that the document is described before the user's own hooks can ask for it: by a hook of the plugin's own
   * instance or, where @fastify/swagger is further down, of the route's. Added with the route, it runs after that of
   * @fastify/swagger, which has to be there before the route.
   */
  #describeLater (route: TypedRoute): void {
    const swagger = swaggerOf(route.instance)
    const routes = listIn(documented, swagger ?? route.instance.initialConfig)
    routes.push(route)
    const host = swagger === swaggerOf(this.#instance) ? this.#instance : route.instance
    if (this.#describing.get(host) === routes) return
    this.#describing.set(host, routes)
    host.addHook('onReady', async () => {
      const document = documentOf(swagger)
      for (const { instance, schema, events } of routes.splice(0)) describeDocument(document, schema, events, instance.getSchemas())
    })
  }

  /**
   * To be called when all routes are there.
   *
   * @throws FST_ERR_SSE_ROUTE when a schema is broken
   */
  compile (): void {
    for (const route of this.#routes.splice(0)) {
      for (const [event, schema] of Object.entries(route.events)) route.serializers.set(event, serializerOf(event, schema, route))
      describeEvents(route.schema, route.events)
    }
  }
}

function serializerOf (event: string, schema: unknown, { name, instance, route }: TypedRoute): Serializer {
  const compile = (route.serializerCompiler ?? instance.serializerCompiler) as FastifySerializerCompiler<unknown>
  try {
    const serializer: unknown = compile({ schema, method: String(route.method), url: route.url, httpStatus: '200', contentType: 'text/event-stream' })
    if (isSerializer(serializer)) return serializer
    throw new TypeError(`the serializer compiler gives ${show(serializer)} in place of a function`)
  } catch (error) {
    throw new FST_ERR_SSE_ROUTE(name, `schema.events.${event} cannot be compiled: ${error instanceof Error ? error.message : show(error)}`)
  }
}

function isSerializer (value: unknown): value is Serializer {
  return typeof value === 'function'
}

function swaggerOf (instance: FastifyInstance): Swagger | undefined {
  return 'swagger' in instance && isSwagger(instance.swagger) ? instance.swagger : undefined
}

function isSwagger (value: unknown): value is Swagger {
  return typeof value === 'function'
}

/** The document of @fastify/swagger, where it is there: the one that it keeps, and gives to whoever asks. */
function documentOf (swagger: Swagger | undefined): unknown {
  try {
    return swagger?.()
  } catch {
    // Whoever asks for it will hear.
    return undefined
  }
}

function listIn (lists: WeakMap<object, TypedRoute[]>, key: object): TypedRoute[] {
  const list = lists.get(key) ?? []
  lists.set(key, list)
  return list
}

function isEventSchemas (events: unknown): events is Record<string, unknown> {
  return typeof events === 'object' && events !== null && !Array.isArray(events) && Object.keys(events).length > 0 &&
    Object.entries(events).every(([name, schema]) => /^[^\r\n\0]+$/.test(name) && typeof schema === 'object' && schema !== null)
}
