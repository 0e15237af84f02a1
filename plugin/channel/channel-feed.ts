import type { FastifyRequest } from 'fastify'
import { FST_ERR_SSE_FORBIDDEN, FST_ERR_SSE_LIMIT } from '../errors'
import type { Feed, FeedContext, Sink } from '../feed'
import { hasUnreadableId } from '../last-event-id'
import type { ResolvedOptions } from '../options'
import { Cursor } from './cursor'
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

  leave (): void {
    if (this.#state === 'reading') this.#write()
    this.#sink.end()
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
    this.#hold = this.#flows.hold(this.#selection, this)
    this.#sink.prime()
    const { flow } = this.#hold
    const start = await flow.start(this.#beginning)
    if (this.#isStopped()) return
    this.#cursor = new Cursor(flow.log, flow.name, start, this.#flows.stats)
    this.#state = 'reading'
    flow.log.add(this)
    this.#write()
    if (!this.#isStopped()) this.#sink.open()
  }

  /** Nothing of a channel is told, not even whether it is there, before all of them may be read. */
  async #authorize (): Promise<void> {
    for (const { name, options: { authorize } } of this.#selection.channels) {
      if (authorize !== undefined && await authorize(this.request, name) !== true) throw new FST_ERR_SSE_FORBIDDEN()
    }
  }

  get #beginning (): From {
    const { lastEventId: id, headers } = this.request
    return id !== '' || hasUnreadableId(headers['last-event-id'], id) ? { id } : this.#from
  }

  #write (): void {
    while (this.#sink.isFree) {
      const block = this.#cursor?.block()
      if (block === undefined) break
      this.#sink.block(block)
    }
    if (this.#cursor?.isAtEnd === true) this.#sink.end()
  }

  #relieve (maxBuffer: number): void {
    const { slow } = this.#options
    if (slow === 'disconnect') return this.#sink.overflow()
    this.#cursor?.drop(slow, Math.max(0, maxBuffer / 2 - this.#sink.queued))
  }

  #isStopped (): boolean {
    return this.#state === 'stopped'
  }
}
