import { ssePlugin } from 'fastify-event-stream'
import serve from './serve.cjs'

await serve(ssePlugin)
