import fp from 'fastify-plugin'
import type {
  FastifyPluginAsync, FastifySchema, FastifyTypeProvider, FastifyTypeProviderDefault, RouteGenericInterface
} from 'fastify'
import { plugin } from './plugin'
import type * as types from './types'

declare module 'fastify' {
  interface FastifyReply {
    /**
     * Answers with an event stream: drains `source` into the response until it ends or the client has gone.
     *
     * @typeParam Events what the source may yield, as a map of event names to the types of their data
     * @throws FST_ERR_SSE_SOURCE when `source` is nothing that can be drained
     * @throws FST_ERR_SSE_OPTION for an option that is unknown or has a value that is not allowed
     * @throws FST_ERR_SSE_ALREADY_SENT when the reply was sent already
     */
    sse<Events extends object = types.AnyEvents, Event extends types.SseEvent<Events> = types.SseEvent<Events>> (
      source: types.Source<Event> & types.KnownFields<Event>,
      options?: types.SseOptions
    ): FastifyReply
  }

  interface FastifyRequest {
    /** The ID of the last event the client has seen, `''` when there is none. */
    readonly lastEventId: string
  }
}

type SsePlugin = FastifyPluginAsync<types.PluginOptions>

// `require` and a default import find the plugin itself, a named import finds `ssePlugin`.
const ssePlugin: SsePlugin & { default: SsePlugin, ssePlugin: SsePlugin } = Object.assign(plugin, { default: plugin, ssePlugin: plugin })
fp(plugin, { fastify: '5.x', name: 'fastify-event-stream' })
// What Node reads the names of a CommonJS module from, when it is imported.
exports.ssePlugin = ssePlugin

namespace ssePlugin {
  export type Backplane = types.Backplane
  export type BackplaneState = types.BackplaneState
  export type Channel<Events extends object = types.AnyEvents> = types.Channel<Events>
  export type ChannelEvent<Event extends string | undefined = string | undefined, Data = unknown> = types.ChannelEvent<Event, Data>
  export type ChannelOptions = types.ChannelOptions
  export type ChannelStats = types.ChannelStats
  export type ClosedMessage = types.ClosedMessage
  export type CloseReason = types.CloseReason
  export type EventChannels<TypeProvider extends FastifyTypeProvider = FastifyTypeProviderDefault> = types.EventChannels<TypeProvider>
  export type EventFields<Data = unknown> = types.EventFields<Data>
  export type EventIterable<Event = SseEvent> = types.EventIterable<Event>
  export type Expiry = types.Expiry
  export type Gap = types.Gap
  export type GapReason = types.GapReason
  export type HistoryOptions = types.HistoryOptions
  export type PluginOptions = types.PluginOptions
  export type Range = types.Range
  export type PublishOptions = types.PublishOptions
  export type PublishedEvent<Events extends object> = types.PublishedEvent<Events>
  export type Serializer = types.Serializer
  export type Source<Event = SseEvent> = types.Source<Event>
  export type SseEvent<Events extends object = types.AnyEvents> = types.SseEvent<Events>
  export type SseOptions = types.SseOptions
  export type SseRouteHandler<
    RouteGeneric extends RouteGenericInterface = RouteGenericInterface,
    SchemaCompiler extends FastifySchema = FastifySchema,
    TypeProvider extends FastifyTypeProvider = FastifyTypeProviderDefault
  > = types.SseRouteHandler<RouteGeneric, SchemaCompiler, TypeProvider>
  export type SseRouteOptions<
    RouteGeneric extends RouteGenericInterface = RouteGenericInterface,
    SchemaCompiler extends FastifySchema = FastifySchema,
    TypeProvider extends FastifyTypeProvider = FastifyTypeProviderDefault
  > = types.SseRouteOptions<RouteGeneric, SchemaCompiler, TypeProvider>
  export type SseRouteShorthandOptions<
    RouteGeneric extends RouteGenericInterface = RouteGenericInterface,
    SchemaCompiler extends FastifySchema = FastifySchema,
    TypeProvider extends FastifyTypeProvider = FastifyTypeProviderDefault
  > = types.SseRouteShorthandOptions<RouteGeneric, SchemaCompiler, TypeProvider>
  export type SlowPolicy = types.SlowPolicy
  export type StatsSnapshot = types.StatsSnapshot
  export type StreamClosedError = types.StreamClosedError
  export type StreamContext = types.StreamContext
  export type SubscribeOptions<Event extends types.ChannelEvent = types.ChannelEvent> = types.SubscribeOptions<Event>
  export type Subscription<Event extends types.ChannelEvent = types.ChannelEvent> = types.Subscription<Event>
  export type TypedChannelOptions<Schemas extends object = Record<string, unknown>> = types.TypedChannelOptions<Schemas>
}

export = ssePlugin
