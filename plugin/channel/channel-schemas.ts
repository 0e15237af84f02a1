import { SerializerSelector } from '@fastify/fast-json-stringify-compiler'
import type { FastifyInstance } from 'fastify'
import { FST_ERR_SSE_CHANNEL } from '../errors'
import type { Serializer } from '../event'
import { show } from '../inspect'
import { bySchema, type ToText } from '../to-text'

interface Waiting {
  readonly channel: string
  readonly schemas: object
  readonly serializers: Map<string, Serializer>
}

/** The event schemas of channels: compiled when the server is ready, with its serializer compiler, and from then on at once. */
export class ChannelSchemas {
  readonly #instance: FastifyInstance
  #waiting: Waiting[] = []
  #isReady = false

  constructor (instance: FastifyInstance) {
    this.#instance = instance
  }

  /** @throws FST_ERR_SSE_CHANNEL when the server is ready and a schema is broken */
  add (channel: string, schemas: object): ToText {
    const waiting = { channel, schemas, serializers: new Map<string, Serializer>() }
    if (this.#isReady) this.#compile(waiting)
    else this.#waiting.push(waiting)
    const toText = bySchema(waiting.serializers)
    return (data, event) => {
      if (this.#isReady) return toText(data, event)
      throw new FST_ERR_SSE_CHANNEL(show(channel), 'its schemas are compiled when the server is ready: publish after app.ready()')
    }
  }

  /**
   * To be called when the server is ready.
   *
   * @throws FST_ERR_SSE_CHANNEL when a schema is broken
   */
  compile (): void {
    this.#isReady = true
    for (const channel of this.#waiting.splice(0)) this.#compile(channel)
  }

  #compile ({ channel, schemas, serializers }: Waiting): void {
    // Fastify makes its own compiler with the first route that has a response schema; there may be none.
    const compile = this.#instance.serializerCompiler ?? SerializerSelector()(this.#instance.getSchemas())
    for (const [event, schema] of Object.entries(schemas)) {
      try {
        serializers.set(event, compile({ schema, method: 'GET', url: channel, httpStatus: '200' }))
      } catch (error) {
        throw new FST_ERR_SSE_CHANNEL(show(channel), `events.${event} cannot be compiled: ${error instanceof Error ? error.message : show(error)}`)
      }
    }
  }
}
