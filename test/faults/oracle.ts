import type { Position } from '../../plugin/backplane/types'
import type { Gap } from '../../plugin/channel/gap'
import { fromCursor, fromId, tagsOf } from '../../plugin/channel/position'
import { type Chronicle, isSame, type Place } from './chronicle'

/**
 * Sees all that one client is given, over all of its connections, and fails for anything but a contiguous run of each
 * channel from its beginning, or a gap event that says exactly what is missing.
 */
export class Reader {
  readonly channels: readonly string[]
  lastId = ''
  readonly #chronicles: ReadonlyMap<string, Chronicle>
  readonly #tags: readonly string[]
  readonly #places = new Map<string, Place>()

  constructor (channels: readonly string[], chronicles: ReadonlyMap<string, Chronicle>) {
    this.channels = channels.toSorted()
    this.#chronicles = chronicles
    this.#tags = tagsOf(this.channels)
  }

  /** Whether it has all that is known. */
  get isComplete (): boolean {
    return this.channels.every(channel => {
      const place = this.#places.get(channel)
      return place !== undefined && isSame(place, this.#of(channel).newest)
    })
  }

  /** @returns the gap, if it is one */
  receive (id: string, event: string, data: string): Gap | undefined {
    const gap: Gap | undefined = event === 'gap' ? JSON.parse(data) : undefined
    const [channel, serial] = gap === undefined ? wordsOf(data) : []
    if (channel !== undefined && !this.channels.includes(channel)) throw new Error(`it does not read ${channel}`)
    if (gap !== undefined && id !== gap.resumedAt) throw new Error(`the ID of a gap is ${id}, and not where it goes on`)
    for (const [name, position] of this.#positionsOf(id)) {
      const chronicle = this.#of(name)
      if (gap?.channel.split(',').includes(name) === true) {
        this.#follow(name, this.#positionsOf(gap.requested).get(name))
        chronicle.assertGap(gap, this.#places.get(name) ?? chronicle.at({ ...position, offset: 0 }), position)
      } else {
        this.#follow(name, name === channel ? { ...position, offset: position.offset - 1 } : position)
      }
      if (name === channel) chronicle.write(position, String(serial))
      this.#places.set(name, chronicle.at(position))
    }
    this.lastId = id
    return gap
  }

  /** What it is given goes on where it is. */
  #follow (channel: string, position: Position | undefined): void {
    if (position === undefined) throw new Error(`nothing is said of ${channel}`)
    const place = this.#of(channel).at(position)
    const has = this.#places.get(channel)
    if (has === undefined ? place.offset > 0 : !isSame(has, place)) {
      throw new Error(`${channel} goes on after ${position.epoch}-${position.offset}, and not after ${has?.offset ?? 0}`)
    }
  }

  #positionsOf (id: string): ReadonlyMap<string, Position> {
    const said = this.channels.length === 1 ? new Map([[this.#tags[0], fromId(id)]]) : fromCursor(id)
    return new Map(this.channels.map((channel, index) => {
      const position = said.get(this.#tags[index] ?? '')
      if (position === undefined) throw new Error(`its ID says nothing of ${channel}`)
      return [channel, position]
    }))
  }

  #of (channel: string): Chronicle {
    const chronicle = this.#chronicles.get(channel)
    if (chronicle === undefined) throw new Error(`there is no channel ${channel}`)
    return chronicle
  }
}

/** The channel and the serial number in the data of an event, which must be whole. */
function wordsOf (data: string): [channel: string, serial: string] {
  const [channel, serial, size, ...rest] = data.split('\n')
  if (channel === undefined || serial === undefined || rest.join('\n') !== 'x'.repeat(Number(size))) throw new Error(`its data is mutilated: ${data.slice(0, 100)}`)
  return [channel, serial]
}
