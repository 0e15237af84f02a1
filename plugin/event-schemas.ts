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

// By their server: routes of several registrations may be in one document, which is made once.
const waiting = new WeakMap<object, TypedRoute[]>()

/** The event schemas of all routes: checked where they are declared, compiled once when the server is ready. */
export class EventSchemas {
  #routes: TypedRoute[] = []

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
    const serializers = new Map<string, Serializer>()
    this.#routes = waiting.get(instance.server) ?? []
    waiting.set(instance.server, this.#routes)
    this.#routes.push({ name, instance, route, schema, events, serializers })
    // Added here, it runs after that of @fastify/swagger, which has to be there before the route.
    instance.addHook('onReady', async () => { describeDocument(documentOf(instance), schema, events) })
    return bySchema(serializers)
  }

  /**
   * To be called when all routes are there.
   *
   * @throws FST_ERR_SSE_ROUTE when a schema is broken
   */
  compile (): void {
    for (const route of this.#routes.splice(0)) {
      for (const [event, schema] of Object.entries(route.events)) route.serializers.set(event, serializerOf(event, schema, route))
      describeEvents(route.name, route.schema, route.events)
    }
  }
}

function serializerOf (event: string, schema: unknown, { name, instance, route }: TypedRoute): Serializer {
  const compile = (route.serializerCompiler ?? instance.serializerCompiler) as FastifySerializerCompiler<unknown>
  try {
    return compile({ schema, method: String(route.method), url: route.url, httpStatus: '200', contentType: 'text/event-stream' })
  } catch (error) {
    throw new FST_ERR_SSE_ROUTE(name, `schema.events.${event} cannot be compiled: ${error instanceof Error ? error.message : show(error)}`)
  }
}

/** The document of @fastify/swagger, where it is there: the one that it keeps, and gives to whoever asks. */
function documentOf (instance: FastifyInstance): unknown {
  try {
    return 'swagger' in instance && typeof instance.swagger === 'function' ? instance.swagger() : undefined
  } catch {
    // Whoever asks for it will hear.
    return undefined
  }
}

function isEventSchemas (events: unknown): events is Record<string, unknown> {
  return typeof events === 'object' && events !== null && !Array.isArray(events) && Object.keys(events).length > 0 &&
    Object.entries(events).every(([name, schema]) => /^[^\r\n\0]+$/.test(name) && typeof schema === 'object' && schema !== null)
}
