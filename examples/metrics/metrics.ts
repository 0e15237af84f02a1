import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { FastifyInstance } from 'fastify'
import type ssePlugin from 'fastify-event-stream'
import { Counter, Gauge, Histogram, Registry } from 'prom-client'

const CLOSED = 'fastify-event-stream:closed'

/**
 * The event streams of a server as Prometheus wants them. Numbers are taken from `app.sse.stats()` when they are asked
 * for; only how long streams live is noted as it happens.
 */
export class Metrics {
  readonly #app: FastifyInstance
  readonly #registry = new Registry()

  readonly #open = this.#gauge('sse_streams_open', 'Streams that are open')
  readonly #opened = this.#counter('sse_streams_opened_total', 'Streams that were opened')
  readonly #closed = this.#counter('sse_streams_closed_total', 'Streams that were closed or turned away, by the reason', 'reason')
  readonly #queued = this.#gauge('sse_queued_bytes', 'Bytes that wait for clients')
  readonly #events = this.#counter('sse_events_total', 'Events handed to streams')
  readonly #bytes = this.#counter('sse_bytes_total', 'Bytes of streams, those that still wait included')
  readonly #dropped = this.#counter('sse_events_dropped_total', 'Events that slow clients were not sent')
  readonly #replayed = this.#counter('sse_events_replayed_total', 'Events that clients had missed, and were sent when they came back')
  readonly #gaps = this.#counter('sse_gaps_total', 'Gaps that clients were told of, by the reason', 'reason')
  readonly #backplane = this.#gauge('sse_backplane_connected', 'Whether the backplane is connected')
  // One time series for each name: where there is a channel for each user, take only the channels that are declared.
  readonly #subscribers = this.#gauge('sse_channel_subscribers', 'Streams and iterations that read a channel', 'channel')
  readonly #published = this.#counter('sse_channel_events_total', 'Events of a channel since its first subscriber came', 'channel')
  readonly #waiting = this.#gauge('sse_channel_queued_bytes', 'Bytes of a channel that wait for its subscribers', 'channel')

  readonly #duration = new Histogram({
    name: 'sse_stream_duration_seconds',
    help: 'How long streams lived, by the reason of their end',
    labelNames: ['reason'],
    buckets: [1, 10, 60, 600, 3600, 21_600, 86_400],
    registers: [this.#registry]
  })

  constructor (app: FastifyInstance) {
    this.#app = app
    // Of all servers in this process.
    const onClosed = (message: unknown): void => {
      const { reason, duration } = message as ssePlugin.ClosedMessage
      this.#duration.observe({ reason }, duration / 1000)
    }
    subscribe(CLOSED, onClosed)
    app.addHook('onClose', async () => { unsubscribe(CLOSED, onClosed) })
  }

  get contentType (): string {
    return this.#registry.contentType
  }

  /** All of them, in the text format. */
  async text (): Promise<string> {
    this.#take(this.#app.sse.stats())
    return this.#registry.metrics()
  }

  #take ({ streams, events, bytes, dropped, replayed, gaps, backplane, channels }: ssePlugin.StatsSnapshot): void {
    this.#open.set(streams.open)
    this.#queued.set(streams.queued)
    this.#backplane.set(backplane === 'connected' ? 1 : 0)
    // Counters that somebody else counts: prom-client's can only be raised.
    for (const [counter, value] of [
      [this.#opened, streams.opened],
      [this.#events, events],
      [this.#bytes, bytes],
      [this.#dropped, dropped],
      [this.#replayed, replayed]
    ] as const) {
      counter.reset()
      counter.inc(value)
    }
    for (const [counter, values] of [[this.#closed, streams.closed], [this.#gaps, gaps]] as const) {
      counter.reset()
      for (const [reason, value] of Object.entries(values)) counter.inc({ reason }, value)
    }
    for (const metric of [this.#subscribers, this.#published, this.#waiting]) metric.reset()
    for (const [channel, { subscribers, events, queued }] of Object.entries(channels)) {
      this.#subscribers.set({ channel }, subscribers)
      this.#published.inc({ channel }, events)
      this.#waiting.set({ channel }, queued)
    }
  }

  #gauge (name: string, help: string, ...labelNames: string[]): Gauge {
    return new Gauge({ name, help, labelNames, registers: [this.#registry] })
  }

  #counter (name: string, help: string, ...labelNames: string[]): Counter {
    return new Counter({ name, help, labelNames, registers: [this.#registry] })
  }
}
