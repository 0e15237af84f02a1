import type { Backplane, BackplaneListener, BackplaneState, Entry, Message, Position, Tail } from '../../plugin/backplane/types'
import { FST_ERR_SSE_BACKPLANE } from '../../plugin/errors'
import { deferred } from './deferred'

/** An answer that waits until it is released. */
export interface Held {
  /** Settles when it was asked for; what is answered is settled then too. */
  readonly asked: Promise<void>
  release (): void
}

type Call = 'publish' | 'read' | 'subscribe' | 'position'

/** A backplane in memory that keeps everything, and does wrong whatever a test wants it to. */
export class FaultyBackplane implements Backplane {
  state: BackplaneState = 'connected'
  /** What was asked of it, such as `read news 5`. */
  readonly asked: string[] = []
  /** What it answers everything with, if anything. */
  failure: Error | undefined
  readonly #channels = new Map<string, FaultyChannel>()
  readonly #stateListeners: Array<(state: BackplaneState) => void> = []
  readonly #held: Array<{ call: Call, ask (): void, released: Promise<void> }> = []

  /** A channel, whose state may be changed by hand. */
  of (name: string): FaultyChannel {
    const channel = this.#channels.get(name) ?? new FaultyChannel()
    this.#channels.set(name, channel)
    return channel
  }

  /** Everything fails as where the backplane cannot be reached, or works again. */
  setAway (isAway: boolean): void {
    this.failure = isAway ? new FST_ERR_SSE_BACKPLANE('it is away') : undefined
    this.setState(isAway ? 'degraded' : 'connected')
  }

  setState (state: BackplaneState): void {
    this.state = state
    for (const changed of this.#stateListeners) changed(state)
  }

  /** Holds the next answer of a kind. */
  hold (call: Call): Held {
    const asked = deferred()
    const released = deferred()
    this.#held.push({ call, ask: asked.resolve, released: released.promise })
    return { asked: asked.promise, release: released.resolve }
  }

  /** How often something was asked. */
  count (what: string): number {
    return this.asked.filter(asked => asked.startsWith(what)).length
  }

  onStateChange (changed: (state: BackplaneState) => void): void {
    this.#stateListeners.push(changed)
  }

  publish (name: string, message: Message): Promise<Position> {
    return this.#answer('publish', name, () => this.of(name).publish(message))
  }

  read (name: string, after: number): Promise<Tail> {
    return this.#answer('read', `${name} ${after}`, () => this.of(name).read(after))
  }

  position (name: string): Promise<Position> {
    return this.#answer('position', name, () => this.of(name).position)
  }

  subscribe (name: string, listener: BackplaneListener): Promise<() => Promise<void>> {
    return this.#answer('subscribe', name, () => {
      const { listeners } = this.of(name)
      listeners.add(listener)
      return async () => {
        this.asked.push(`unsubscribe ${name}`)
        listeners.delete(listener)
      }
    })
  }

  async close (): Promise<void> {
    this.failure = new FST_ERR_SSE_BACKPLANE('it was closed')
    this.setState('down')
  }

  async #answer<Result> (call: Call, what: string, answer: () => Result): Promise<Result> {
    this.asked.push(`${call} ${what}`)
    if (this.failure !== undefined) throw this.failure
    const result = answer()
    const held = this.#held.findIndex(held => held.call === call)
    if (held < 0) return result
    const [{ ask, released } = { ask () {}, released: undefined }] = this.#held.splice(held, 1)
    ask()
    await released
    return result
  }
}

/** A channel of it, as it is kept. */
export class FaultyChannel {
  readonly listeners = new Set<BackplaneListener>()
  /** Whether what is published reaches nobody. */
  isDeaf = false
  epoch = 'first'
  entries: Entry[] = []
  floor = 0
  isEnded = false
  continues: Position[] | undefined
  #offset = 0

  get position (): Position {
    return { epoch: this.epoch, offset: this.#offset }
  }

  publish (message: Message): Position {
    const entry = { ...message, offset: ++this.#offset, time: Date.now() }
    this.entries.push(entry)
    this.isEnded ||= message.isEnd
    if (!this.isDeaf) this.bring(entry)
    return this.position
  }

  read (after: number): Tail {
    const { position, isEnded, continues } = this
    const entries = this.entries.filter(({ offset }) => offset > after)
    return { ...position, floor: Math.max(after, this.floor), entries, isEnded, ...continues !== undefined && { continues } }
  }

  /** Tells the listeners of a message. */
  bring (entry: Entry, epoch = this.epoch): void {
    for (const listener of this.listeners) listener.entry(epoch, entry)
  }

  /** Tells the listeners of a message that nobody published. */
  bringData (offset: number, data: string, epoch = this.epoch): void {
    this.bring({ offset, data, event: '', isJson: false, isEnd: false, time: Date.now() }, epoch)
  }

  /** Publishes text that reaches nobody. */
  lose (...data: string[]): void {
    this.isDeaf = true
    for (const each of data) this.publish({ event: '', data: each, isJson: false, isEnd: false })
    this.isDeaf = false
  }

  interrupt (): void {
    for (const listener of this.listeners) listener.interrupted()
  }

  /** Forgets everything up to an offset. */
  forget (offset: number): void {
    this.floor = offset
    this.entries = this.entries.filter(entry => entry.offset > offset)
  }

  /**
   * Begins a new epoch, which nobody is told. Without an epoch before that it continues, it begins empty.
   *
   * @param upTo the offset up to which it continues the one before
   */
  renew (epoch: string, upTo?: number): void {
    this.continues = upTo === undefined ? undefined : [...this.continues ?? [], { epoch: this.epoch, offset: upTo }]
    this.epoch = epoch
    this.floor = Math.min(this.floor, upTo ?? 0)
    this.#offset = upTo ?? 0
    this.entries = this.entries.filter(({ offset }) => offset <= this.#offset)
  }
}
