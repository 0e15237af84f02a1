import type {
  ContextConfigDefault, FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest, FastifySchema,
  FastifyTypeProvider, FastifyTypeProviderDefault, RawReplyDefaultExpression, RawRequestDefaultExpression,
  RawServerBase, RawServerDefault, RouteGenericInterface, RouteOptions, RouteShorthandOptions
} from 'fastify'
import type { EventChannels } from './channel/channels'
import type { StreamContext } from './context'
import type { KnownFields, Literal, SchemaEvents, SseEvent } from './event'
import type { SseOptions } from './options'
import type { Source } from './source'

/** What a route may send: the events it was given by hand, else those of its schema by the type provider, else any. */
export type RouteEvent<
  RouteGeneric extends RouteGenericInterface = RouteGenericInterface,
  SchemaCompiler extends FastifySchema = FastifySchema,
  TypeProvider extends FastifyTypeProvider = FastifyTypeProviderDefault
> = SseEvent<RouteGeneric extends { Events: infer Events extends object } ? Events : SchemaEvents<SchemaCompiler['events'], TypeProvider>>

/**
 * `never`, which the compiler does not know while it infers the schema from the same call. Till then it sees these
 * literals, and for their sake takes a `'buy'` that a handler yields for `'buy'`, not for any `string`.
 */
type KeepLiterals<SchemaCompiler> = [SchemaCompiler] extends [FastifySchema] ? never : Literal

/**
 * The handler of an `sse` route: an async generator function of events, or a function that returns any source of
 * events, or a promise of one. It may also answer by the reply, and return that.
 *
 * @typeParam RouteGeneric as in other routes, and `Events`: a map of event names to the types of their data
 * @typeParam SchemaCompiler the route's schema, `events` among it
 * @typeParam TypeProvider the type provider, which gives the data of `schema.events` their types
 */
export type SseRouteHandler<
  RouteGeneric extends RouteGenericInterface = RouteGenericInterface,
  SchemaCompiler extends FastifySchema = FastifySchema,
  TypeProvider extends FastifyTypeProvider = FastifyTypeProviderDefault,
  RawServer extends RawServerBase = RawServerDefault,
  RawRequest extends RawRequestDefaultExpression<RawServer> = RawRequestDefaultExpression<RawServer>,
  RawReply extends RawReplyDefaultExpression<RawServer> = RawReplyDefaultExpression<RawServer>,
  ContextConfig = ContextConfigDefault,
  Logger extends FastifyBaseLogger = FastifyBaseLogger,
  Event = RouteEvent<RouteGeneric, SchemaCompiler, TypeProvider>
> = (
  this: FastifyInstance<RawServer, RawRequest, RawReply, Logger, TypeProvider>,
  request: FastifyRequest<RouteGeneric, RawServer, RawRequest, SchemaCompiler, TypeProvider, ContextConfig, Logger>,
  reply: FastifyReply<RouteGeneric, RawServer, RawRequest, RawReply, ContextConfig, SchemaCompiler, TypeProvider>,
  stream: StreamContext
) => OrPromise<
  | Source<Event | KeepLiterals<SchemaCompiler>>
  | FastifyReply<RouteGeneric, RawServer, RawRequest, RawReply, ContextConfig, SchemaCompiler, TypeProvider>
  | FastifyReply
>

type OrPromise<T> = T | Promise<T>

/** The options of an `sse` route in a shorthand such as `app.get`. */
export interface SseRouteShorthandOptions<
  RouteGeneric extends RouteGenericInterface = RouteGenericInterface,
  SchemaCompiler extends FastifySchema = FastifySchema,
  TypeProvider extends FastifyTypeProvider = FastifyTypeProviderDefault,
  RawServer extends RawServerBase = RawServerDefault,
  RawRequest extends RawRequestDefaultExpression<RawServer> = RawRequestDefaultExpression<RawServer>,
  RawReply extends RawReplyDefaultExpression<RawServer> = RawReplyDefaultExpression<RawServer>,
  ContextConfig = ContextConfigDefault,
  Logger extends FastifyBaseLogger = FastifyBaseLogger
> extends Omit<RouteShorthandOptions<
  RawServer, RawRequest, RawReply, RouteGeneric, ContextConfig, SchemaCompiler, TypeProvider, Logger
>, 'sse'> {
  /** Makes the route an event stream that its handler is the source of: `true`, or the options of its streams. */
  sse: true | SseOptions
}

/** {@link SseRouteShorthandOptions} with the handler among them. */
export interface SseRouteShorthandOptionsWithHandler<
  RouteGeneric extends RouteGenericInterface = RouteGenericInterface,
  SchemaCompiler extends FastifySchema = FastifySchema,
  TypeProvider extends FastifyTypeProvider = FastifyTypeProviderDefault,
  RawServer extends RawServerBase = RawServerDefault,
  RawRequest extends RawRequestDefaultExpression<RawServer> = RawRequestDefaultExpression<RawServer>,
  RawReply extends RawReplyDefaultExpression<RawServer> = RawReplyDefaultExpression<RawServer>,
  ContextConfig = ContextConfigDefault,
  Logger extends FastifyBaseLogger = FastifyBaseLogger,
  Event = RouteEvent<RouteGeneric, SchemaCompiler, TypeProvider>
> extends SseRouteShorthandOptions<
  RouteGeneric, SchemaCompiler, TypeProvider, RawServer, RawRequest, RawReply, ContextConfig, Logger
> {
  handler: SseRouteHandler<
    RouteGeneric, NoInfer<SchemaCompiler>, TypeProvider, RawServer, RawRequest, RawReply, ContextConfig, Logger, Event
  > & KnownFields<Event>
}

