import { OutgoingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import type { FastifyReply } from 'fastify'

const CRLF = Buffer.from('\r\n')

/** What a body is piped to: a response, or a transform on the way to it. */
export interface Target {
  write (chunk: string | Uint8Array, encoding: 'utf8', written: Written): unknown
  end (): unknown
  /** Transforms that hold data back, as those of node:zlib do, let it go with this. */
  flush? (flushed?: () => void): unknown
  destroy? (error?: Error): unknown
  listenerCount (event: string): number
}

/** Called when the system has taken what was written, or will not. */
export type Written = (error?: Error | null) => void

/** How the pieces of an event stream are written to its client. */
export interface Line {
  /** @param length of the chunk, in bytes */
  write (chunk: string | Buffer, length: number, written: Written): void
}

/**
 * The shortest line to the client, when the head is written: to the socket where the response is one of HTTP/1.1 in
 * chunks that nobody has come between, else as the target itself writes.
 */
export function lineTo (target: Target, { raw }: FastifyReply): Line {
  const isPlain = target !== raw || !(raw instanceof ServerResponse) || !(raw.socket instanceof Socket) ||
    !raw.chunkedEncoding || raw.write !== OutgoingMessage.prototype.write
  return isPlain ? new TargetLine(target) : new SocketLine(raw, raw.socket)
}

/** Any response, or a transform before it. */
class TargetLine implements Line {
  readonly #target: Target

  constructor (target: Target) {
    this.#target = target
  }

  write (chunk: string | Buffer, _length: number, written: Written): void {
    this.#target.write(chunk, 'utf8', written)
    this.#target.flush?.()
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

  write (chunk: string | Buffer, length: number, written: Written): void {
    const socket = this.#socket
    // One that the client has ended takes no more, and is about to close.
    if (!socket.writable) return
    if (this.#isHeadSent) return this.#frame(chunk, length, written)
    this.#isHeadSent = true
    socket.cork()
    this.#response.flushHeaders()
    this.#frame(chunk, length, written)
    socket.uncork()
  }

  #frame (chunk: string | Buffer, length: number, written: Written): void {
    const size = `${length.toString(16)}\r\n`
    if (typeof chunk === 'string') {
      this.#socket.write(`${size}${chunk}\r\n`, length === chunk.length ? 'latin1' : 'utf8', written)
    } else {
      this.#socket.write(Buffer.concat([Buffer.from(size), chunk, CRLF]), written)
    }
  }
}
