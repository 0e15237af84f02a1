import type { Gap } from './gap'
import type { Item } from './item'

/** Events that go to many clients in the same bytes, framed as a chunk (RFC 9112 7.1) already. */
export class Block {
  /** The chunk. */
  readonly framed: Buffer
  /** Its data. */
  readonly payload: Buffer
  readonly events: number
  /** What the gaps among them say. */
  readonly gaps: readonly Gap[]
  /** The item it ends with. */
  readonly last: Item

  constructor (text: string, events: number, gaps: readonly Gap[], last: Item) {
    const size = `${Buffer.byteLength(text).toString(16)}\r\n`
    this.framed = Buffer.from(`${size}${text}\r\n`)
    this.payload = this.framed.subarray(size.length, -2)
    this.events = events
    this.gaps = gaps
    this.last = last
  }
}