/** The options of an `sse` route in `app.route`. */
export interface SseRouteOptions<
  RouteGeneric extends RouteGenericInterface = RouteGenericInterface,
  SchemaCompiler extends FastifySchema = FastifySchema,
  TypeProvider extends FastifyTypeProvider = FastifyTypeProviderDefault,
  RawServer extends RawServerBase = RawServerDefault,
  RawRequest extends RawRequestDefaultExpression<RawServer> = RawRequestDefaultExpression<RawServer>,
  RawReply extends RawReplyDefaultExpression<RawServer> = RawReplyDefaultExpression<RawServer>,
  ContextConfig = ContextConfigDefault,
  Logger extends FastifyBaseLogger = FastifyBaseLogger,
  Event = RouteEvent<RouteGeneric, SchemaCompiler, TypeProvider>
> extends SseRouteShorthandOptionsWithHandler<
  RouteGeneric, SchemaCompiler, TypeProvider, RawServer, RawRequest, RawReply, ContextConfig, Logger, Event
> {
  method: RouteOptions['method']
  url: string
}

/**
 * Any route, as `onRoute` hooks meet it: the `RouteOptions` they are given can be assigned to this. In those `sse` is
 * typed for routes without it, since `RouteOptions` is what decides which handlers Fastify's own signatures take.
 */
export interface AnyRouteOptions extends Omit<RouteOptions, 'sse' | 'handler'> {
  sse?: boolean | SseOptions | undefined
  handler: (this: FastifyInstance, request: FastifyRequest, reply: FastifyReply, stream: StreamContext) => unknown
}

declare module 'fastify' {
  interface FastifySchema {
    /** Schemas for the data of the events that an `sse` route sends, by their names; the unnamed event is `message`. */
    events?: Record<string, unknown>
  }

  interface RouteGenericInterface {
    /** The events that an `sse` route sends: a map of their names to the types of their data. */
    Events?: object
  }

  interface RouteShorthandOptions {
    /** Not in this route: {@link SseRouteShorthandOptions} has it. */
    sse?: false | undefined
  }

  interface RouteShorthandMethod<
    RawServer extends RawServerBase = RawServerDefault,
    RawRequest extends RawRequestDefaultExpression<RawServer> = RawRequestDefaultExpression<RawServer>,
    RawReply extends RawReplyDefaultExpression<RawServer> = RawReplyDefaultExpression<RawServer>,
    TypeProvider extends FastifyTypeProvider = FastifyTypeProviderDefault,
    Logger extends FastifyBaseLogger = FastifyBaseLogger
  > {
    /** Declares a route whose handler is the source of an event stream. */
    <
      RouteGeneric extends RouteGenericInterface = RouteGenericInterface,
      ContextConfig = ContextConfigDefault,
      const SchemaCompiler extends FastifySchema = FastifySchema,
      Event extends RouteEvent<RouteGeneric, SchemaCompiler, TypeProvider> = RouteEvent<RouteGeneric, SchemaCompiler, TypeProvider>
    >(
      path: string,
      opts: SseRouteShorthandOptions<
        RouteGeneric, SchemaCompiler, TypeProvider, RawServer, RawRequest, RawReply, ContextConfig, Logger
      >,
      handler: SseRouteHandler<
        RouteGeneric, SchemaCompiler, TypeProvider, RawServer, RawRequest, RawReply, ContextConfig, Logger, Event
      > & KnownFields<Event>
    ): FastifyInstance<RawServer, RawRequest, RawReply, Logger, TypeProvider>
    /** Declares a route whose handler is the source of an event stream. */
    <
      RouteGeneric extends RouteGenericInterface = RouteGenericInterface,
      ContextConfig = ContextConfigDefault,
      const SchemaCompiler extends FastifySchema = FastifySchema,
      Event extends RouteEvent<RouteGeneric, SchemaCompiler, TypeProvider> = RouteEvent<RouteGeneric, SchemaCompiler, TypeProvider>
    >(
      path: string,
      opts: SseRouteShorthandOptionsWithHandler<
        RouteGeneric, SchemaCompiler, TypeProvider, RawServer, RawRequest, RawReply, ContextConfig, Logger, Event
      >
    ): FastifyInstance<RawServer, RawRequest, RawReply, Logger, TypeProvider>
  }

  interface FastifyInstance<
    RawServer extends RawServerBase = RawServerDefault,
    RawRequest extends RawRequestDefaultExpression<RawServer> = RawRequestDefaultExpression<RawServer>,
    RawReply extends RawReplyDefaultExpression<RawServer> = RawReplyDefaultExpression<RawServer>,
    Logger extends FastifyBaseLogger = FastifyBaseLogger,
    TypeProvider extends FastifyTypeProvider = FastifyTypeProviderDefault
  > {
    /** Channels: what is published to one reaches every stream that reads it. */
    sse: EventChannels<TypeProvider>

    /** Declares a route whose handler is the source of an event stream. */
    route<
      RouteGeneric extends RouteGenericInterface = RouteGenericInterface,
      ContextConfig = ContextConfigDefault,
      const SchemaCompiler extends FastifySchema = FastifySchema,
      Event extends RouteEvent<RouteGeneric, SchemaCompiler, TypeProvider> = RouteEvent<RouteGeneric, SchemaCompiler, TypeProvider>
    >(
      opts: SseRouteOptions<
        RouteGeneric, SchemaCompiler, TypeProvider, RawServer, RawRequest, RawReply, ContextConfig, Logger, Event
      >
    ): FastifyInstance<RawServer, RawRequest, RawReply, Logger, TypeProvider>
  }
}
