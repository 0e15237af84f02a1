import { setTimeout } from 'node:timers/promises'
import type { ProcessStatus, Report, Tick } from './messages'
import { ClusterWorker } from './worker'

// How long to wait before a process that could not start is started again: it cannot while Redis is away.
const AGAIN_MS = 1000

/** The processes that serve. One that dies is replaced. */
export class Workers {
  readonly #envs: ReadonlyArray<Record<string, string>>
  // In the order of their places, each with the newest of its processes last.
  readonly #places: ClusterWorker[][]
  #turn = 0
  #isEnding = false
  #isRestarting = false

  /** @param envs a process is started for each, with these variables in its environment */
  constructor (envs: ReadonlyArray<Record<string, string>>) {
    this.#envs = envs
    this.#places = envs.map(() => [])
  }

  /** Starts all of them. */
  async start (): Promise<void> {
    const started = await Promise.all(this.#envs.map((_, place) => this.#fork(place).started()))
    if (started.includes(false)) throw new Error('A process could not start')
  }

  get list (): ProcessStatus[] {
    return this.#places.flat().map(({ status }) => status)
  }

  /** Has a tick published by a process, each time by another. */
  async publish (tick: Tick): Promise<boolean> {
    const serving = this.#places.flat().filter(({ isServing }) => isServing)
    return await serving[this.#turn++ % serving.length]?.publish(tick) ?? false
  }

  /** Starts a new process in each place, waits until it serves, and closes the old one; then goes on to the next. */
  async restartAll (): Promise<void> {
    if (this.#isRestarting) return
    this.#isRestarting = true
    for (const [place, [old]] of this.#places.entries()) {
      // Where there is none that serves, a new one is being started already.
      if (old?.isServing === true && await this.#forkUntilStarted(place)) await old.close()
    }
    this.#isRestarting = false
  }

  async end (): Promise<void> {
    this.#isEnding = true
    await Promise.all(this.#places.flat().map(worker => worker.close()))
  }

  #fork (place: number): ClusterWorker {
    const worker = new ClusterWorker({ ...this.#envs[place] })
    const workers = this.#places[place] ?? []
    workers.push(worker)
    worker.onReport(report => this.#heard(report))
    this.#replaceWhenGone(worker, workers, place).catch(error => { console.error(error) })
    return worker
  }

  async #replaceWhenGone (worker: ClusterWorker, workers: ClusterWorker[], place: number): Promise<void> {
    await worker.exited()
    workers.splice(workers.indexOf(worker), 1)
    // It was not told to end, and none is there to follow it.
    if (worker.isServing && workers.length === 0) await this.#forkUntilStarted(place)
  }

  async #forkUntilStarted (place: number): Promise<boolean> {
    while (!this.#isEnding) {
      const worker = this.#fork(place)
      if (await worker.started()) {
        console.log(`Process ${worker.pid} serves now`)
        return true
      }
      await setTimeout(AGAIN_MS)
    }
    return false
  }

  #heard (report: Report): void {
    if (report.type === 'restart') {
      this.restartAll().catch(error => { console.error(error) })
    } else if (report.type === 'kill') {
      // The number came from a browser: only what was started here is ever ended.
      this.#places.flat().find(({ pid }) => pid === report.pid)?.kill()
    }
  }
}
