/** Every public type, for the namespace of the entry. */
export type { CloseReason, StreamClosedError } from './close-reason'
export type { StreamContext } from './context'
export type { AnyEvents, EventFields, KnownFields, Serializer, SseEvent } from './event'
export type { Expiry, PluginOptions, Range, SseOptions } from './options'
export type { SseRouteHandler, SseRouteOptions, SseRouteShorthandOptions } from './route-types'
export type { EventIterable, Source } from './source'
