import Fastify from 'fastify'
import * as eventStream from 'fastify-event-stream'

const options: eventStream.SseOptions = { heartbeat: 1000 }
// @ts-expect-error: a heartbeat is a number of milliseconds
export const wrong: eventStream.SseOptions = { heartbeat: 'often' }

const app = Fastify()
app.register(eventStream.ssePlugin, options)
// @ts-expect-error: the same check where the plugin is registered
app.register(eventStream.ssePlugin, { heartbeat: 'often' })
app.get('/', (request, reply) => reply.sse([{ data: request.lastEventId }]))
