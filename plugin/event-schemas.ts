import type { FastifyInstance, FastifySerializerCompiler } from 'fastify'
import { describeDocument, describeEvents } from './describe'
import { FST_ERR_SSE_ROUTE } from './errors'
import type { Serializer } from './event'
import { show } from './inspect'
import type { AnyRouteOptions } from './route-types'
import { bySchema, type ToText } from './to-text'

interface TypedRoute {
  name: string
  instance: FastifyInstance
  route: AnyRouteOptions
  events: Record<string, unknown>
  /** What describes them in the route's schema, where the route does not do so itself. */
  response: Record<string, unknown> | undefined
  serializers: Map<string, Serializer>
}

/** The event schemas of all routes: checked where they are declared, compiled once when the server is ready. */
export class EventSchemas {
  readonly #routes: TypedRoute[] = []

  /**
   * Takes the schemas of a route, and puts what its stream carries into the route's response schema, where there is
   * none for a 200 yet.
   *
   * @param name of the route, for messages
   * @throws FST_ERR_SSE_ROUTE when they are no schemas by the names of events
   */
  add (name: string, instance: FastifyInstance, route: AnyRouteOptions, events: unknown): ToText {
    if (!isEventSchemas(events)) {
      throw new FST_ERR_SSE_ROUTE(name, `schema.events must be an object with a schema for each name of an event, got ${show(events)}`)
    }
    const serializers = new Map<string, Serializer>()
    const response = describeEvents(route.schema?.response, events)
    if (response !== undefined) route.schema = { ...route.schema, response }
    this.#routes.push({ name, instance, route, events, response, serializers })
    return bySchema(serializers)
  }

  /**
   * To be called when all routes are there.
   *
   * @throws FST_ERR_SSE_ROUTE when a schema is broken
   */
  compile (): void {
    for (const { name, instance, route, events, serializers } of this.#routes) {
      // Fastify has made one by now for every route with a response schema, which `add` saw to.
      const compiler = (route.serializerCompiler ?? instance.serializerCompiler) as FastifySerializerCompiler<unknown>
      for (const [event, schema] of Object.entries(events)) {
        try {
          serializers.set(event, compiler({ schema, method: String(route.method), url: route.url, httpStatus: '200', contentType: 'text/event-stream' }))
        } catch (error) {
          throw new FST_ERR_SSE_ROUTE(name, `schema.events.${event} cannot be compiled: ${error instanceof Error ? error.message : show(error)}`)
        }
      }
    }
    for (const { instance, route, response } of this.#routes) {
      if (response !== undefined) describeDocument(documentOf(instance), route.url, [route.method].flat(), response)
    }
  }
}

/** The document of @fastify/swagger, where it is there. It is the one it keeps, and gives to whoever asks. */
function documentOf (instance: FastifyInstance): unknown {
  return 'swagger' in instance && typeof instance.swagger === 'function' ? instance.swagger() : undefined
}

function isEventSchemas (events: unknown): events is Record<string, unknown> {
  return typeof events === 'object' && events !== null && !Array.isArray(events) && Object.keys(events).length > 0 &&
    Object.entries(events).every(([name, schema]) => !/[\r\n\0]/.test(name) && typeof schema === 'object' && schema !== null)
}
