import type { Position } from '../../plugin/backplane/types'
import type { Gap } from '../../plugin/channel/gap'

/** What becomes of a history: it goes on under another epoch, up to an offset or as a whole, or it is lost. */
export type Change = number | 'whole' | 'lost'

/** One history of a channel: what is known to be at which offset. It may have a part in common with the one before. */
class History {
  readonly before: History | undefined
  readonly shared: number
  readonly serials = new Map<number, string>()
  top: number

  constructor (before: History | undefined, shared: number) {
    this.before = before
    this.shared = shared
    this.top = Math.max(0, shared)
  }

  /** The history in which an offset was given. */
  home (offset: number): History {
    return this.before !== undefined && offset <= this.shared ? this.before.home(offset) : this
  }

  /** The last offset that it has in common with another, -1 if there is none. */
  common (other: History): number {
    let upTo = Infinity
    for (let mine: History | undefined = this; mine !== undefined; mine = mine.before) {
      let theirs = Infinity
      for (let one: History | undefined = other; one !== undefined; one = one.before) {
        if (one === mine) return Math.min(upTo, theirs)
        theirs = Math.min(theirs, one.shared)
      }
      upTo = Math.min(upTo, mine.shared)
    }
    return -1
  }
}

/** An offset with the history in which it was given: the same for all IDs of one event. */
export interface Place {
  readonly history: History
  readonly offset: number
}

/** What is known of a channel, from those who published and those who read: there is one event for each ID. */
export class Chronicle {
  readonly #size: number
  readonly #byEpoch = new Map<string, History>()
  readonly #places = new Map<string, Place>()
  #current: History | undefined
  #coming: Change[] = ['lost']
  #mayBeRenamed = false
  /** What was said not to be kept, by the offset up to which there must then have been events. */
  #claims: Array<{ history: History, top: number }> = []

  /** @param size of its history, in events */
  constructor (size: number) {
    this.#size = size
  }

  /** The epoch is about to change. Without that it may not. */
  expect (change: Change): void {
    this.#mayBeRenamed = false
    this.#coming.push(change)
  }

  /** Until it is expected to, the epoch may change as well, if nothing is lost by that. */
  allow (): void {
    this.#mayBeRenamed = true
  }

  /** The newest place that is known. */
  get newest (): Place {
    const history = this.#current ?? new History(undefined, -1)
    return { history: history.home(history.top), offset: history.top }
  }

  at ({ epoch, offset }: Position): Place {
    return { history: this.#historyOf(epoch).home(offset), offset }
  }

  /** An event has a position, as whoever published or read it says. */
  write (position: Position, serial: string): void {
    const history = this.#historyOf(position.epoch)
    const place = this.at(position)
    const { serials } = place.history
    const other = serials.get(position.offset)
    if (other !== undefined && other !== serial) throw new Error(`${position.epoch}-${position.offset} is ${other} and ${serial}`)
    const before = this.#places.get(serial)
    if (before !== undefined && !isSame(before, place) && this.#isKept(before) && this.#isKept(place)) throw new Error(`${serial} was published twice`)
    serials.set(position.offset, serial)
    this.#places.set(serial, place)
    history.top = Math.max(history.top, position.offset)
  }

  /** A gap is told for a reason, and skips nothing that is kept. */
  assertGap ({ reason }: Gap, has: Place, resumed: Position): void {
    const history = this.#historyOf(resumed.epoch)
    const isKept = history.home(has.offset) === has.history
    if (reason === 'evicted' && !(isKept && resumed.offset > has.offset)) throw new Error('nothing was evicted')
    if (reason === 'epoch' && isKept) throw new Error('the epoch is as good as the one before')
    if (reason !== 'evicted' && reason !== 'epoch') throw new Error(`the reason cannot be '${reason}'`)
    const wanted = isKept ? has.offset : Math.max(0, history.common(has.history))
    if (resumed.offset > wanted) this.#claims.push({ history, top: resumed.offset + this.#size })
  }

  /** To be called when all that was published is known. */
  assertSettled (): void {
    this.#mayBeRenamed = false
    if (this.#coming.length > 0) throw new Error('its epoch should have changed')
    for (const { history, top } of this.#claims.splice(0)) {
      if (history.top < top) throw new Error(`a gap was told up to ${top - this.#size}, where ${this.#size} events are kept and there are ${history.top}`)
    }
  }

  #isKept ({ history, offset }: Place): boolean {
    return this.#current?.home(offset) === history
  }

  #historyOf (epoch: string): History {
    const known = this.#byEpoch.get(epoch)
    if (known !== undefined) return known
    const change = this.#coming.shift() ?? (this.#mayBeRenamed ? 'whole' : undefined)
    if (change === undefined) throw new Error(`it has an epoch ${epoch} for no reason`)
    if (change === 'lost') this.#current = new History(undefined, -1)
    if (typeof change === 'number') this.#current = new History(this.#current, change)
    const history = this.#current ?? new History(undefined, -1)
    this.#byEpoch.set(epoch, history)
    return history
  }
}

export function isSame (one: Place, other: Place): boolean {
  return one.history === other.history && one.offset === other.offset
}
