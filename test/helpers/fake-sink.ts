import type { Block } from '../../plugin/channel/block'
import type { Feed, Sink } from '../../plugin/feed'
import { Inbox } from './inbox'
import type { Ledger, Moment } from './ledger'
import type { Subscriber } from './subscriber'

/** The server's side of a stream without a socket: its client takes what it is sent at once, or not before it is told to. */
export class FakeSink implements Sink {
  feed: Feed | undefined
  state: 'open' | 'ended' | 'slow' | 'cut' = 'open'
  queued = 0
  /** How the channels stood when it was handed a block last. */
  heldAt: Moment | undefined
  readonly #subscriber: Subscriber
  readonly #inbox: Inbox
  readonly #ledger: Ledger
  readonly #failed: (error: unknown) => void
  #isSlow: boolean

  /** @param failed called with what is wrong: those who call the sink are not to see it */
  constructor (subscriber: Subscriber, ledger: Ledger, isSlow: boolean, failed: (error: unknown) => void) {
    this.#failed = failed
    this.#subscriber = subscriber
    this.#inbox = new Inbox(subscriber)
    this.#ledger = ledger
    this.#isSlow = isSlow
  }

  get isFree (): boolean {
    return this.state === 'open' && this.queued === 0
  }

  /** Whether it will take more by itself. */
  get isBusy (): boolean {
    return !this.#isSlow && this.queued > 0
  }

  block ({ framed, payload }: Block): void {
    if (!this.isFree) this.#failed(new Error('a block came while the sink was not free'))
    if (framed.toString('latin1') !== `${payload.length.toString(16)}\r\n${payload.toString('latin1')}\r\n`) this.#failed(new Error('a block is framed wrongly'))
    const moment = this.heldAt = this.#ledger.moment()
    this.#subscriber.opened(moment)
    this.#inbox.put(payload, moment)
    this.queued = payload.length
    if (!this.#isSlow) this.#takeLater()
  }

  open (): void {
    this.#subscriber.opened(this.#ledger.moment())
  }

  prime (): void {}

  event (): boolean {
    throw new Error('channels come in blocks')
  }

  end (): void {
    this.#close('ended')
    this.#subscriber.opened(this.#ledger.moment())
    this.receive()
    this.#check(() => { this.#subscriber.assertEnded() })
  }

  fail (error: unknown): void {
    this.#failed(error)
    this.#close('cut')
  }

  turnAway (error: Error): void {
    this.fail(error)
  }

  overflow (): void {
    if (!this.#subscriber.wasSlow) this.#failed(new Error('its client was not slow'))
    this.#close('slow')
    this.receive()
  }

  disconnect (): void {
    this.cut(1)
  }

  /** The client is gone, and has received only a part of what was under way to it. */
  cut (part: number): void {
    this.#close('cut')
    this.#check(() => { this.#inbox.take(part) })
  }

  /** The client reads what is under way. */
  receive (): void {
    this.#check(() => { this.#inbox.take() })
  }

  setSlow (isSlow: boolean): void {
    if (this.#isSlow && !isSlow && this.queued > 0) this.#takeLater()
    this.#isSlow = isSlow
  }

  #takeLater (): void {
    setImmediate(() => {
      this.queued = 0
      if (this.state === 'open') this.feed?.resume()
    })
  }

  #check (assert: () => void): void {
    try {
      assert()
    } catch (error) {
      this.#failed(error)
    }
  }

  #close (state: 'ended' | 'slow' | 'cut'): void {
    this.state = state
    this.feed?.stop()
  }
}
