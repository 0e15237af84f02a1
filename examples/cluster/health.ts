import type { FastifyInstance } from 'fastify'

/** Two routes for whoever runs the process: an orchestrator, a load balancer. */
export async function health (app: FastifyInstance): Promise<void> {
  app.addHook('onSend', async (_request, reply) => { reply.header('cache-control', 'no-store') })

  /** Whether the process is to be left alone. Not a word of Redis: to start anew would not bring it back. */
  app.get('/live', async () => ({ pid: process.pid }))

  /**
   * Whether new clients are to be sent here.
   *
   * While the backplane is away the process is not ready: it could neither say what a client has missed nor publish. Yet
   * it keeps the streams that are open. They lose nothing, since they go on where they were as soon as the backplane is
   * back; to end them would send all clients to processes that share the same Redis and are no better off, and to a storm
   * of reconnections at the moment it returns. So whoever asks here must not cut connections for a 503, only open no more.
   */
  app.get('/ready', async (_request, reply) => {
    const { backplane } = app.sse.stats()
    return reply.code(backplane === 'connected' ? 200 : 503).send({ pid: process.pid, backplane })
  })
}
