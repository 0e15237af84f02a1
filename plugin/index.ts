import fp from 'fastify-plugin'
import type { FastifyInstance } from 'fastify'
import { plugin } from './plugin'
import type {
  AnyEvents, Backplane, BackplaneState, Channel, ChannelEvent, ChannelOptions, ChannelStats, ClosedMessage,
  CloseReason, EventChannels, EventFields, EventIterable, Expiry, Gap, GapReason, HistoryOptions, KnownFields,
  MappedEvent, PluginOptions, PublishedEvent, PublishOptions, Range, ResolvedChannelOptions, Serializer, SlowPolicy,
  Source, SseEvent, SseOptions, SseRouteHandler, SseRouteOptions, SseRouteShorthandOptions, StatsSnapshot,
  StreamClosedError, StreamContext, SubscribeOptions, Subscription, TypedChannelOptions
} from './types'

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
    sse<Events extends object = AnyEvents, Event extends SseEvent<Events> = SseEvent<Events>> (
      source: Source<Event> & KnownFields<Event>,
      options?: SseOptions
    ): FastifyReply
  }

  interface FastifyRequest {
    /** The ID of the last event the client has seen, `''` when there is none. */
    readonly lastEventId: string
  }
}

function ssePlugin (app: FastifyInstance, options: PluginOptions): Promise<void> {
  return plugin(app, options)
}
fp(ssePlugin, { fastify: '5.x', name: 'fastify-event-stream' })

// `require` and a default import find the plugin itself, a named import finds `ssePlugin`. The types are exported, not named
// anew, so that the compiler finds them here when it writes the declarations of whoever exports a channel.
declare namespace ssePlugin {
  export { ssePlugin, ssePlugin as default }
  export type {
    Backplane, BackplaneState, Channel, ChannelEvent, ChannelOptions, ChannelStats, ClosedMessage, CloseReason,
    EventChannels, EventFields, EventIterable, Expiry, Gap, GapReason, HistoryOptions, MappedEvent, PluginOptions,
    PublishedEvent, PublishOptions, Range, ResolvedChannelOptions, Serializer, SlowPolicy, Source, SseEvent,
    SseOptions, SseRouteHandler, SseRouteOptions, SseRouteShorthandOptions, StatsSnapshot, StreamClosedError,
    StreamContext, SubscribeOptions, Subscription, TypedChannelOptions
  }
}
Object.assign(ssePlugin, { default: ssePlugin, ssePlugin })
// What Node reads the names of a CommonJS module from, when it is imported.
exports.ssePlugin = ssePlugin

export = ssePlugin
