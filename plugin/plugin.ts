import type { FastifyInstance } from 'fastify'
import { ChannelSchemas } from './channel/channel-schemas'
import { EventChannels } from './channel/channels'
import { Flows } from './channel/flows'
import { EventSchemas } from './event-schemas'
import { readLastEventId } from './last-event-id'
import { resolvePluginOptions, type PluginOptions } from './options'
import { wireRoute } from './routes'
import { EventStreams, SOURCE } from './streams'

/** Wires the event streams into a Fastify instance. */
export async function plugin (app: FastifyInstance, given: PluginOptions): Promise<void> {
  const { lastEventIdParameter, backplane, maxChannels, stream } = resolvePluginOptions(given, Number(app.initialConfig.pluginTimeout))
  const flows = new Flows(backplane, maxChannels)
  const streams = new EventStreams(stream, flows.stats)
  const channelSchemas = new ChannelSchemas(app)
  const channels = new EventChannels({
    flows,
    backplane,
    options: stream,
    compile: (channel, schemas) => channelSchemas.add(channel, schemas),
    totals: () => streams.totals
  })
  const schemas = new EventSchemas(app)
  app.decorateReply('sse', function (source, options) { return streams.answer(this, source, options) })
  app.decorate('sse', channels)
  app.decorateReply(SOURCE, undefined)
  app.decorateRequest('lastEventId', {
    getter () {
      return readLastEventId(this.headers['last-event-id'], this.url, lastEventIdParameter)
    }
  })

  app.addHook('onRoute', function (route) { wireRoute(this, route, stream, schemas, (reply, source, signal) => streams.answer(reply, source, undefined, signal)) })
  backplane.onStateChange(state => { flows.stats.backplane(state) })
  app.addHook('onReady', async () => {
    await backplane.start?.()
    schemas.compile()
    channelSchemas.compile()
    channels.ready()
  })
  app.addHook('preClose', () => streams.shutdown())
  app.addHook('onClose', async () => {
    flows.close()
    await backplane.close()
  })
}
