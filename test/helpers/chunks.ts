import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { Test } from 'tap'

const CRLF = '\r\n'

/**
 * A client that takes the chunks of HTTP/1.1 responses apart by hand (RFC 9112 7.1), byte by byte, and reads from its
 * connection only what it is asked for.
 */
export class ChunkReader {
  readonly socket: Socket
  readonly #pieces: AsyncIterator<Buffer>
  #bytes: Buffer = Buffer.alloc(0)

  constructor (socket: Socket) {
    this.socket = socket
    this.#pieces = socket[Symbol.asyncIterator]()
  }

  send (text: string): void {
    this.socket.write(text)
  }

  /** The status line and the headers of the next response. */
  async head (): Promise<string> {
    return this.#until(CRLF + CRLF)
  }

  /** The data of the next chunk, or `undefined` for the last chunk, behind which the trailer section is to be read. */
  async chunk (): Promise<Buffer | undefined> {
    const size = await this.#until(CRLF)
    const length = Number.parseInt(size, 16)
    if (length.toString(16) !== size) throw new Error(`no chunk size: ${JSON.stringify(size)}`)
    if (length === 0) return undefined
    const data = await this.take(length)
    const end = String(await this.take(CRLF.length))
    if (end !== CRLF) throw new Error(`no end of a chunk: ${JSON.stringify(end)}`)
    return data
  }

  /** All chunks to the end of the response, which has no trailers. */
  async chunks (): Promise<Buffer[]> {
    const chunks = []
    for (let chunk = await this.chunk(); chunk !== undefined; chunk = await this.chunk()) chunks.push(chunk)
    const trailers = await this.trailers()
    if (trailers !== '') throw new Error(`trailers: ${trailers}`)
    return chunks
  }

  /** The text of all chunks to the end of the response. */
  async body (): Promise<string> {
    return String(Buffer.concat(await this.chunks()))
  }

  async trailers (): Promise<string> {
    let trailers = ''
    for (let line = await this.#until(CRLF); line !== ''; line = await this.#until(CRLF)) trailers += line + CRLF
    return trailers
  }

  /** All that comes until the connection is closed. */
  async rest (): Promise<string> {
    while (await this.#read());
    return String(this.#bytes)
  }

  /** Reads until the connection is closed and gives the chunks that came; fails when the response comes to its end. */
  async torn (): Promise<string> {
    const chunks: Buffer[] = []
    try {
      for (let chunk = await this.chunk(); chunk !== undefined; chunk = await this.chunk()) chunks.push(chunk)
    } catch (error) {
      if (error instanceof Closed) return String(Buffer.concat(chunks))
      throw error
    }
    throw new Error('not torn, but ended')
  }

  async take (length: number): Promise<Buffer> {
    while (this.#bytes.length < length) await this.#more()
    const taken = this.#bytes.subarray(0, length)
    this.#bytes = this.#bytes.subarray(length)
    return taken
  }

  async #until (text: string): Promise<string> {
    let at = this.#bytes.indexOf(text)
    for (; at < 0; at = this.#bytes.indexOf(text)) await this.#more()
    const taken = String(await this.take(at))
    await this.take(text.length)
    return taken
  }

  async #more (): Promise<void> {
    if (!await this.#read()) throw new Closed(`closed after ${JSON.stringify(String(this.#bytes))}`)
  }

  async #read (): Promise<boolean> {
    const piece = await this.#pieces.next().catch(() => undefined)
    if (piece === undefined || piece.done) return false
    this.#bytes = Buffer.concat([this.#bytes, piece.value])
    return true
  }
}

class Closed extends Error {}

/** Connects to a port of loopback and sends the text; the connection is closed at the end of the test. */
export async function readFrom (t: Test, port: number, text: string, { secure = false } = {}): Promise<ChunkReader> {
  const address = { host: '127.0.0.1', port }
  const socket = secure ? connectTls({ ...address, rejectUnauthorized: false }) : connect(address)
  const reader = new ChunkReader(socket)
  t.teardown(() => { socket.destroy() })
  await once(socket, secure ? 'secureConnect' : 'connect')
  reader.send(text)
  return reader
}
