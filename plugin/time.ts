import type { FastifyRequest } from 'fastify'
import { FST_ERR_SSE_OPTION } from './errors'
import { show } from './inspect'
import { isExpiry, MAX_DELAY } from './option-checks'
import type { Expiry, Range, SseOptions } from './options'

/** A value of milliseconds, or one drawn from a range. */
export function draw (value: number | Range): number {
  return typeof value === 'number' ? value : Math.round(value.min + Math.random() * (value.max - value.min))
}

/**
 * When a stream is to end, where `maxAge` is set.
 *
 * @throws FST_ERR_SSE_OPTION when a function for `maxAge` gives something else
 */
export function expiryOf (maxAge: SseOptions['maxAge'], request: FastifyRequest): Expiry | undefined {
  const expiry = typeof maxAge === 'function' ? maxAge(request) : maxAge
  if (expiry === undefined || isExpiry(expiry)) return expiry
  throw new FST_ERR_SSE_OPTION("the function 'maxAge' must return a positive integer of milliseconds, a valid Date or undefined", show(expiry))
}

/**
 * The moment, in milliseconds since the epoch, at which a stream that opens now is to end. A duration is cut to 80 to
 * 100 % of itself, so that clients that came together do not come back together.
 */
export function momentOf (expiry: Expiry): number {
  return typeof expiry === 'number' ? Date.now() + draw({ min: expiry * 0.8, max: expiry }) : expiry.getTime()
}

/** A timer that can wait longer than Node's, and does not keep the process alive. */
export class Alarm {
  #timer: NodeJS.Timeout | undefined

  /** Calls `ring` at a moment in milliseconds since the epoch, in place of what was set before. */
  setAt (moment: number, ring: () => void): void {
    const left = moment - Date.now()
    if (left > MAX_DELAY) this.setIn(MAX_DELAY, () => { this.setAt(moment, ring) })
    else this.setIn(Math.max(0, left), ring)
  }

  /** Calls `ring` in so many milliseconds, in place of what was set before. */
  setIn (delay: number, ring: () => void): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(ring, delay)
    this.#timer.unref()
  }

  /** Forgets the timer as well, with all that it would hold. */
  clear (): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }
}
