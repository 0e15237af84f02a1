import Fastify, { type FastifyHttpOptions, type FastifyInstance } from 'fastify'
import type { AddressInfo } from 'node:net'
import type { Server } from 'node:http'
import type { Test } from 'tap'
import ssePlugin from '../../plugin/index'
import { Lines } from './lines'

export interface Served {
  app: FastifyInstance
  port: number
  url: string
  /** Every line of the server's log, from debug on, as an object. */
  log: Lines
}

export interface Options {
  plugin?: ssePlugin.PluginOptions
  fastify?: FastifyHttpOptions<Server>
  /** Default: a free one. */
  port?: number
}

/** Starts a server with the plugin on a port of loopback, and closes it at the end of the test. */
export async function serve (t: Test, routes: (app: FastifyInstance) => unknown, { plugin = {}, fastify, port: wanted = 0 }: Options = {}): Promise<Served> {
  const log = new Lines()
  const app = Fastify({ ...fastify, logger: { level: 'debug', stream: log } })
  t.teardown(() => app.close())
  await app.register(ssePlugin, plugin)
  await routes(app)
  await app.listen({ host: '127.0.0.1', port: wanted })
  const { port } = app.server.address() as AddressInfo
  return { app, port, url: `http://127.0.0.1:${port}`, log }
}
