import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { isAbort } from './close-reason'
import { onClosed } from './connection'
import { StreamContext } from './context'
import { FST_ERR_SSE_ROUTE } from './errors'
import { EventSchemas } from './event-schemas'
import { show } from './inspect'
import { resolveOptions, type ResolvedOptions, type SseOptions } from './options'
import type { AnyRouteOptions } from './route-types'
import { StreamSignal } from './signal'
import { isThenable } from './thenable'

const ROUTE_OPTIONS = Symbol('event stream options')

declare module 'fastify' {
  interface FastifyContextConfig {
    [ROUTE_OPTIONS]?: ResolvedOptions
  }
}

/** The options of the route that a request came by: those of the registration, where the route has none. */
export function optionsOf (request: FastifyRequest, registration: ResolvedOptions): ResolvedOptions {
  return request.routeOptions.config[ROUTE_OPTIONS] ?? registration
}

/** What stands for the route of a request; one that is declared with `sse` may have several URLs. */
export function routeOf (request: FastifyRequest): object {
  const { config } = request.routeOptions
  return config[ROUTE_OPTIONS] ?? config
}

/**
 * Makes an event stream of a route that is declared with `sse`.
 *
 * @throws FST_ERR_SSE_ROUTE for what cannot work, where the route is declared
 */
export function wireRoute (instance: FastifyInstance, route: AnyRouteOptions, registration: ResolvedOptions, schemas: EventSchemas, answer: Answer): void {
  const { sse, schema, handler } = route
  const name = `${String(route.method)} ${route.url}`
  if (sse === undefined || sse === false) {
    if (schema?.events !== undefined) throw new FST_ERR_SSE_ROUTE(name, 'schema.events is for event streams: add sse: true')
    if (isGeneratorFunction(handler)) throw new FST_ERR_SSE_ROUTE(name, 'its handler is a generator function, which makes a stream only with sse: true')
    return
  }
  if (typeof handler !== 'function') {
    throw new FST_ERR_SSE_ROUTE(name, `its handler must be a function, such as an async generator function that is not called yet, got ${show(handler)}`)
  }
  const options = routeOptions(name, sse, registration)
  if (schema?.events !== undefined) {
    if (sse !== true && sse.serializer !== undefined) {
      throw new FST_ERR_SSE_ROUTE(name, 'sse.serializer is for data without a schema, and here all has one: take it or schema.events away')
    }
    options.toText = schemas.add(name, instance, route, schema.events)
    options.events = Object.keys(schema.events)
  }
  route.config = { ...route.config, [ROUTE_OPTIONS]: options }
  route.handler = isGeneratorFunction(handler) ? streamOf(handler, answer) : streamFrom(handler, answer)
}

function routeOptions (name: string, sse: true | SseOptions, registration: ResolvedOptions): ResolvedOptions {
  try {
    return resolveOptions(sse === true ? {} : sse, registration)
  } catch (error) {
    throw new FST_ERR_SSE_ROUTE(name, (error as Error).message)
  }
}

/** Answers a request with an event stream. */
export type Answer = (reply: FastifyReply, source: unknown, signal?: StreamSignal) => FastifyReply

type Handler = AnyRouteOptions['handler']

/**
 * A generator function is the source itself: it is called when the stream is opened. The reply is not returned, which
 * would make Fastify listen for its end.
 */
function streamOf (handler: Handler, answer: Answer): Handler {
  return function (request, reply) {
    answer(reply, (stream: StreamContext) => handler.call(this, request, reply, stream))
  }
}

/** Any other handler is called as ever, and returns the source; its signal aborts also where there never is a stream. */
function streamFrom (handler: Handler, answer: Answer): Handler {
  return function (request, reply) {
    const signal = new StreamSignal()
    let isHandedOver = false
    onClosed(reply, () => { if (!isHandedOver && !reply.raw.writableFinished) signal.abort('client') })
    const stream = (source: unknown): unknown => {
      if (source === reply || source === undefined) return source
      isHandedOver = true
      return answer(reply, source, signal)
    }
    const source = handler.call(this, request, reply, new StreamContext(request, signal))
    // The reply is thenable too.
    if (source === reply || !isThenable(source)) return stream(source)
    return Promise.resolve(source).then(stream, error => {
      // The client has gone: there is nobody to answer, and nothing to complain of.
      if (signal.reason === 'client' && isAbort(error)) return stream([])
      throw error
    })
  }
}

function isGeneratorFunction (handler: unknown): boolean {
  return /^\[object (Async)?GeneratorFunction\]$/.test(Object.prototype.toString.call(handler))
}
