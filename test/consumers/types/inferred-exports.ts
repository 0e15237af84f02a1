import Fastify from 'fastify'
import ssePlugin from 'fastify-event-stream'

// What a package that emits declarations exports without a word on its types.
const app = Fastify()
app.register(ssePlugin)

export { app, ssePlugin }
export const channels = app.sse
export const stats = app.sse.stats()
export const notes = app.sse.channel('notes')
export const ticks = app.sse.channel<{ tick: number, message: string }>('ticks')
export const typed = app.sse.channel('typed', { events: { tick: { type: 'number' } } })
export const options = ticks.options
export const publish = ticks.publish
export const ticking = ticks.subscribe({ filter: ({ event }) => event === 'tick' })
export const mapped = ticks.subscribe({ map: event => event.event === 'tick' ? { event: 'tock', data: event.data } : 'text' })
export const merged = app.sse.subscribe([ticks, notes])
export const route = app.get('/', { sse: true }, () => ticking)

export async function * follow (signal: AbortSignal) { yield * ticks.subscribe({ signal }) }

export class Clock {
  readonly channel = app.sse.channel<{ tick: number }>('clock')
  readonly read = () => this.channel.subscribe({ map: ({ data }) => ({ data }) })
}
