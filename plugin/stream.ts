import type { FastifyReply } from 'fastify'
import type { Body, BodyEvents } from './body'
import { isAbort, type CloseReason } from './close-reason'
import type { Block } from './channel/block'
import { cut, isGone, isOfRequest, onClosed } from './connection'
import { encodeEvent, HEARTBEAT } from './encode'
import { EventResponse } from './event-response'
import type { Sink } from './feed'
import { outline } from './inspect'
import { Intake } from './intake'
import type { Place } from './limits'
import type { Target } from './line'
import type { Expiry, ResolvedOptions } from './options'
import { lastWords } from './last-words'
import { isBodyless, isEventSource } from './response'
import type { Shared } from './shared'
import type { StreamSignal } from './signal'
import type { Source } from './source'
import { Alarm, momentOf } from './time'
import { inTurn } from './turn'

// How many milliseconds a client may take to receive the end of a stream while the server closes.
const FAREWELL_MS = 1_000

/**
 * One event stream, from `reply.sse` until its response is closed.
 *
 * It is `waiting` until Fastify's hooks have run, `priming` until the first event or the end of the prime window sends
 * the headers, then `open`. It is `closed` once, for one reason; the response may take a little longer.
 */
export class EventStream implements Sink, BodyEvents {
  readonly #reply: FastifyReply
  readonly #options: ResolvedOptions
  readonly #expiry: Expiry | undefined
  readonly #shared: Shared
  readonly #place: Place
  readonly #intake: Intake
  readonly #response: EventResponse
  readonly #alarm = new Alarm()
  readonly #startedAt = performance.now()
  #state: 'waiting' | 'priming' | 'open' | 'closed' = 'waiting'
  #shuttingDown = false
  #settled = nothing
  #events = 0

