import { AsyncResource } from 'node:async_hooks'
import type { FastifyRequest } from 'fastify'
import type { CloseReason } from './close-reason'
import { StreamContext } from './context'
import { hasFeed, type Feed, type FeedContext, type Sink } from './feed'
import type { StreamSignal } from './signal'
import { discard, feedOf, type Source } from './source'
import { isThenable } from './thenable'

const UNSETTLED_MS = 5_000

/**
 * The source's side of a stream: opens the source, drains it into a sink, and tells it to stop. Whoever asks for that,
 * the source finds the AsyncLocalStorage of its own request.
 */
export class Intake {
  readonly #source: Source<unknown>
  readonly #sink: Sink
  readonly #context: FeedContext
  readonly #signal: StreamSignal
  readonly #scope: AsyncResource | undefined
  #state: 'unopened' | 'opened' | 'stopped' = 'unopened'
  #feed: Feed | undefined
  #opening: Promise<void> | undefined

  constructor (source: Source<unknown>, sink: Sink, context: FeedContext, signal: StreamSignal) {
    this.#source = source
    this.#sink = sink
    this.#context = context
    this.#signal = signal
    // A channel runs nothing of its own.
    if (!hasFeed(source)) this.#scope = new AsyncResource('event stream', { requireManualDestroy: true })
  }

  open (): void {
    this.#inScope(this.#open)
  }

  /** The sink has room again. */
  resume (): void {
    this.#inScope(this.#resume)
  }

  /** Tells the source through its signal. */
  abort (reason: CloseReason): void {
    this.#inScope(() => { this.#signal.abort(reason) })
  }

  /** The server closes. */
  leave (): void {
    this.#inScope(this.#leave)
  }

  /** Ends the draining, at once; a source that then does not come to its end is reported. */
  stop (): void {
    this.#inScope(this.#stop)
  }

  #inScope (work: (this: this) => void): void {
    if (this.#scope === undefined) work.call(this)
    else this.#scope.runInAsyncScope(work, this)
  }

  #open (): void {
    this.#state = 'opened'
    try {
      const source = typeof this.#source === 'function'
        ? this.#source(new StreamContext(this.#context.request, this.#signal))
        : this.#source
      // A channel has to be asked whether it may be read before anything is sent.
      if (!hasFeed(source)) this.#sink.prime()
      if (isThenable(source)) this.#opening = this.#drainLater(source)
      else this.#drain(source)
    } catch (error) {
      this.#sink.fail(error)
    }
  }

  #resume (): void {
    this.#feed?.resume()
  }

  #leave (): void {
    this.#signal.abort('shutdown')
    this.#feed?.leave?.()
  }

  #stop (): void {
    if (this.#state === 'unopened') discard(this.#source)
    this.#state = 'stopped'
    const settled = this.#feed?.stop() ?? this.#opening
    if (settled !== undefined) watch(settled, this.#context.request, this.#signal.reason)
  }

  async #drainLater (source: PromiseLike<unknown>): Promise<void> {
    try {
      this.#drain(await source)
    } catch (error) {
      this.#sink.fail(error)
    }
  }

  #drain (source: unknown): void {
    if (this.#state === 'stopped') return discard(source)
    this.#feed = feedOf(source, this.#sink, this.#context)
    this.#feed.resume()
  }
}

/** Holds nothing of a stream but what the warning says: there may be many that wait for theirs. */
function watch (settled: Promise<unknown>, { method, routeOptions: { url }, log }: FastifyRequest, reason: CloseReason | undefined): void {
  const route = `${method} ${url}`
  const timer = setTimeout(() => {
    log.warn({ route, reason }, 'the source of a closed event stream still runs: it should heed its signal')
  }, UNSETTLED_MS)
  timer.unref()
  void settled.finally(() => { clearTimeout(timer) })
}
