import { OutgoingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import type { FastifyReply } from 'fastify'
import type { Block } from './channel/block'

const CRLF = Buffer.from('\r\n')
const NOTHING = Buffer.alloc(0)
// As Node made them: whoever puts others in their place means to see, or to delay, what is written.
const { write: WRITE, flushHeaders: FLUSH_HEADERS } = OutgoingMessage.prototype

/** What a body is piped to: a response, or a transform on the way to it. */
export interface Target {
  write (chunk: string | Uint8Array, encoding: 'utf8', written?: Written): unknown
  end (): unknown
  /** Transforms that hold data back, as those of node:zlib do, let it go with this. */
  flush? (flushed?: () => void): unknown
  once (event: 'drain', drained: () => void): unknown
  destroy? (error?: Error): unknown
  listenerCount (event: string): number
}

/** Called when the system has taken what was written, or will not. */
export type Written = (error?: Error | null) => void

/** How the pieces of an event stream are written to its client: each says whether the system has taken it already. */
export interface Line {
  /**
   * @param length of the chunk, in bytes
   * @param written called when the system has taken it later
   */
  write (chunk: string | Buffer, length: number, written: Written): boolean
  /** Writes what other clients are written too. */
  block (block: Block, written: Written): boolean
}

/**
 * The shortest line to the client, when the head is written: to the socket where the response is one of HTTP/1.1 in
 * chunks that nobody has come between, else as the target itself writes.
 */
export function lineTo (target: Target, { raw }: FastifyReply): Line {
  const isPlain = target !== raw || !(raw instanceof ServerResponse) || !(raw.socket instanceof Socket) ||
    !raw.chunkedEncoding
  return isPlain ? new TargetLine(target) : new SocketLine(raw, raw.socket)
}

function writeTo (target: Target, chunk: string | Buffer, written: Written): false {
  if (!isReplaced(target)) {
    target.write(chunk, 'utf8', written)
    target.flush?.()
    return false
  }
  const isFull = target.write(chunk, 'utf8') === false
  target.flush?.()
  if (isFull) target.once('drain', written)
  else setImmediate(written)
  return false
}

/** Whether somebody has put a `write` of his own there, as middleware for Express does, which may forget to call back. */
function isReplaced (target: Target): boolean {
  return target instanceof ServerResponse && target.write !== WRITE
}

/** Any response, or a transform before it. */
class TargetLine implements Line {
  readonly #target: Target

  constructor (target: Target) {
    this.#target = target
  }

  write (chunk: string | Buffer, _length: number, written: Written): boolean {
    return writeTo(this.#target, chunk, written)
  }

  block ({ payload }: Block, written: Written): boolean {
    return this.write(payload, payload.length, written)
  }
}

/**
 * The body of an HTTP/1.1 response, framed in chunks (RFC 9112 7.1) and handed to the socket in one piece each, where a
 * response makes three writes of it. The first goes out together with the head.
 */
class SocketLine implements Line {
  readonly #response: ServerResponse
  readonly #socket: Socket
  #isHeadSent = false

  constructor (response: ServerResponse, socket: Socket) {
    this.#response = response
    this.#socket = socket
  }

  write (chunk: string | Buffer, length: number, written: Written): boolean {
    if (!this.#isClear) return this.#writeAsAnyone(chunk, written)
    const size = `${length.toString(16)}\r\n`
    if (typeof chunk === 'string') return this.#send(`${size}${chunk}\r\n`, length === chunk.length ? 'latin1' : 'utf8', written)
    return this.#send(Buffer.concat([Buffer.from(size), chunk, CRLF]), 'latin1', written)
  }

  block ({ framed, payload }: Block, written: Written): boolean {
    return this.#isClear ? this.#send(framed, 'latin1', written) : this.#writeAsAnyone(payload, written)
  }

  /** Whether nobody else has written to the response what is still to come, has ended it, or sees what is written. */
  get #isClear (): boolean {
    const { writableEnded, writableLength, write } = this.#response
    return !writableEnded && this.#socket.writable && writableLength === this.#socket.writableLength && write === WRITE
  }

  #writeAsAnyone (chunk: string | Buffer, written: Written): boolean {
    return writeTo(this.#response, chunk, written)
  }

  #send (framed: string | Buffer, encoding: 'latin1' | 'utf8', written: Written): boolean {
    const socket = this.#socket
    if (this.#isHeadSent) {
      socket.write(framed, encoding)
    } else {
      this.#isHeadSent = true
      socket.cork()
      FLUSH_HEADERS.call(this.#response)
      socket.write(framed, encoding)
      socket.uncork()
    }
    // Most writes are done by now, and a callback for each would cost more than they do.
    if (socket.writableLength === 0) return true
    socket.write(NOTHING, written)
    return false
  }
}
