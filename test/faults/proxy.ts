import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** A port in front of another, whose connections can be cut, also in the middle of what is answered over them. */
export class Proxy {
  /** The port that new connections go to. */
  target: number
  /** How many connections were cut in the middle of an answer. */
  cuts = 0
  readonly #server = createServer(socket => { this.#connect(socket) })
  readonly #sockets = new Set<Socket>()
  /** Bytes that are still answered before a connection is cut. */
  #left = Infinity

  private constructor (target: number) {
    this.target = target
  }

  static async open (target: number): Promise<Proxy> {
    const proxy = new Proxy(target)
    await once(proxy.#server.listen(0, '127.0.0.1'), 'listening')
    return proxy
  }

  get port (): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** The connection that brings the byte after so many is cut there: what comes with that byte is answered in part. */
  cutAfter (bytes: number): void {
    this.#left = bytes
  }

  /** Cuts all connections. */
  drop (): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  close (): void {
    this.#server.close()
    this.drop()
  }

  #connect (near: Socket): void {
    const far = connect({ host: '127.0.0.1', port: this.target })
    for (const [socket, other] of [[near, far], [far, near]] as const) {
      this.#sockets.add(socket)
      socket.setNoDelay(true)
      socket.on('error', () => {})
      socket.on('close', () => {
        this.#sockets.delete(socket)
        other.destroy()
      })
    }
    near.pipe(far)
    far.on('data', (chunk: Buffer) => { this.#answer(chunk, near, far) })
    near.on('drain', () => { far.resume() })
    far.on('end', () => { near.end() })
  }

  #answer (chunk: Buffer, near: Socket, far: Socket): void {
    if (chunk.length > this.#left) {
      near.end(chunk.subarray(0, this.#left))
      far.destroy()
      this.#left = Infinity
      this.cuts++
      return
    }
    this.#left -= chunk.length
    if (!near.write(chunk)) far.pause()
  }
}
