import type { FastifyReply } from 'fastify'
import { Body, type BodyEvents } from './body'
import { cut, failTransform, liftTimeouts } from './connection'
import { encodeRetry } from './encode'
import { lineTo, type Target } from './line'
import type { ResolvedOptions } from './options'
import { Outlet } from './outlet'
import { isEventSource, removeHeaders, setHeaders, writeHead } from './response'
import type { Shared } from './shared'
import { draw } from './time'

// A browser throws away what it has not read of a response when that is cut.
const LAST_WORDS_MS = 100

/** The response that carries an event stream: its head, its ends, and what it changes of its connection meanwhile. */
export class EventResponse {
  readonly body: Body
  readonly outlet: Outlet
  readonly #reply: FastifyReply
  readonly #options: ResolvedOptions
  readonly #shared: Shared
  #transform: Target | undefined
  #sendsHead = true
  #endsHere = false
  #restoreTimeouts: (() => void) | undefined

  /** @param onSpace called when the outlet can take more */
  constructor (reply: FastifyReply, options: ResolvedOptions, shared: Shared, events: BodyEvents, onSpace: () => void) {
    this.body = new Body(events)
    this.outlet = new Outlet(onSpace)
    this.#reply = reply
    this.#options = options
    this.#shared = shared
    setHeaders(reply)
  }

  /** The target is ours, to write to and, unless trailers follow, to end; so is the head, if the hooks have run. */
  attach (target: Target, endTarget: boolean, sendsHead: boolean): void {
    this.#sendsHead = sendsHead
    this.outlet.attach(target, endTarget)
    if (target !== this.#reply.raw) this.#transform = target
    this.#endsHere = endTarget && target === this.#reply.raw
  }

  /**
   * Sends the head. The response is an event stream then, whatever happens, and no handler timeout is to end it.
   *
   * @throws what Node says of a header that it does not send
   */
  sendHead (): void {
    if (!this.#sendsHead) return
    writeHead(this.#reply)
    this.#reply.hijack()
  }

  /** Sends the reconnection time, if there is one, with what comes first, and keeps the connection warm. */
  open (first: string): void {
    const { retry, heartbeat } = this.#options
    if (this.#endsHere) this.body.forget()
    this.#restoreTimeouts = liftTimeouts(this.#reply)
    if (heartbeat !== false) this.#shared.heartbeats.add(this.outlet, heartbeat)
    this.outlet.open(lineTo(this.#transform ?? this.#reply.raw, this.#reply))
    this.outlet.write(retry === undefined ? first : encodeRetry(draw(retry)) + first)
  }

  /** Answers with the status that makes an EventSource stop: one that is told to come back would, for ever. */
  haveNoContent (): void {
    const reply = this.#reply
    // A status of the source's own says more; and trailers need a body (RFC 9112 7.1.2).
    if (!isEventSource(reply.request) || reply.statusCode !== 200 || reply.hasHeader('trailer')) return
    reply.code(204).removeHeader('content-type').removeHeader('content-encoding')
  }

  /** Lets the reply be answered with an error, in place of the event stream. */
  refuse (error: Error): void {
    removeHeaders(this.#reply)
    this.#shared.forget(this.#reply)
    this.body.fail(error)
    if (this.#transform !== undefined) failTransform(this.#transform, error, this.#reply)
  }

  /** Tells the client when to come back. */
  sayWhenToReturn (): void {
    this.outlet.write(encodeRetry(draw(this.#options.shutdown.retry)))
  }

  /** Sends what is left, then ends. */
  end (): void {
    this.outlet.end(() => { this.body.end() })
  }

  /** Sends what is left, then cuts the response, which its client can tell from an end. */
  breakOff (): void {
    this.outlet.drain(() => {
      const cutSoon = (): void => { setTimeout(cut, LAST_WORDS_MS, this.#reply).unref() }
      // A transform on the way has to let go of everything too.
      if (this.#transform?.flush === undefined) cutSoon()
      else this.#transform.flush(cutSoon)
    })
  }

  /** The stream is closed: nobody is to be kept waiting for more. */
  stopHeartbeat (): void {
    const { heartbeat } = this.#options
    if (heartbeat !== false) this.#shared.heartbeats.remove(this.outlet, heartbeat)
  }

  /** The response is closed, be it done or cut. */
  closed (): void {
    this.outlet.abandon()
    this.#restoreTimeouts?.()
    this.#restoreTimeouts = undefined
    if (this.#reply.raw.headersSent) this.body.close()
  }
}
