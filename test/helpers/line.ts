import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import type { PluginOptions } from '../../plugin/types'
import { selfSigned } from './certificate'
import { readFrom, type ChunkReader } from './chunks'
import { serve, type Served } from './serve'
import { get } from './socket'

// A chunk with its size before it, in one piece: a response writes the two apart.
const FRAME = /^[1-9a-f][0-9a-f]*\r\n[^]/

export interface LineKind {
  /** Whether events go by the `write` of the response, as they do where somebody has come between. */
  isPlain: boolean
  secure: boolean
}

export interface OnLine extends Served {
  client: ChunkReader
}

/** Servers of one test, whose streams all take one kind of line to their client. */
export class Line {
  readonly kind: LineKind
  readonly #t: Test
  #frames = 0
  #corked = 0
  #calls = 0

  constructor (t: Test, kind: LineKind) {
    this.#t = t
    this.kind = kind
  }

  /** Starts a server, and a client that has sent a request. */
  async open (routes: (app: FastifyInstance) => unknown, plugin: PluginOptions = {}, request = get('/')): Promise<OnLine> {
    const { isPlain, secure } = this.kind
    const served = await serve(this.#t, app => {
      watchSockets(app, isCorked => {
        this.#frames++
        if (isCorked) this.#corked++
      })
      if (isPlain) comeBetween(app, () => { this.#calls++ })
      app.get('/alive', async () => 'alive')
      return routes(app)
    }, { plugin, fastify: (secure ? { https: selfSigned() } : {}) as object })
    const client = await readFrom(this.#t, served.port, request, { secure })
    return { ...served, client }
  }

  /** How many times a stream was written to so far, whichever way. */
  get writes (): number {
    return this.#frames + this.#calls
  }

  /** How many of them went to the socket itself, together with something else. */
  get corked (): number {
    return this.#corked
  }

  /** Asserts that the line meant is the one that was used. */
  prove (): void {
    const { isPlain } = this.kind
    this.#t.equal(this.#frames > 0, !isPlain, `${this.#frames} frames were written to the socket`)
    this.#t.equal(this.#calls > 0, isPlain, `the response was called ${this.#calls} times`)
  }
}

/** Tells of each whole chunk that is written to a socket in one piece; changes nothing. */
export function watchSockets (app: FastifyInstance, framed: (isCorked: boolean) => void): void {
  const seen = new WeakSet<Socket>()
  app.addHook('onRequest', async ({ raw: { socket } }) => {
    if (seen.has(socket)) return
    seen.add(socket)
    const { write } = socket
    socket.write = (...args: unknown[]): boolean => {
      if (isFrame(args[0])) framed(socket.writableCorked > 0)
      return Reflect.apply(write, socket, args)
    }
  })
}

/** Puts a function in the place of each `raw.write`, as tools do that look at bodies. */
function comeBetween (app: FastifyInstance, called: () => void): void {
  app.addHook('onRequest', async (request, { raw }) => {
    const { write } = raw
    raw.write = (...args: unknown[]): boolean => {
      called()
      return Reflect.apply(write, raw, args)
    }
  })
}

function isFrame (chunk: unknown): boolean {
  return FRAME.test(chunk instanceof Uint8Array ? Buffer.from(chunk.subarray(0, 16)).toString('latin1') : String(chunk))
}
