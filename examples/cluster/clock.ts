import { randomUUID } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import type { Tick } from './messages'
import type { Workers } from './workers'

const EVERY_MS = 500
const AGAIN_MS = 250

/**
 * Has ticks published, numbered without a hole. A number that was not confirmed is given to the next process: whether the
 * one before got it through is not known, but its idempotency key sees to it that it is published once.
 */
export async function runClock (workers: Workers, backplane: Tick['backplane'], signal: AbortSignal): Promise<void> {
  const clock = randomUUID()
  for (let number = 1; !signal.aborted; number++) {
    await setTimeout(EVERY_MS)
    const time = Date.now()
    while (!signal.aborted && !await workers.publish({ clock, number, time, backplane, processes: workers.list })) await setTimeout(AGAIN_MS)
  }
}
