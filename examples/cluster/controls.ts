import type { FastifyInstance, FastifyReply } from 'fastify'
import type { Report } from './messages'

interface PidRoute {
  Params: { pid: number }
}

const params = { type: 'object', properties: { pid: { type: 'integer', minimum: 1 } } }

/** The buttons that end processes. The primary does it, and only to processes that it has started. */
export async function controls (app: FastifyInstance): Promise<void> {
  // From this machine alone, and from no page of somebody else's that is open in a browser on it.
  app.addHook('onRequest', async ({ ip, headers }, reply) => {
    const isNear = /^(::ffff:)?127\.|^::1$/.test(ip)
    if (!isNear || !['same-origin', undefined].includes(headers['sec-fetch-site']?.toString())) {
      return reply.code(403).send(new Error('Only the page itself, on this machine, may do that'))
    }
  })

  app.post<PidRoute>('/processes/:pid/kill', { schema: { params } }, ({ params: { pid } }, reply) => tell(reply, { type: 'kill', pid }))
  app.post('/processes/restart', (_request, reply) => tell(reply, { type: 'restart' }))

  function tell (reply: FastifyReply, report: Report): FastifyReply {
    process.send?.(report)
    return reply.code(202).send()
  }
}
