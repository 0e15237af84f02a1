import * as eventStream from 'fastify-event-stream'
import serve from './serve.cjs'

await serve(eventStream.ssePlugin)
await serve(eventStream.default)
