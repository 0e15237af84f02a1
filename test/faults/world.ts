import { setTimeout } from 'node:timers/promises'
import { fromId } from '../../plugin/channel/position'
import { Application, type Outcome, type Sample } from './application'
import { Crowd } from './crowd'
import { type Change, Chronicle } from './chronicle'
import { Random } from './random'
import { Store } from './store'
import { Tally } from './tally'

const TIMEOUT = 2_000
const HEARTBEAT = 1_000
// What may come on top of these, on a machine that has other things to do as well.
const LATE = 1_500
const QUIET = 5_000
const LONGEST_EXIT = 10_000
// Events a second that each process publishes.
const RATE = 25
// Bytes of heap and buffers of one process.
const MOST_MEMORY = 256 * 2 ** 20
const HISTORIES = { orders: { size: 1_000 }, prices: { size: 1_000 }, news: { size: 1_000 }, chat: { size: 20 }, bulk: { size: 50 } }
const LOADED = ['orders', 'prices', 'news', 'chat']

/** Three processes over one Redis, their clients, and what is seen of them. It fails as soon as something is wrong. */
export class World {
  readonly store: Store
  readonly applications: readonly Application[]
  readonly channels = Object.keys(HISTORIES)
  readonly crowd: Crowd
  /** What is seen now. */
  tally = new Tally('')
  readonly #chronicles = new Map(Object.entries(HISTORIES).map(([channel, { size }]) => [channel, new Chronicle(size)]))
  readonly #watch: NodeJS.Timeout
  #isLoaded = false
  #failure: Error | undefined

  private constructor (store: Store, seed: number) {
    this.store = store
    const outcome = (outcome: Outcome): void => { this.#attempt(() => { this.#published(outcome) }) }
    const sample = (sample: Sample): void => { this.#attempt(() => { this.#sampled(sample) }) }
    const failed = (error: Error): void => { this.#failure ??= error }
    this.applications = store.proxies.map(({ port }, index) => new Application({
      name: `p${index}r`, library: index === 0 ? 'ioredis' : 'redis', redisPort: port, timeout: TIMEOUT, heartbeat: HEARTBEAT, histories: HISTORIES
    }, { outcome, sample, state: state => { if (state === 'degraded') this.tally.degraded++ }, failed }))
    const random = new Random(seed)
    this.crowd = new Crowd(this.#chronicles, random, {
      port: () => random.pick(this.applications.filter(({ isUp }) => isUp)).port,
      opened: () => { this.tally.opened++ },
      // Who is too slow for what is large is sent away, and comes back for the rest.
      lost: channels => { if (!channels.includes('bulk')) this.tally.lost++ },
      delivered: (gap, silence) => { this.tally.delivered(gap, silence) },
      failed
    })
    this.#watch = setInterval(() => { this.#attempt(() => { this.#look() }) }, 500)
  }

  static async open (seed: number): Promise<World> {
    return new World(await Store.open(3), seed)
  }

  /** Says that the epochs of all channels are about to change, and how. */
  expect (changes: readonly Change[]): void {
    this.channels.forEach((channel, index) => { this.#chronicles.get(channel)?.expect(changes[index] ?? 'lost') })
  }

  /** Says that all channels may have another epoch from now on, but lose nothing. */
  allow (): void {
    for (const chronicle of this.#chronicles.values()) chronicle.allow()
  }

  async wait (milliseconds: number): Promise<void> {
    const end = performance.now() + milliseconds
    while (performance.now() < end) await this.#pause()
  }

  /** @throws when it is not so in time */
  async until (isSo: () => boolean, milliseconds: number, rule: () => string): Promise<void> {
    const end = performance.now() + milliseconds
    while (!isSo()) {
      if (performance.now() > end) throw new Error(`not within ${milliseconds} ms: ${rule()}`)
      await this.#pause()
    }
  }

  /** Waits for something, while nothing is wrong. */
  async settled<Value> (promise: Promise<Value>, milliseconds: number, rule: string): Promise<Value> {
    let isSettled = false
    promise.catch(() => {}).finally(() => { isSettled = true })
    await this.until(() => isSettled, milliseconds, () => rule)
    return await promise
  }

  /** Starts an application that is down, with its share of the load. */
  async start (application: Application): Promise<void> {
    await application.start()
    if (this.#isLoaded) await application.load(RATE, LOADED)
  }

  /** @throws when a process that is told to end does not do so by itself, well and in time */
  async leave (application: Application): Promise<void> {
    const { ms, code, signal } = await application.leave(LONGEST_EXIT)
    if (code !== 0) throw new Error(`a process ended by ${String(code ?? signal)}, ${Math.round(ms)} ms after it was told to`)
    this.tally.exit = Math.max(this.tally.exit, ms)
  }

  /** Begins to publish, or ends when all is settled that was begun. */
  async load (isLoaded: boolean): Promise<void> {
    this.#isLoaded = isLoaded
    const settled = Promise.all(this.applications.map(application => application.load(isLoaded ? RATE : 0, LOADED)))
    await this.settled(settled, 30_000, 'everything that is being published is confirmed or rejected')
  }

  /** Publishes an event to each channel. */
  async publish (): Promise<void> {
    const [application] = this.applications
    const published = Promise.all(this.channels.map(channel => application?.publish(channel)))
    await this.settled(published, 20_000, 'an event to each channel is confirmed')
  }

  /** Has more published at once than may be under way. */
  flood (application: Application): void {
    application.flood('bulk', 1_200, 60_000)
  }

  /** All that was published is known, and is right. */
  assertSettled (): void {
    for (const [channel, chronicle] of this.#chronicles) {
      try {
        chronicle.assertSettled()
      } catch (error) {
        throw new Error(`${channel}: ${error instanceof Error ? error.message : String(error)}`)
      }
    }
  }

  /** What is held for clients. */
  async left (): Promise<unknown[]> {
    const samples = await this.settled(Promise.all(this.applications.map(application => application.sample())), 5_000, 'all processes answer')
    const held = samples.flatMap(({ open, read }) => [...open > 0 ? [`${open} streams`] : [], ...read])
    return [...held, ...await this.store.subscriptions()]
  }

  async close (): Promise<void> {
    clearInterval(this.#watch)
    this.crowd.leave()
    await Promise.all(this.applications.map(application => application.kill()))
    await this.store.close()
  }

  #published (outcome: Outcome): void {
    this.tally.published(outcome)
    const { channel, serial, id, code, ms, late, message } = outcome
    if (late > LATE) throw new Error(`publishing ${serial} took ${Math.round(ms)} ms, with a timeout of ${TIMEOUT} ms`)
    if (id === undefined && code !== 'FST_ERR_SSE_BACKPLANE') throw new Error(`publishing ${serial} was rejected with ${code}: ${message}`)
    const position = id === undefined ? undefined : fromId(id)
    if (position !== undefined) this.#chronicles.get(channel)?.write(position, serial)
  }

  #sampled ({ memory }: Sample): void {
    this.tally.memory = Math.max(this.tally.memory, memory)
    if (memory > MOST_MEMORY) throw new Error(`a process holds ${Math.round(memory / 2 ** 20)} MiB`)
  }

  #look (): void {
    const { quiet } = this.crowd
    if (quiet > HEARTBEAT + QUIET) throw new Error(`a stream was quiet for ${Math.round(quiet)} ms, with a heartbeat of ${HEARTBEAT} ms`)
  }

  #attempt (attempt: () => void): void {
    try {
      attempt()
    } catch (error) {
      this.#failure ??= error instanceof Error ? error : new Error(String(error))
    }
  }

  async #pause (): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
    await setTimeout(20)
  }
}
