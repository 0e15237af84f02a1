import { randomInt } from 'node:crypto'
import { FST_ERR_SSE_BACKPLANE, FST_ERR_SSE_CHANNEL_CLOSED } from '../../errors'
import { show } from '../../inspect'
import { callBack } from '../call-back'
import type { Backplane, BackplaneListener, BackplaneState, HistoryLimits, Message, Position, PublishOptions, Tail } from '../types'
import { Commands } from './commands'
import type { Driver } from './connection'
import { keysOf, receiptOf } from './keys'
import { flagsOf, listOf, positionOf, readEntry, readPositions } from './message'
import { rehearse } from './rehearsal'
import { FORGET, POSITION, PUBLISH, READ, type Script } from './scripts'
import { Subscriptions } from './subscriptions'

// How often the connections are looked after, in milliseconds, and after how many times the channels that are listened to.
const ROUND = 1_000
const ROUNDS_TO_TOUCH = 3_600
// What Redis can count with, as milliseconds from now. It stands for all that is longer.
const MAX_AGE = 10 * 365 * 24 * 3_600_000

export interface RedisSetup {
  readonly driver: Driver
  readonly prefix: string
  /** Milliseconds. */
  readonly timeout: number
  /** Called once, when it is closed. */
  readonly onClose: () => void
}

/** A backplane over Redis, whatever the client. */
export class RedisBackplane implements Backplane {
  readonly #setup: RedisSetup
  readonly #commands: Commands
  readonly #subscriptions: Subscriptions
  readonly #stateListeners: Array<(state: BackplaneState) => void> = []
  #state: BackplaneState = 'degraded'
  #started: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined
  #rounds = 0

  constructor (setup: RedisSetup) {
    const { driver, prefix, timeout } = setup
    this.#setup = setup
    this.#commands = new Commands({
      driver,
      timeout,
      someKey: () => keysOf(prefix, someWord()).meta,
      onChange: () => {
        this.#look()
        if (this.#commands.isConnected) this.#subscriptions.keep()
      }
    })
    this.#subscriptions = new Subscriptions({
      timeout,
      serverOf: channel => this.#commands.serverOf(channel),
      onChange: () => { this.#look() }
    })
  }

  get state (): BackplaneState {
    return this.#state
  }

  onStateChange (changed: (state: BackplaneState) => void): void {
    this.#stateListeners.push(changed)
  }

  start (): Promise<void> {
    this.#started ??= this.#start()
    return this.#started
  }

  async publish (channel: string, message: Message, { history, idempotencyKey, idempotencyWindow }: PublishOptions): Promise<Position> {
    const { event, data } = message
    const { size, maxAge, maxBytes, isLatest } = history
    const receipt = idempotencyKey === undefined ? [] : [receiptOf(this.#setup.prefix, channel, idempotencyKey)]
    const [epoch, offset] = await this.#run(PUBLISH, channel, receipt, [
      size, Math.min(maxAge, MAX_AGE), maxBytes, isLatest ? 'latest' : 'every', idempotencyWindow,
      flagsOf(message), event.length, event, data
    ])
    if (epoch === undefined) throw new FST_ERR_SSE_CHANNEL_CLOSED(show(channel))
    return positionOf(epoch, offset)
  }

  async read (channel: string, after: number, { maxAge }: HistoryLimits): Promise<Tail> {
    const [epoch, offset, floor, end, now, continues, kept] = await this.#run(READ, channel, [], [after])
    const entries = listOf(kept).map(readEntry)
    // What has become too old since the last message was published is there still.
    const old = entries.findLastIndex(({ time }) => Number(now) - time >= maxAge)
    return {
      ...positionOf(epoch, offset),
      floor: Math.max(after, Number(floor), entries[old]?.offset ?? 0),
      entries: entries.slice(old + 1),
      isEnded: end !== '',
      continues: readPositions(continues)
    }
  }

  async position (channel: string): Promise<Position> {
    const [epoch, offset] = await this.#run(POSITION, channel)
    return positionOf(epoch, offset)
  }

  async subscribe (channel: string, listener: BackplaneListener): Promise<() => Promise<void>> {
    this.#checkOpen()
    return await this.#subscriptions.add(channel, keysOf(this.#setup.prefix, channel).live, listener)
  }

  async close (): Promise<void> {
    if (this.#state === 'down') return
    this.#become('down')
    clearInterval(this.#timer)
    this.#subscriptions.close()
    this.#commands.close()
    this.#setup.onClose()
  }

  /** Forgets all that is kept of a channel. */
  async forget (channel: string): Promise<void> {
    await this.#run(FORGET, channel)
  }

  async #start (): Promise<void> {
    this.#checkOpen()
    this.#timer = setInterval(() => { this.#round() }, ROUND).unref()
    try {
      await this.#commands.connect()
      await rehearse(this, `start-${someWord()}`, this.#setup.timeout)
    } catch (error) {
      await this.close()
      throw error
    }
  }

  async #run (script: Script, channel: string, keys: readonly string[] = [], values: ReadonlyArray<string | number> = []): Promise<unknown[]> {
    this.#checkOpen()
    const { meta, history, latest, live } = keysOf(this.#setup.prefix, channel)
    return await this.#commands.run(script, [meta, history, latest, live, ...keys], [someWord(), ...values.map(String)])
  }

  /** Looks after the connections and, now and then, has the channels remembered that are listened to. */
  #round (): void {
    this.#commands.keep()
    this.#subscriptions.keep()
    this.#rounds = (this.#rounds + 1) % ROUNDS_TO_TOUCH
    if (this.#rounds > 0) return
    for (const channel of this.#subscriptions.channels) this.position(channel).catch(() => {})
  }

  #look (): void {
    if (this.#state === 'down') return
    this.#become(this.#commands.isConnected && this.#subscriptions.isWhole ? 'connected' : 'degraded')
  }

  #become (state: BackplaneState): void {
    if (state === this.#state) return
    this.#state = state
    for (const changed of this.#stateListeners) callBack(() => { changed(state) })
  }

  #checkOpen (): void {
    if (this.#state === 'down') throw new FST_ERR_SSE_BACKPLANE('it was closed')
  }
}

/** A word that nobody has used: an epoch, for one. */
function someWord (): string {
  return randomInt(36 ** 8).toString(36)
}
