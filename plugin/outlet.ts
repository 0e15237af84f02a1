import type { Block } from './channel/block'
import { HEARTBEAT } from './encode'
import type { Line, Target } from './line'
import { Ticker } from './ticker'

// Fewer, larger writes cost less; from 4 to 64 KiB it makes no difference.
const JOINED_LENGTH = 16 * 1024
// What is larger goes out in pieces, each after the one before: how far the system is within one write nobody tells.
const LONGEST_WRITE = 2 * JOINED_LENGTH

const NOTHING = Buffer.alloc(0)

/**
 * The way of a stream's text to its client.
 *
 * What the source gives without waiting is joined and goes out in one write: the tick queue runs when the microtasks
 * are done, which is exactly when the source really waits. While a write is under way the next text is kept back, so
 * that bytes wait in one place, where they are counted, and a client that takes none of them is seen.
 */
export class Outlet {
  // What is to be told next: of space, or of the end.
  #next: () => void
  #target: Target | undefined
  #line: Line | undefined
  #endTarget = true
  #text = ''
  #rest = NOTHING
  #scheduled = false
  #sent = 0
  #underWay = 0
  #kept = 0
  #quietTicks = 0
  #busyTicks = 0
  #state: 'open' | 'ending' | 'closed' = 'open'

  /** @param onSpace called when a write is done and the outlet can take more */
  constructor (onSpace: () => void) {
    this.#next = onSpace
  }

  /** Gives the outlet what it is to end. */
  attach (target: Target, endTarget: boolean): void {
    this.#target = target
    this.#endTarget = endTarget
  }

  /** Opens the line to the client, before the first write. */
  open (line: Line): void {
    this.#line = line
  }

  /** Whether a source that can wait should. */
  get isFull (): boolean {
    return this.#text.length >= JOINED_LENGTH
  }

  /** Bytes of the stream so far, those that still wait included. */
  get bytes (): number {
    return this.#sent + this.#rest.length + this.#kept
  }

  /** Bytes that wait for the client. */
  get queued (): number {
    return this.#underWay + this.#rest.length + this.#kept
  }

  write (text: string): void {
    this.#text += text
    if (this.#isBusy) {
      this.#kept += Buffer.byteLength(text)
    } else if (this.isFull) {
      this.#flush()
    } else if (!this.#scheduled) {
      this.#scheduled = true
      process.nextTick(Outlet.#flushScheduled, this)
    }
  }

  /** Whether what is passed now goes to the client at once. */
  get isFree (): boolean {
    return !this.#isBusy && this.#state === 'open'
  }

  /** Hands over what is encoded already, while the outlet is free. */
  pass (block: Block): void {
    if (this.#text === '') {
      this.#send(block.payload.length)
      if (this.#line?.block(block, this.#written) === true) this.#underWay = 0
    } else {
      this.#text += block.payload.toString()
      this.#flush()
    }
  }

  /** For a ticker at the interval of the heartbeat: lets no client be without a byte for so long. */
  heartbeatTick (): void {
    if (++this.#quietTicks < Ticker.TICKS || this.#isBusy) return
    this.write(HEARTBEAT)
  }

  /** For a ticker at the interval of the write timeout: whether the client took nothing for so long. */
  stallTick (): boolean {
    return (this.#isBusy || this.#state !== 'open') && ++this.#busyTicks > Ticker.TICKS
  }

  /** Calls back when all that was written is with the system; from then on nobody is told of space. */
  drain (done: () => void): void {
    this.#next = () => { if (!this.#isBusy) done() }
    this.#flush()
    this.#next()
  }

  /** Hands over what is left, then ends the target, if it is ours to end, and calls back. */
  end (ended: () => void): void {
    this.#state = 'ending'
    this.#busyTicks = 0
    this.#next = ended
    this.#flush()
    this.#endIfEmpty()
  }

  /** Forgets what is left: the client is gone. */
  abandon (): void {
    this.#state = 'closed'
    this.#text = ''
    this.#rest = NOTHING
    this.#kept = 0
  }

  get #isBusy (): boolean {
    return this.#underWay > 0
  }

  readonly #written = (error?: Error | null): void => {
    this.#underWay = 0
    // After an error the target closes by itself, and must not be written to until then.
    if (this.#state === 'closed' || error) return
    this.#flush()
    if (this.#state === 'ending') this.#endIfEmpty()
    else this.#next()
  }

  #flush (): void {
    while (!this.#isBusy) {
      const chunk = this.#take()
      if (chunk === '') return
      this.#send(Buffer.byteLength(chunk))
      if (this.#line?.write(chunk, this.#underWay, this.#written) === true) this.#underWay = 0
    }
  }

  #send (length: number): void {
    this.#underWay = length
    this.#sent += length
    this.#quietTicks = 0
    this.#busyTicks = 0
  }

  #take (): string | Buffer {
    if (this.#rest.length === 0) {
      const text = this.#text
      this.#text = ''
      this.#kept = 0
      if (text.length <= LONGEST_WRITE) return text
      this.#rest = Buffer.from(text)
    }
    const piece = this.#rest.subarray(0, JOINED_LENGTH)
    this.#rest = this.#rest.subarray(JOINED_LENGTH)
    return piece
  }

  #endIfEmpty (): void {
    if (this.#rest.length > 0 || this.#text !== '') return
    this.#state = 'closed'
    if (this.#endTarget) this.#target?.end()
    this.#next()
  }

  static #flushScheduled (outlet: Outlet): void {
    outlet.#scheduled = false
    outlet.#flush()
  }
}
