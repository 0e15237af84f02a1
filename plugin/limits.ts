import type { FastifyRequest } from 'fastify'
import { FST_ERR_SSE_OPTION } from './errors'
import { show } from './inspect'
import type { ResolvedOptions } from './options'
import { routeOf } from './routes'

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
  admit (request: FastifyRequest, options: ResolvedOptions): Place | undefined {
    // The functions for the key may throw: both are asked before a place is taken.
    const key = keyOf(request, options)
    const keyOfAll = keyOf(request, this.#registration)
    const ofRoute = this.#countOf(request)
    if (!this.#all.hasRoom(keyOfAll, this.#registration) || !ofRoute.hasRoom(key, options)) return undefined
    return new Place(this.#all, keyOfAll, ofRoute, key)
  }

  #countOf (request: FastifyRequest): Count {
    const route = routeOf(request)
    let count = this.#routes.get(route)
    if (count === undefined) this.#routes.set(route, count = new Count())
    return count
  }
}

/** @throws FST_ERR_SSE_OPTION when the function for the key gives something else */
function keyOf (request: FastifyRequest, options: ResolvedOptions): string | undefined {
  const key: unknown = options.maxStreamsPerKey === Infinity ? undefined : options.key?.(request)
  if (key === undefined || typeof key === 'string') return key
  throw new FST_ERR_SSE_OPTION("the function 'key' must return a string or undefined", show(key))
}

/** The place of a stream among all streams and among those of its route. */
export class Place {
  readonly #all: Count
  readonly #keyOfAll: string | undefined
  readonly #ofRoute: Count
  readonly #key: string | undefined

  constructor (all: Count, keyOfAll: string | undefined, ofRoute: Count, key: string | undefined) {
    this.#all = all
    this.#keyOfAll = keyOfAll
    this.#ofRoute = ofRoute
    this.#key = key
    all.add(keyOfAll)
    ofRoute.add(key)
  }

  /** Gives the place back. To be called once. */
  release (): void {
    this.#all.remove(this.#keyOfAll)
    this.#ofRoute.remove(this.#key)
  }
}

class Count {
  #open = 0
  readonly #byKey = new Map<string, number>()

  hasRoom (key: string | undefined, { maxStreams, maxStreamsPerKey }: ResolvedOptions): boolean {
    return this.#open < maxStreams && (key === undefined || this.#ofKey(key) < maxStreamsPerKey)
  }

  add (key: string | undefined): void {
    this.#open++
    if (key !== undefined) this.#byKey.set(key, this.#ofKey(key) + 1)
  }

  remove (key: string | undefined): void {
    this.#open--
    if (key === undefined) return
    const left = this.#ofKey(key) - 1
    if (left > 0) this.#byKey.set(key, left)
    else this.#byKey.delete(key)
  }

  #ofKey (key: string): number {
    return this.#byKey.get(key) ?? 0
  }
}
