/** What a heartbeat keeps warm. */
export interface Quiet {
  /** Called when nothing was sent for almost `heartbeat` milliseconds. */
  onQuiet (): void
  /** How many quarters of the interval have passed since something was sent; to be set to 0 with every write. */
  quietFor: number
}

const QUARTERS = 4

/**
 * Watches streams for silence: one timer for all that share an interval. It ticks four times in an interval and counts
 * the silent ticks, so that sending costs one assignment, and no stream is quiet for longer than the interval.
 */
export class Heartbeats {
  readonly #rounds = new Map<number, Round>()

  add (stream: Quiet, interval: number): void {
    let round = this.#rounds.get(interval)
    if (round === undefined) {
      const streams = new Set<Quiet>()
      const timer = setInterval(tick, Math.max(1, Math.floor(interval / QUARTERS)), streams)
      timer.unref()
      round = { streams, timer }
      this.#rounds.set(interval, round)
    }
    round.streams.add(stream)
  }

  /** @param interval the one it was added with; a stream that was not added is nothing to remove */
  remove (stream: Quiet, interval: number | false): void {
    if (interval === false) return
    const round = this.#rounds.get(interval)
    if (round === undefined || !round.streams.delete(stream) || round.streams.size > 0) return
    clearInterval(round.timer)
    this.#rounds.delete(interval)
  }
}

interface Round {
  streams: Set<Quiet>
  timer: NodeJS.Timeout
}

function tick (streams: Set<Quiet>): void {
  for (const stream of streams) {
    if (++stream.quietFor < QUARTERS) continue
    stream.quietFor = 0
    stream.onQuiet()
  }
}
