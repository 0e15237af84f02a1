import { channel } from 'node:diagnostics_channel'
import type { FastifyRequest } from 'fastify'
import type { BackplaneState } from './backplane/types'
import type { Gap, GapReason } from './channel/gap'
import type { CloseReason } from './close-reason'

/** What has happened since the plugin was registered, and what is. All of this process alone. */
export interface StatsSnapshot {
  streams: {
    /** Streams that are open now. */
    open: number
    opened: number
    /** By the reason; also those that were never opened. */
    closed: Record<CloseReason, number>
    /** Bytes that wait for clients now. */
    queued: number
  }
  /** Events handed to streams. */
  events: number
  /** Bytes of the streams' bodies, those that still wait included. */
  bytes: number
  /** Events of channels that were not sent to a client since it was slow. */
  dropped: number
  /** Gaps that were told, by the reason. */
  gaps: Record<GapReason, number>
  /** Events that had been published before the clients came that they were sent to. */
  replayed: number
  /** Channels that are read now, by their names. */
  channels: Record<string, ChannelStats>
  backplane: BackplaneState
}

/** A channel that is read. */
export interface ChannelStats {
  /** Streams and iterations that read it. */
  subscribers: number
  /** Events since its first subscriber came. */
  events: number
  /** Bytes of them that wait for its subscribers. */
  queued: number
}

/** The end of a stream. */
export interface Closing {
  reason: CloseReason
  events: number
  bytes: number
  /** In milliseconds. */
  duration: number
}

/** What `fastify-event-stream:closed` is published with. */
export interface ClosedMessage extends Closing {
  request: FastifyRequest
}

/** What streams that are open have been handed, and what of it waits. */
export interface OpenTotals {
  events: number
  bytes: number
  queued: number
}

const onOpened = channel('fastify-event-stream:opened')
const onClosed = channel('fastify-event-stream:closed')
const onDropped = channel('fastify-event-stream:dropped')
const onGap = channel('fastify-event-stream:gap')
const onBackplane = channel('fastify-event-stream:backplane')

/** Counts what happens, and publishes it by `diagnostics_channel`. */
export class Stats {
  #opened = 0
  readonly #closed: Record<CloseReason, number> = { finished: 0, client: 0, stalled: 0, error: 0, shutdown: 0, expired: 0, slow: 0, limit: 0, disconnected: 0 }
  #open = 0
  #events = 0
  #bytes = 0
  #dropped = 0
  readonly #gaps: Record<GapReason, number> = { evicted: 0, epoch: 0, ahead: 0, unknown: 0, dropped: 0 }
  #replayed = 0

  opened (request: FastifyRequest): void {
    this.#opened++
    this.#open++
    if (onOpened.hasSubscribers) onOpened.publish({ request })
  }

  /** @param wasOpen whether it was opened before */
  closed (message: ClosedMessage, wasOpen: boolean): void {
    if (wasOpen) this.#open--
    this.#closed[message.reason]++
    this.#events += message.events
    this.#bytes += message.bytes
    if (onClosed.hasSubscribers) onClosed.publish(message)
  }

  /** Events that a slow client is not sent. */
  dropped (channel: string, events: number): void {
    this.#dropped += events
    if (onDropped.hasSubscribers) onDropped.publish({ channel, events })
  }

  gap (gap: Gap): void {
    this.#gaps[gap.reason]++
    if (onGap.hasSubscribers) onGap.publish(gap)
  }

  replayed (events: number): void {
    this.#replayed += events
  }

  backplane (state: BackplaneState): void {
    onBackplane.publish({ state })
  }

  snapshot (open: OpenTotals, channels: Record<string, ChannelStats>, backplane: BackplaneState): StatsSnapshot {
    return {
      streams: { open: this.#open, opened: this.#opened, closed: { ...this.#closed }, queued: open.queued },
      events: this.#events + open.events,
      bytes: this.#bytes + open.bytes,
      dropped: this.#dropped,
      gaps: { ...this.#gaps },
      replayed: this.#replayed,
      channels,
      backplane
    }
  }
}
