import { HEARTBEAT } from './encode'
import type { Quiet } from './heartbeat'

// Fewer, larger writes cost less; from 4 to 64 KiB it makes no difference.
const JOINED_LENGTH = 16 * 1024

/** What an outlet writes to: a response, or a transform on the way to it. */
export interface Target {
  write (text: string, encoding: 'utf8', written: (error?: Error | null) => void): unknown
  end (): unknown
  /** Transforms that hold data back, as those of node:zlib do, let it go with this. */
  flush? (): unknown
  destroy? (error?: Error): unknown
}

/**
 * The way of a stream's text to its client.
 *
 * What the source gives without waiting is joined and goes out in one write: the tick queue runs when the microtasks
 * are done, which is exactly when the source really waits. While a write is under way the next text is kept back, so
 * that bytes wait in one place, where they are counted, and a client that takes none of them is seen.
 */
export class Outlet implements Quiet {
  /** Bytes handed to the target so far. */
  bytes = 0
  quietFor = 0

  #onSpace: () => void
  #target: Target | undefined
  #endTarget = true
  #text = ''
  #scheduled = false
  #underWay = 0
  #kept = 0
  #closed = false

  /** @param onSpace called when a write is done and the outlet can take more */
  constructor (onSpace: () => void) {
    this.#onSpace = onSpace
  }

  /** Gives the outlet its target, before the first write. */
  attach (target: Target, endTarget: boolean): void {
    this.#target = target
    this.#endTarget = endTarget
  }

  /** Whether bytes wait for the client to take them. */
  get isBusy (): boolean {
    return this.#underWay > 0
  }

  /** Whether a source that can wait should. */
  get isFull (): boolean {
    return this.#text.length >= JOINED_LENGTH
  }

  /** Bytes that wait for the client. */
  get queued (): number {
    return this.#underWay + this.#kept
  }

  write (text: string): void {
    this.#text += text
    if (this.isBusy) {
      this.#kept += Buffer.byteLength(text)
    } else if (this.isFull) {
      this.#flush()
    } else if (!this.#scheduled) {
      this.#scheduled = true
      process.nextTick(Outlet.flushScheduled, this)
    }
  }

  /** Sends the comment that tells clients and proxies that the stream is alive, unless bytes wait anyway. */
  onQuiet (): void {
    if (!this.isBusy) this.write(HEARTBEAT)
  }

  /** Calls back when all that was written is with the system; from then on nobody is told of space. */
  drain (done: () => void): void {
    this.#onSpace = () => { if (!this.isBusy) done() }
    if (this.isBusy) return
    this.#flush()
    this.#onSpace()
  }

  /** Hands over what is left, and ends the target if it is ours to end. */
  end (): void {
    this.#flush()
    this.#closed = true
    if (this.#endTarget) this.#target?.end()
  }

  /** Forgets what is left: the client is gone. */
  abandon (): void {
    this.#closed = true
    this.#text = ''
  }

  readonly #written = (error?: Error | null): void => {
    this.#underWay = 0
    // After an error the target closes by itself, and must not be written to until then.
    if (this.#closed || error) return
    this.#flush()
    this.#onSpace()
  }

  #flush (): void {
    if (this.#text === '') return
    const text = this.#text
    this.#text = ''
    this.#kept = 0
    this.#underWay = Buffer.byteLength(text)
    this.bytes += this.#underWay
    this.quietFor = 0
    this.#target?.write(text, 'utf8', this.#written)
    this.#target?.flush?.()
  }

  static flushScheduled (outlet: Outlet): void {
    outlet.#scheduled = false
    if (!outlet.isBusy) outlet.#flush()
  }
}