  constructor (reply: FastifyReply, source: Source<unknown>, options: ResolvedOptions, expiry: Expiry | undefined, shared: Shared, place: Place, signal: StreamSignal) {
    this.#reply = reply
    this.#options = options
    this.#expiry = expiry
    this.#shared = shared
    this.#place = place
    this.#intake = new Intake(source, this, { request: reply.request, options }, signal)
    this.#response = new EventResponse(reply, options, shared, this, () => { this.#intake.resume() })
    shared.open.add(this)
    onClosed(reply, () => { this.#responseClosed() })
  }

  /** What is given to `reply.send`. */
  get body (): Body {
    return this.#response.body
  }

  start (target: Target, endTarget: boolean): void {
    const { raw } = this.#reply
    // A hook has put a transform before the response: those after it have still to run.
    if (target !== raw && !isBodyless(this.#reply)) raw.once('pipe', () => { this.#start(target, endTarget) })
    else this.#start(target, endTarget)
  }

  read (target: Target): void {
    this.#start(target, true, false)
  }

  prime (): void {
    if (this.#state !== 'priming' || this.#shuttingDown) return
    const { prime } = this.#options
    if (prime === 0) this.open()
    else this.#alarm.setIn(prime, () => { inTurn(() => { this.open() }) })
  }

  open (): void {
    if (this.#state === 'priming') this.#open(HEARTBEAT)
  }

  discard (): void {
    if (this.#state === 'waiting') this.#close('finished')
  }

  abort (): void {
    if (this.#state !== 'closed') this.#tearDown(this.#reply.raw.destroyed ? 'client' : 'error')
  }

  event (event: unknown): boolean {
    if (!this.#isOurs()) return false
    try {
      const text = encodeEvent(event, this.#options.toText)
      this.#events++
      if (this.#state === 'priming') this.#open(text)
      else this.#response.outlet.write(text)
      return !this.#response.outlet.isFull
    } catch (error) {
      this.fail(error)
      return false
    }
  }

  get isFree (): boolean {
    return this.#isOurs() && this.#response.outlet.isFree
  }

  block (block: Block): void {
    if (this.#state === 'priming') this.#open('')
    this.#events += block.events
    this.#response.outlet.pass(block)
  }

  end (): void {
    if (!this.#isOurs()) return
    if (this.#shuttingDown) return this.#settled()
    if (isGone(this.#reply)) return this.#close('client')
    if (this.#state === 'priming') this.#response.haveNoContent()
    this.#finish('finished')
  }

  fail (error: unknown): void {
    const { log } = this.#reply.request
    if (!this.#isOurs()) {
      if (!isAbort(error) && !isOfRequest(error, this.#reply)) log.warn({ err: error }, 'the source of a closed event stream failed')
    } else if (this.#shuttingDown && isAbort(error)) {
      this.#settled()
    } else if (this.#state === 'open') {
      this.#response.outlet.write(lastWords(error, this.#reply.request, this.#options))
      this.#response.breakOff()
      this.#close('error')
      log.error({ err: asError(error) }, 'event stream failed')
    } else {
      this.#close('error')
      this.#response.refuse(asError(error))
    }
  }

  turnAway (error: Error): void {
    if (this.#state !== 'priming' || !isEventSource(this.#reply.request)) return this.fail(error)
    this.#open('')
    this.#response.sayWhenToReturn()
    this.#finish('limit')
  }

  overflow (): void {
    if (this.#state !== 'closed') this.#tearDown('slow')
  }

  disconnect (): void {
    if (this.#isOurs()) this.#finish('disconnected')
  }

  get queued (): number {
    return this.#response.outlet.queued
  }

  get isOpen (): boolean {
    return this.#state === 'open'
  }

  /** What the client was sent, or is about to be. */
  get sent (): { events: number, bytes: number } {
    return { events: this.#events, bytes: this.#response.outlet.bytes }
  }

  /**
   * Tells the source that the server closes. Settles when it has finished, has had its time, or has no client any more;
   * then `farewell` is to be called.
   */
  async leave (): Promise<void> {
    if (this.#state === 'closed') return
    this.#shuttingDown = true
    if (this.#state === 'waiting') return
    const settled = new Promise<void>(resolve => { this.#settled = resolve })
    this.#alarm.setIn(this.#options.shutdown.grace, () => { this.#settled() })
    this.#intake.leave()
    await settled
  }

  /** Tells the client when to come back and ends the stream. Settles, in bounded time, when the response is closed. */
  async farewell (): Promise<void> {
    await new Promise<void>(resolve => {
      onClosed(this.#reply, resolve)
      this.#sayFarewell()
      this.#alarm.setIn(FAREWELL_MS, () => {
        cut(this.#reply)
        // One that is pipelined behind another that hangs has no connection to be cut.
        resolve()
      })
    })
  }

  #start (target: Target, endTarget: boolean, sendsHead = true): void {
    if (this.#state !== 'waiting') return
    this.#state = 'priming'
    this.#response.attach(target, endTarget, sendsHead)
    if (isBodyless(this.#reply)) return this.#finish('finished')
    if (this.#shuttingDown) return this.#sayFarewell()
    this.#intake.open()
  }

  #open (first: string): void {
    if (!this.#isOurs()) return
    try {
      this.#response.sendHead()
    } catch (error) {
      return this.fail(error)
    }
    this.#state = 'open'
    this.#shared.opened(this.#reply.request)
    if (!this.#shuttingDown) this.#awaitExpiry()
    this.#shared.stalls.add(this, this.#options.writeTimeout)
    this.#response.open(first)
  }

  #awaitExpiry (): void {
    this.#alarm.clear()
    if (this.#expiry !== undefined) this.#alarm.setAt(momentOf(this.#expiry), () => { this.#finish('expired') })
  }

  #sayFarewell (): void {
    if (this.#state === 'priming') this.#open('')
    if (this.#state !== 'open') return
    this.#response.sayWhenToReturn()
    this.#finish('shutdown')
  }

  #finish (reason: CloseReason): void {
    this.#response.end()
    this.#close(reason)
  }

  #tearDown (reason: CloseReason): void {
    this.#response.outlet.abandon()
    this.#close(reason)
    cut(this.#reply)
  }

  #close (reason: CloseReason): void {
    const before = this.#state
    this.#state = 'closed'
    this.#alarm.clear()
    this.#response.stopHeartbeat()
    this.#place.release()
    if (reason !== 'finished') this.#intake.abort(reason)
    this.#intake.stop()
    this.#settled()
    if (before === 'waiting' && reason === 'finished') return
    this.#shared.closed(this.#reply.request, { reason, ...this.sent, duration: Math.round(performance.now() - this.#startedAt) }, before === 'open')
  }

  /** For the ticker of the write timeout: cuts a client that takes nothing. */
  stallTick (): void {
    // A pipelined response without a socket does not wait for its own client.
    if (this.#reply.raw.socket === null || !this.#response.outlet.stallTick()) return
    if (this.#state === 'closed') cut(this.#reply)
    else this.#tearDown('stalled')
  }

  #responseClosed (): void {
    this.#shared.open.delete(this)
    this.#shared.stalls.remove(this, this.#options.writeTimeout)
    this.#alarm.clear()
    this.#response.closed()
    if (this.#isOurs()) this.#close('client')
  }

  /** Before a stream is open, somebody else may answer in its place: an error handler, or a handler timeout. */
  #isOurs (): boolean {
    if (this.#state !== 'open' && this.#state !== 'closed' && this.#reply.raw.headersSent) {
      const { raw, request } = this.#reply
      // A hook may put something else in the place of a body that it knows, and an error that is answered is not silent.
      const isSilent = this.#state === 'priming' && raw.statusCode < 400
      this.#close('error')
      if (isSilent) request.log.warn('another answer was sent before the event stream could open: a handler has to return what reply.sse gives, and send nothing else')
    }
    return this.#state !== 'closed'
  }
}

function asError (error: unknown): Error {
  return error instanceof Error ? error : new Error(`The source threw ${outline(error)}`, { cause: error })
}

function nothing (): void {}
