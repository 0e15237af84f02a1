import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Outlet } from './outlet'
import type { Closing } from './stats'
import type { EventStream } from './stream'
import type { Ticker } from './ticker'

/** What a stream shares with the others of its plugin. */
export interface Shared {
  /** Visits each open stream's outlet, at the interval of its heartbeat. */
  readonly heartbeats: Ticker<Outlet>
  /** Visits each stream with a response, at the interval of its write timeout. */
  readonly stalls: Ticker<EventStream>
  readonly open: Set<EventStream>
  /** Lets a reply be answered with something else. */
  forget (reply: FastifyReply): void
  opened (request: FastifyRequest): void
  /** @param wasOpen whether it was opened before */
  closed (request: FastifyRequest, closing: Closing, wasOpen: boolean): void
}
