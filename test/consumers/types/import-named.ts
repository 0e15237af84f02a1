import Fastify from 'fastify'
import { ssePlugin, type SseOptions, type SseRouteHandler } from 'fastify-event-stream'

const options: SseOptions = { heartbeat: 1000 }
// @ts-expect-error: a heartbeat is a number of milliseconds
export const wrong: SseOptions = { heartbeat: 'often' }

const app = Fastify()
app.register(ssePlugin, options)
// @ts-expect-error: the same check where the plugin is registered
app.register(ssePlugin, { heartbeat: 'often' })
app.get('/', (request, reply) => reply.sse([{ data: request.lastEventId }]))
app.get('/fetched', (request, reply) => reply.sse(async () => (await fetch(request.url)).body ?? []))

const clock: SseRouteHandler<{ Events: { tick: number } }> = async function * (request, reply, stream) {
  if (!stream.signal.aborted) yield { event: 'tick', data: Date.now() }
}
app.get<{ Events: { tick: number } }>('/clock', { sse: true }, clock)
app.post('/clock', { sse: options, schema: { events: { tick: {} } } }, async function * (request, reply, stream) {
  yield { event: 'tick', data: stream.lastEventId }
})
// @ts-expect-error: the schema has no such event
app.post('/clock', { sse: true, schema: { events: { tick: {} } } }, async function * (request) { yield { event: 'tock', data: 1 } })
// @ts-expect-error: an option that does not exist
app.get('/clock', { sse: { hartbeat: 1 } }, async function * (request) { yield request.lastEventId })
// @ts-expect-error: a third argument is for routes with sse
app.get('/clock', {}, async (request, reply, stream) => {})
