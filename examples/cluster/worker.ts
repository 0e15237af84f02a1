import cluster, { type Worker } from 'node:cluster'
import { once } from 'node:events'
import type { ProcessStatus, Report, Tick } from './messages'

// How long a process may take, in milliseconds, to publish a tick, and to close.
const PUBLISH_MS = 3000
const CLOSE_MS = 8000

/** A process of the cluster, as the primary sees it. */
export class ClusterWorker {
  readonly pid: number
  readonly #worker: Worker
  readonly #since = Date.now()
  readonly #exited: Promise<unknown>
  #state: ProcessStatus['state'] = 'starting'
  #streams = 0

  constructor (env: Record<string, string>) {
    this.#worker = cluster.fork(env)
    this.pid = this.#worker.process.pid ?? NaN
    this.#exited = once(this.#worker, 'exit')
  }

  get status (): ProcessStatus {
    return { pid: this.pid, state: this.#state, since: this.#since, streams: this.#streams }
  }

  get isServing (): boolean {
    return this.#state === 'serving'
  }

  onReport (heard: (report: Report) => void): void {
    this.#worker.on('message', heard)
  }

  /** Resolves when it takes connections, with `false` when it has ended before. */
  async started (): Promise<boolean> {
    const isListening = await Promise.race([once(this.#worker, 'listening').then(() => true), this.exited().then(() => false)])
    if (isListening && this.#state === 'starting') this.#state = 'serving'
    return isListening
  }

  async exited (): Promise<void> {
    await this.#exited
  }

  /** Has it publish a tick. Whether it did is not known when it dies meanwhile, or does not answer: then it is `false`. */
  publish (tick: Tick): Promise<boolean> {
    return new Promise(resolve => {
      const settle = (isPublished: boolean): void => {
        clearTimeout(timer)
        this.#worker.off('message', heard)
        this.#worker.off('exit', gone)
        resolve(isPublished)
      }
      const heard = (report: Report): void => {
        if (report.type !== 'tick' || report.number !== tick.number) return
        this.#streams = report.streams
        settle(report.isPublished)
      }
      const gone = (): void => settle(false)
      const timer = setTimeout(gone, PUBLISH_MS)
      this.#worker.on('message', heard)
      this.#worker.on('exit', gone)
      this.#worker.send(tick, error => { if (error !== null) gone() })
    })
  }

  /** Has it end its streams and exit; if need be, it is made to. */
  async close (): Promise<void> {
    this.#state = 'closing'
    this.#worker.process.kill('SIGTERM')
    const timer = setTimeout(() => this.kill(), CLOSE_MS)
    await this.exited()
    clearTimeout(timer)
  }

  kill (): void {
    this.#worker.process.kill('SIGKILL')
  }
}
