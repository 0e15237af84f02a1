/**
 * What happens on event streams, in numbers for Prometheus: gauges, counters and a histogram at `GET /metrics`.
 *
 *     npm run example:metrics        and ask as it prints; the environment's PORT and HOST are heeded
 *
 * In Prometheus:
 *
 *     scrape_configs:
 *       - job_name: event-streams
 *         static_configs: [{ targets: ['127.0.0.1:8847'] }]
 */
import fastify from 'fastify'
import ssePlugin from 'fastify-event-stream'
import { Metrics } from './metrics'

const { HOST = '127.0.0.1', PORT = '8847', LOG_LEVEL = 'warn' } = process.env

const app = fastify({ logger: { level: LOG_LEVEL }, forceCloseConnections: true })

app.register(ssePlugin)

app.after(() => {
  const ticks = app.sse.channel<{ tick: { now: string } }>('ticks', { history: { size: 60 } })

  app.get('/ticks', (_request, reply) => reply.sse(ticks))

  const timer = setInterval(() => {
    ticks.publish({ event: 'tick', data: { now: new Date().toISOString() } }).catch(error => app.log.error(error))
  }, 1000)
  app.addHook('preClose', async () => clearInterval(timer))

  const metrics = new Metrics(app)
  app.get('/metrics', async (_request, reply) => reply.type(metrics.contentType).send(await metrics.text()))
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => app.close())

app.listen({ host: HOST, port: Number(PORT) }, (error, address) => {
  if (error) throw error
  console.log(`Streams are being counted. Watch one, and look at the numbers:

  curl -N ${address}/ticks
  curl ${address}/metrics
`)
})
