import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import type { Test } from 'tap'

/** A client that speaks bytes: what it has received is kept, and can be waited for. */
export class RawClient<Connection extends Duplex = Socket> {
  readonly socket: Connection
  received = ''
  /** Settles when the connection is closed; gives the error it was closed with, if any. */
  readonly closed: Promise<Error | undefined>

  constructor (socket: Connection) {
    this.socket = socket
    let failure: Error | undefined
    socket.setEncoding('utf8')
    socket.on('data', (chunk: string) => { this.received += chunk })
    socket.on('error', error => { failure = error })
    this.closed = new Promise(resolve => socket.once('close', () => { resolve(failure) }))
  }

  send (text: string): void {
    this.socket.write(text)
  }

  /** Waits until the text has arrived; fails when the connection is closed before. */
  async until (text: string): Promise<string> {
    while (!this.received.includes(text)) {
      if (this.socket.destroyed) throw new Error(`closed before ${JSON.stringify(text)}: ${this.received}`)
      await Promise.race([once(this.socket, 'data'), this.closed])
    }
    return this.received
  }
}

/** Connects to a port of loopback and sends the text, which is closed at the end of the test. */
export async function connectTo (t: Test, port: number, text = ''): Promise<RawClient> {
  const socket = connect({ host: '127.0.0.1', port })
  const client = new RawClient(socket)
  t.teardown(() => { socket.destroy() })
  await once(socket, 'connect')
  client.send(text)
  return client
}

/** As `connectTo`, over TLS. */
export async function connectSecurely (t: Test, port: number, text = ''): Promise<RawClient<TLSSocket>> {
  const socket = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false })
  const client = new RawClient(socket)
  t.teardown(() => { socket.destroy() })
  await once(socket, 'secureConnect')
  client.send(text)
  return client
}

/** A GET request as bytes. */
export function get (path: string, headers: Record<string, string> = {}, version = '1.1'): string {
  const lines = Object.entries({ host: '127.0.0.1', ...headers }).map(([name, value]) => `${name}: ${value}\r\n`)
  return `GET ${path} HTTP/${version}\r\n${lines.join('')}\r\n`
}
