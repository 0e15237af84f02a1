import type { FastifyInstance } from 'fastify'
import { EventSchemas } from './event-schemas'
import { readLastEventId } from './last-event-id'
import { resolvePluginOptions, type PluginOptions } from './options'
import { wireRoute } from './routes'
import { EventStreams, SOURCE } from './streams'

/** Wires the event streams into a Fastify instance. */
export async function plugin (app: FastifyInstance, given: PluginOptions): Promise<void> {
  const { lastEventIdParameter, stream } = resolvePluginOptions(given)
  const streams = new EventStreams(stream)
  const schemas = new EventSchemas()
  app.decorateRequest('lastEventId', {
    getter () {
      return readLastEventId(this.headers['last-event-id'], this.url, lastEventIdParameter)
    }
  })
  app.decorateReply(SOURCE, undefined)
  app.decorateReply('sse', function (source, options) { return streams.answer(this, source, options) })

  app.addHook('onRoute', function (route) { wireRoute(this, route, stream, schemas, (reply, source, signal) => streams.answer(reply, source, undefined, signal)) })
  app.addHook('onReady', async () => { schemas.compile() })
  app.addHook('preClose', () => streams.shutdown())
}
