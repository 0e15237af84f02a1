import type { Backplane, Entry, HistoryLimits, Message, Position } from '../../plugin/backplane/types'

/** A message as it was published, whichever epochs have it. */
export interface Published extends Message {
  readonly channel: string
  readonly time: number
}

/** One epoch of a channel, by the plainest means: every message of it, and which of them are still to be had. */
export class Era {
  readonly epoch: string
  readonly messages: Published[] = []
  /** Epochs that this one continues, each with the last offset that both have. */
  readonly continues = new Map<Era, number>()
  readonly #limits: HistoryLimits
  #kept: number[] = []
  #floor = 0

  constructor (epoch: string, limits: HistoryLimits) {
    this.epoch = epoch
    this.#limits = limits
  }

  get top (): number {
    return this.messages.length
  }

  get isEnded (): boolean {
    return this.messages.at(-1)?.isEnd === true
  }

  /** The newest offset that is not to be had any more. */
  get floor (): number {
    this.#expire()
    return this.#floor
  }

  add (message: Published): Entry {
    this.#expire()
    const offset = this.messages.push(message)
    if (!message.isEnd) {
      const isReplaced = (kept: number): boolean => this.#limits.isLatest && this.at(kept).event === message.event
      this.#kept = [...this.#kept.filter(kept => !isReplaced(kept)), offset]
      this.#evictWhile(() => this.#kept.length > this.#limits.size || this.#bytes > this.#limits.maxBytes)
    }
    return { ...message, offset }
  }

  at (offset: number): Published {
    const message = this.messages[offset - 1]
    if (message === undefined) throw new Error(`there is no ${this.epoch}-${offset}`)
    return message
  }

  /** What is kept after an offset. */
  after (offset: number): Entry[] {
    this.#expire()
    const end = this.isEnded ? [this.top] : []
    return [...this.#kept, ...end].filter(kept => kept > offset).map(kept => ({ ...this.at(kept), offset: kept }))
  }

  /** Where a place of an epoch is in this one, if they have it in common. */
  carry ({ era, offset }: Spot): number | undefined {
    return era === this || offset <= (this.continues.get(era) ?? era.continues.get(this) ?? -1) ? offset : undefined
  }

  get #bytes (): number {
    return this.#kept.reduce((sum, offset) => sum + Buffer.byteLength(this.at(offset).event) + Buffer.byteLength(this.at(offset).data), 0)
  }

  #expire (): void {
    this.#evictWhile(({ time }) => Date.now() - time >= this.#limits.maxAge)
  }

  #evictWhile (isOver: (oldest: Published) => boolean): void {
    for (let [oldest] = this.#kept; oldest !== undefined && isOver(this.at(oldest)); [oldest] = this.#kept) {
      this.#floor = oldest
      this.#kept.shift()
    }
  }
}

/** A position, with its epoch as the ledger knows it. */
export interface Spot {
  readonly era: Era
  readonly offset: number
}

/** How the channels stood at some time. */
export type Moment = ReadonlyMap<string, { readonly era: Era, readonly top: number, readonly floor: number }>

/** All that was ever published to some channels: what subscribers must have seen is measured by it. */
export class Ledger {
  readonly #channels: ReadonlyMap<string, { readonly limits: HistoryLimits, readonly eras: Era[] }>
  readonly #bySerial = new Map<number, Published>()

  constructor (limits: ReadonlyMap<string, HistoryLimits>) {
    this.#channels = new Map([...limits].map(([name, limits]) => [name, { limits, eras: [] }]))
  }

  get names (): string[] {
    return [...this.#channels.keys()]
  }

  limits (channel: string): HistoryLimits {
    return this.#of(channel).limits
  }

  current (channel: string): Era {
    const era = this.#of(channel).eras.at(-1)
    if (era === undefined) throw new Error(`${channel} has not begun`)
    return era
  }

  /** Before everything. */
  beginning (channel: string): Spot {
    return { era: this.#of(channel).eras[0] ?? this.current(channel), offset: 0 }
  }

  /** Begins an epoch, which may continue the one before up to an offset. */
  begin (channel: string, epoch: string, upTo?: number): Era {
    const { limits, eras } = this.#of(channel)
    const before = eras.at(-1)
    const era = new Era(epoch, limits)
    eras.push(era)
    if (before === undefined || upTo === undefined) return era
    for (const message of before.messages.slice(0, upTo)) era.add(message)
    era.continues.set(before, upTo)
    for (const [older, shared] of before.continues) era.continues.set(older, Math.min(shared, upTo))
    return era
  }

  add (channel: string, message: Message): Entry {
    const published = { ...message, channel, time: Date.now() }
    if (!message.isEnd) this.#bySerial.set(serialOf(message.data), published)
    return this.current(channel).add(published)
  }

  /** Writes down what a backplane carries from now on, in new epochs. */
  async follow (backplane: Backplane): Promise<void> {
    for (const channel of this.names) {
      this.begin(channel, (await backplane.position(channel)).epoch)
      await backplane.subscribe(channel, { entry: (_, entry) => { this.add(channel, entry) }, interrupted () {} })
    }
  }

  /** The message that an event was made of. */
  find (data: string): Published {
    const published = this.#bySerial.get(serialOf(data))
    if (published === undefined) throw new Error(`${data} was never published`)
    return published
  }

  spot (channel: string, { epoch, offset }: Position): Spot {
    const era = this.#of(channel).eras.find(era => era.epoch === epoch)
    if (era === undefined) throw new Error(`${channel} has no epoch ${epoch}`)
    return { era, offset }
  }

  /** Whether an epoch began after another. */
  isLater (channel: string, one: Era, other: Era): boolean {
    const { eras } = this.#of(channel)
    return eras.indexOf(one) > eras.indexOf(other)
  }

  moment (): Moment {
    return new Map(this.names.map(channel => {
      const era = this.current(channel)
      return [channel, { era, top: era.top, floor: era.floor }]
    }))
  }

  #of (channel: string): { readonly limits: HistoryLimits, readonly eras: Era[] } {
    const found = this.#channels.get(channel)
    if (found === undefined) throw new Error(`there is no channel ${channel}`)
    return found
  }
}

/** Each message has a number of its own in its data, before all other numbers. */
function serialOf (data: string): number {
  return Number(/\d+/.exec(data)?.[0])
}
