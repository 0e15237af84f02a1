import { cpus, freemem, totalmem } from 'node:os'
import { monitorEventLoopDelay } from 'node:perf_hooks'

/** What the machine does, and this process on it. */
export interface Sample {
  /** 1, 2, 3, …: who has received some of them can tell whether one is missing. */
  number: number
  /** When it was taken, in milliseconds since 1970. */
  time: number
  /** How busy all cores were since the sample before, 0 to 1. */
  load: number
  /** In bytes. */
  memory: { used: number, total: number }
  /** By how much the event loop was late since the sample before, in milliseconds, at worst. */
  delay: number
}

// How often the event loop is looked at, in milliseconds: its histogram counts this wait as well.
const RESOLUTION = 10

/** Measures the machine from sample to sample. */
export class Machine {
  readonly #delay = monitorEventLoopDelay({ resolution: RESOLUTION })
  #number = 0
  #times = coreTimes()

  constructor () {
    this.#delay.enable()
  }

  sample (): Sample {
    const before = this.#times
    this.#times = coreTimes()
    const passed = this.#times.all - before.all
    const idle = this.#times.idle - before.idle
    const delay = this.#delay.max / 1e6 - RESOLUTION
    this.#delay.reset()
    return {
      number: ++this.#number,
      time: Date.now(),
      load: passed === 0 ? 0 : 1 - idle / passed,
      memory: { used: totalmem() - freemem(), total: totalmem() },
      delay: Math.max(0, delay)
    }
  }
}

/** Milliseconds that all cores together have been up, and idle. */
function coreTimes (): { all: number, idle: number } {
  const times = cpus().map(({ times }) => times)
  return {
    all: times.reduce((sum, { user, nice, sys, idle, irq }) => sum + user + nice + sys + idle + irq, 0),
    idle: times.reduce((sum, { idle }) => sum + idle, 0)
  }
}
