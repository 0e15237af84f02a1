import type { FastifyRequest } from 'fastify'
import type { ResolvedOptions } from './options'

/** Gives back the place that a stream had taken. */
export type Release = () => void

/**
 * Counts open streams against `maxStreams` and `maxStreamsPerKey`: those of the registration against all streams,
 * those of a route against the streams of that route.
 */
export class Limits {
  readonly #registration: ResolvedOptions
  readonly #all = new Count()
  readonly #routes = new WeakMap<object, Count>()

  constructor (registration: ResolvedOptions) {
    this.#registration = registration
  }

  /** Takes a place for a stream, or gives nothing back when there is none left. */
  admit (request: FastifyRequest, options: ResolvedOptions): Release | undefined {
    // The functions for the key may throw: both are asked before a place is taken.
    const key = keyOf(request, options)
    const releaseAll = this.#all.take(keyOf(request, this.#registration), this.#registration)
    if (releaseAll === undefined) return undefined
    const releaseRoute = this.#countOf(request).take(key, options)
    if (releaseRoute !== undefined) return () => { releaseAll(); releaseRoute() }
    releaseAll()
    return undefined
  }

  #countOf (request: FastifyRequest): Count {
    const { config } = request.routeOptions
    let count = this.#routes.get(config)
    if (count === undefined) this.#routes.set(config, count = new Count())
    return count
  }
}

function keyOf (request: FastifyRequest, { key, maxStreamsPerKey }: ResolvedOptions): string | undefined {
  return maxStreamsPerKey === Infinity ? undefined : key?.(request)
}

class Count {
  #open = 0
  readonly #byKey = new Map<string, number>()

  take (key: string | undefined, { maxStreams, maxStreamsPerKey }: ResolvedOptions): Release | undefined {
    if (this.#open >= maxStreams) return undefined
    if (key === undefined) {
      this.#open++
      return () => { this.#open-- }
    }
    const ofKey = this.#byKey.get(key) ?? 0
    if (ofKey >= maxStreamsPerKey) return undefined
    this.#open++
    this.#byKey.set(key, ofKey + 1)
    return () => {
      this.#open--
      const left = (this.#byKey.get(key) ?? 0) - 1
      if (left > 0) this.#byKey.set(key, left)
      else this.#byKey.delete(key)
    }
  }
}
