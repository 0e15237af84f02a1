import Fastify from 'fastify'
import { ssePlugin, type SseOptions } from 'fastify-event-stream'

const options: SseOptions = { heartbeat: 1000 }
// @ts-expect-error: a heartbeat is a number of milliseconds
export const wrong: SseOptions = { heartbeat: 'often' }

const app = Fastify()
app.register(ssePlugin, options)
// @ts-expect-error: the same check where the plugin is registered
app.register(ssePlugin, { heartbeat: 'often' })
app.get('/', (request, reply) => reply.sse([{ data: request.lastEventId }]))
