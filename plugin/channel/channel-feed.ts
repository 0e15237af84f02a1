import type { FastifyRequest } from 'fastify'
import { FST_ERR_SSE_CHANNEL, FST_ERR_SSE_FORBIDDEN, FST_ERR_SSE_LIMIT } from '../errors'
import type { Feed, FeedContext, Sink } from '../feed'
import { show } from '../inspect'
import { hasUnreadableId } from '../last-event-id'
import type { ResolvedOptions } from '../options'
import { afterTurn, inTurn, turnIsOver } from '../turn'
import { Cursor, type Start } from './cursor'
import type { Flows, Hold, Member, Selection } from './flows'
import type { From } from './live-channel'
import type { Reader } from './log'

/** Brings the events of channels to a client: in blocks that all clients share, without a generator in between. */
export class ChannelFeed implements Feed, Reader, Member {
  readonly request: FastifyRequest
  readonly stream = this
  readonly #options: ResolvedOptions
  readonly #sink: Sink
  readonly #selection: Selection
  readonly #from: From
  readonly #flows: Flows
  #state: 'new' | 'starting' | 'reading' | 'stopped' = 'new'
  #hold: Hold | undefined
  #cursor: Cursor | undefined
  #awaitsTurn = false
  #isLeaving = false

  constructor (selection: Selection, from: From, flows: Flows, sink: Sink, { request, options }: FeedContext) {
    this.#selection = selection
    this.#from = from
    this.#flows = flows
    this.#sink = sink
    this.request = request
    this.#options = options
  }

  resume (): void {
    if (this.#state === 'reading') return this.#write()
    if (this.#state !== 'new') return
    this.#state = 'starting'
    this.#start().catch(error => {
      if (error instanceof FST_ERR_SSE_LIMIT) this.#sink.turnAway(error)
      else this.fail(error)
    })
  }

  advance (): void {
    if (this.#sink.isFree) return this.#write()
    if (this.#sink.queued + this.waiting > this.#options.maxBuffer) this.#relieve(this.#options.maxBuffer)
  }

  get waiting (): number {
    return this.#cursor?.waiting ?? 0
  }

  fail (error: unknown): void {
    if (this.#state !== 'stopped') this.#sink.fail(error)
  }

  disconnect (): void {
    this.#sink.disconnect()
  }

  /** What the client still waits for is written, while there is time. */
  leave (): void {
    this.#isLeaving = true
    if (this.#state === 'reading') this.#write()
    else this.#sink.end()
  }

  stop (): undefined {
    this.#state = 'stopped'
    this.#hold?.flow.log.remove(this)
    this.#hold?.release()
    this.#hold = undefined
  }

  async #start (): Promise<void> {
    await this.#authorize()
    if (this.#isStopped()) return
    checkSchemas(this.#selection, this.#options.events)
    const hold = this.#hold = this.#flows.hold(this.#selection, this)
    this.#sink.prime()
    const start = await hold.flow.start(this.#beginning)
    if (this.#isStopped()) return
    hold.flow.log.add(this)
    // Where many come back, all of them are here at once.
    inTurn(() => { this.#begin(hold, start) })
  }

  #begin ({ flow: { log, name } }: Hold, start: Start): void {
    if (this.#isStopped()) return
    this.#cursor = new Cursor(log, name, start, this.#flows.stats)
    this.#state = 'reading'
    this.#writeFirst()
  }

  #writeFirst (): void {
    this.#write()
    if (!this.#isStopped() && !this.#awaitsTurn) this.#sink.open()
  }

  /** Nothing of a channel is told, not even whether it is there, before all of them may be read. */
  async #authorize (): Promise<void> {
    const { disconnects } = this.#flows
    for (const { name, options: { authorize } } of this.#selection.channels) {
      if (authorize !== undefined && await authorize(this.request, name) !== true) throw new FST_ERR_SSE_FORBIDDEN()
    }
    // A right may have been withdrawn after it was found there, and before there was a stream to disconnect.
    if (disconnects !== this.#flows.disconnects && !this.#isStopped()) await this.#authorize()
  }

  get #beginning (): From {
    const { lastEventId: id, headers } = this.request
    return id !== '' || hasUnreadableId(headers['last-event-id'], id) ? { id } : this.#from
  }

  /** In turns, so that many who have missed much do not keep the event loop for themselves. */
  #write (): void {
    this.#attempt(() => {
      while (!this.#awaitsTurn) {
        if (turnIsOver()) this.#awaitTurn()
        else if (!this.#writeBlock()) break
      }
      if (this.#cursor?.isAtEnd === true || (this.#isLeaving && this.#hasWritten)) this.#sink.end()
    })
  }

  get #hasWritten (): boolean {
    return !this.#awaitsTurn && (this.#sink.isFree || this.#cursor?.isEmpty === true)
  }

  /** Gives back whether there was something to write, and room for it. */
  #writeBlock (): boolean {
    const block = this.#sink.isFree ? this.#cursor?.block() : undefined
    if (block !== undefined) this.#sink.block(block)
    return block !== undefined
  }

  #awaitTurn (): void {
    this.#awaitsTurn = true
    afterTurn(() => {
      this.#awaitsTurn = false
      if (this.#state === 'reading') this.#writeFirst()
    })
  }

  #relieve (maxBuffer: number): void {
    const { slow } = this.#options
    if (slow === 'disconnect') return this.#sink.overflow()
    this.#attempt(() => { this.#cursor?.drop(slow, Math.max(0, maxBuffer / 2 - this.#sink.queued)) })
  }

  /** What was missed is filtered and mapped as it is read, which may throw. */
  #attempt (read: () => void): void {
    try {
      read()
    } catch (error) {
      this.fail(error)
    }
  }

  #isStopped (): boolean {
    return this.#state === 'stopped'
  }
}

/**
 * The events of a channel go out as they were published, past the schemas of a route.
 *
 * @throws FST_ERR_SSE_CHANNEL when they might not be what the route has declared
 */
function checkSchemas ({ channels, isMapped }: Selection, declared: readonly string[] | undefined): void {
  if (declared === undefined) return
  const odd = channels.find(({ options: { events } }) => isMapped || events === undefined || events.some(name => !declared.includes(name)))
  if (odd === undefined) return
  throw new FST_ERR_SSE_CHANNEL(show(odd.name),
    'its events do not go through the schemas of the route: declare the same `events` for the channel, without a map, or iterate it in the generator of the route')
}
