import type { Position } from '../../plugin/backplane/types'
import type { Gap } from '../../plugin/channel/gap'
import { fromCursor, fromId, tagsOf, toId } from '../../plugin/channel/position'
import type { SlowPolicy } from '../../plugin/options'
import type { Era, Ledger, Moment, Published, Spot } from './ledger'

/** What a subscriber reads. */
export interface Interest {
  readonly channels: readonly string[]
  readonly from: 'latest' | 'earliest'
  readonly slow: SlowPolicy
  wants (message: Published): boolean
  /** What it must be given of a message. */
  dataOf (message: Published): string
}

/** An event, as a client has read it. */
export interface Received {
  readonly id: string
  /** `''` for the unnamed. */
  readonly event: string
  readonly data: string
}

/** Where a subscriber is in a channel: after `at`; before its first event that is somewhere between two places. */
interface Place {
  readonly since: Spot
  readonly at: Spot
  /** Up to here it was told that only the newest event of each name comes. */
  readonly keptUpTo?: Spot | undefined
  /** Whether one came. */
  readonly hasKept?: boolean | undefined
}

/**
 * Knows, of all that was published, what a subscriber must see, and fails for anything else: it sees a contiguous run of
 * each channel, or a gap event that says exactly what is missing; nothing twice and nothing out of order.
 */
export class Subscriber {
  readonly interest: Interest
  /** What it says when it comes back. */
  lastId = ''
  /** Whether it was slow since it came: who was not is not to lose anything for it. */
  wasSlow = false
  /** Gaps that it was told, by their reasons. */
  readonly gaps: string[] = []
  readonly #ledger: Ledger
  readonly #isExact: boolean
  readonly #tags: ReadonlyMap<string, string>
  #places = new Map<string, Place>()
  /** Channels of which it said that it had what it never had. */
  #forged = new Set<string>()
  #saidId = ''
  #since: Moment = new Map()
  #opened: Moment | undefined

  /** @param isExact whether what is published is heard of at once and for sure */
  constructor (interest: Interest, ledger: Ledger, isExact: boolean) {
    this.interest = interest
    this.#ledger = ledger
    this.#isExact = isExact
    const names = interest.channels.toSorted()
    const tags = tagsOf(names)
    this.#tags = new Map(names.map((name, index) => [name, tags[index] ?? '']))
  }

  /** It will say that it has an event that it never had. */
  forge (id: string): void {
    this.lastId = id
    this.#places.clear()
    this.#forged = new Set(this.interest.channels)
  }

  connect (): void {
    this.#since = this.#ledger.moment()
    this.#opened = undefined
    this.#saidId = this.lastId
    if (this.lastId === '') this.#places.clear()
    // What was kept for a slow client is forgotten with its connection: it goes on after what it has.
    for (const [channel, { since, at }] of this.#places) this.#places.set(channel, { since, at })
  }

  /** From now on it hears of everything. */
  opened (moment: Moment): void {
    if (this.#opened !== undefined) return
    this.#opened = moment
    if (this.lastId !== '') return
    for (const channel of this.interest.channels) {
      const before = at(this.#since, channel)
      const now = at(moment, channel)
      const since = this.interest.from === 'latest' && this.#isExact ? { era: before.era, offset: before.top } : this.#ledger.beginning(channel)
      this.#places.set(channel, { since, at: { era: now.era, offset: this.interest.from === 'latest' ? now.top : now.floor } })
    }
  }

  /** @param moment when it was sent */
  receive (received: Received, moment: Moment): void {
    try {
      if (received.event === 'gap') this.#gap(received, moment)
      else this.#event(received, moment)
      this.lastId = received.id
    } catch (error) {
      throw new Error(`${error instanceof Error ? error.message : String(error)}; in ${JSON.stringify(received)} after '${this.lastId}'`)
    }
  }

  /** It has all that there is now. */
  assertComplete (): void {
    for (const channel of this.interest.channels) {
      const era = this.#ledger.current(channel)
      this.#assertContiguous(channel, this.#placeIn(channel), { era, offset: era.top + 1 }, this.#ledger.moment())
    }
  }

  /** It was told that nothing comes any more. */
  assertEnded (): void {
    for (const channel of this.interest.channels) {
      if (!this.#ledger.current(channel).isEnded) throw new Error(`its stream ended, but not ${channel}`)
    }
    this.assertComplete()
  }

  #event ({ id, event, data }: Received, moment: Moment): void {
    const published = this.#ledger.find(data)
    const { channel } = published
    if (!this.interest.channels.includes(channel)) throw new Error(`it does not read ${channel}`)
    if (!this.interest.wants(published)) throw new Error('its filter was not asked')
    if (event !== published.event) throw new Error(`its name should be ${published.event}`)
    if (data !== this.interest.dataOf(published)) throw new Error(`its data should be ${this.interest.dataOf(published)}`)
    const spot = this.#spotOf(id, channel)
    if (spot?.era.messages[spot.offset - 1] !== published) throw new Error('its ID is that of another')
    this.#advance(channel, spot, moment)
    for (const other of this.interest.channels) if (other !== channel) this.#stayAt(id, other, moment)
  }

  #advance (channel: string, spot: Spot, moment: Moment): void {
    const place = this.#placeIn(channel)
    const since = spot.era.carry(place.since)
    if (since !== undefined && spot.offset <= since) throw new Error(`it comes twice, or out of order: ${since} was there already`)
    if (this.#isKept(channel, place, spot)) this.#keep(channel, place, spot)
    else {
      this.#assertContiguous(channel, place, spot, moment)
      this.#places.set(channel, { since: spot, at: spot })
    }
  }

  /** Of what a slow client was left with, each event is the newest of its name, and none between two is left out. */
  #keep (channel: string, { at, keptUpTo, hasKept }: Place, spot: Spot): void {
    const { era, offset } = spot
    this.#places.set(channel, { since: spot, at: spot, keptUpTo, hasKept: true })
    if (era !== keptUpTo?.era) return
    const rest = this.#between(channel, spot, keptUpTo.offset + 1).map(offset => era.at(offset).event)
    if (rest.includes(era.at(offset).event)) throw new Error(`there is a newer one up to ${keptUpTo.offset}`)
    const isNewest = (left: number): boolean => !this.#between(channel, { era, offset: left }, keptUpTo.offset + 1).some(later => era.at(later).event === era.at(left).event)
    const from = hasKept && this.#tags.size === 1 ? era.carry(at) : undefined
    const left = from === undefined ? [] : this.#between(channel, { era, offset: from }, offset).filter(isNewest)
    if (left.length > 0) throw new Error(`${left.join(', ')} should have been kept before it`)
  }

  #isKept (channel: string, { keptUpTo }: Place, { era, offset }: Spot): boolean {
    if (keptUpTo === undefined) return false
    return era === keptUpTo.era ? offset <= keptUpTo.offset : this.#ledger.isLater(channel, keptUpTo.era, era)
  }

  /** The ID of an event of another channel says where it is in this one: if it goes on from there, it misses nothing. */
  #stayAt (id: string, channel: string, moment: Moment): void {
    if (this.#forged.has(channel)) {
      const [said, says] = [this.#saidId, id].map(id => this.#positionOf(id, channel))
      if (said?.epoch !== says?.epoch || said?.offset !== says?.offset) throw new Error(`no gap was told of ${channel}`)
      return
    }
    const spot = this.#spotOf(id, channel)
    if (spot === undefined) throw new Error(`its ID says nothing of ${channel}`)
    this.#stay(channel, spot, moment)
  }

  #stay (channel: string, spot: Spot, moment: Moment): void {
    const place = this.#placeIn(channel)
    const since = spot.era.carry(place.since)
    if (since !== undefined && spot.offset < since) throw new Error(`its ID goes back in ${channel}`)
    if (this.#isKept(channel, place, spot)) return
    this.#assertContiguous(channel, place, { era: spot.era, offset: spot.offset + 1 }, moment)
    this.#places.set(channel, { since: spot, at: spot })
  }

  /** Nothing that is wanted lies between a place and a spot. */
  #assertContiguous (channel: string, { since, at, keptUpTo = at }: Place, { era, offset }: Spot, moment: Moment): void {
    // Where it began was known in an epoch that its server may not have heard of yet.
    if (since !== at && this.#ledger.isLater(channel, at.era, era)) return
    const from = era.carry(keptUpTo)
    if (from === undefined && since === at) throw new Error(`no gap was told between ${idOf(at)} and ${era.epoch} of ${channel}`)
    if (from === undefined) return
    const missing = this.#between(channel, { era, offset: from }, offset).filter(missing => !this.#isSuperseded(channel, era, missing, moment))
    if (missing.length > 0) throw new Error(`${era.epoch}-${missing.join(', ')} of ${channel} is missing`)
  }

  /** Offsets of what is wanted, after a spot and before an offset. */
  #between (channel: string, { era, offset }: Spot, end: number): number[] {
    return era.messages.slice(offset, Math.max(offset, end - 1))
      .flatMap((message, index) => !message.isEnd && this.interest.wants(message) ? offset + index + 1 : [])
  }

  /** Of a channel that carries a state, who comes back is given only the newest. */
  #isSuperseded (channel: string, era: Era, offset: number, moment: Moment): boolean {
    if (!this.#ledger.limits(channel).isLatest) return false
    const known = at(this.#isExact ? this.#opened ?? moment : moment, channel)
    const upTo = known.era === era ? known.top : era.top
    return era.messages.slice(offset, upTo).some(({ event, isEnd }) => !isEnd && event === era.at(offset).event)
  }

  #gap ({ id, data }: Received, moment: Moment): void {
    const gap: Gap = JSON.parse(data)
    this.gaps.push(gap.reason)
    const channels = gap.channel.split(',')
    const isKept = gap.reason === 'dropped' && this.interest.slow === 'latest' && id === this.lastId
    for (const channel of channels) {
      const spot = this.#spotOf(gap.resumedAt, channel)
      if (spot === undefined) throw new Error(`it does not say where ${channel} goes on`)
      if (this.#forged.delete(channel)) this.#assertForgeryTold(channel, gap, spot, moment)
      else this.#assertTold(channel, gap, spot, moment)
      if (isKept) this.#places.set(channel, { ...this.#placeIn(channel), keptUpTo: spot })
      else this.#places.set(channel, { since: spot, at: spot })
    }
    if (!isKept) for (const channel of this.interest.channels) this.#stayAt(id, channel, moment)
    if (!isKept && id !== gap.resumedAt) throw new Error('its ID should be that of where it goes on')
  }

  #assertTold (channel: string, { reason, requested }: Gap, spot: Spot, moment: Moment): void {
    const has = this.#spotOf(requested, channel)
    if (has === undefined) throw new Error(`it does not say what is missing of ${channel}`)
    this.#stay(channel, has, moment)
    const { top, floor } = at(moment, channel).era === spot.era ? at(moment, channel) : spot.era
    const carried = spot.era.carry(has)
    if (carried !== undefined && spot.offset < carried) throw new Error('it goes back')
    switch (reason) {
      case 'evicted':
        if (carried === undefined) throw new Error('the epoch is another')
        if (spot.offset <= carried || spot.offset > floor) throw new Error(`what is kept begins after ${floor}`)
        break
      case 'epoch':
        if (carried !== undefined || !this.#ledger.isLater(channel, spot.era, has.era)) throw new Error('the epoch is not newer')
        if (spot.offset > Math.max(floor, spot.era.continues.get(has.era) ?? 0)) throw new Error(`what is kept begins after ${floor}`)
        break
      case 'dropped':
        if (!this.wasSlow || this.interest.slow === 'disconnect') throw new Error('it was not slow')
        if (spot.offset > top) throw new Error('there is not so much')
        break
      default:
        throw new Error(`its ID is not ${reason}`)
    }
  }

  #assertForgeryTold (channel: string, { reason, requested }: Gap, spot: Spot, moment: Moment): void {
    const said = this.#positionOf(this.#saidId, channel)
    if (requested !== this.#saidId.slice(0, 128)) throw new Error(`it said ${this.#saidId}`)
    const expected = said === undefined ? 'unknown' : said.epoch === spot.era.epoch ? 'ahead' : 'epoch'
    if (reason !== expected) throw new Error(`the reason should be '${expected}'`)
    const { top, floor } = at(moment, channel).era === spot.era ? at(moment, channel) : spot.era
    const shared = [...spot.era.continues].find(([era]) => era.epoch === said?.epoch)?.[1] ?? 0
    if (spot.offset > (reason === 'epoch' ? Math.max(floor, shared) : top)) throw new Error('it could go on before')
    const before = at(this.#since, channel)
    if (this.#isExact && reason !== 'epoch' && spot.era === before.era && spot.offset < before.top) throw new Error('it goes on with what comes now')
  }

  #placeIn (channel: string): Place {
    const place = this.#places.get(channel)
    if (place === undefined) throw new Error(`no gap was told of ${channel}`)
    return place
  }

  /** Where an ID is in a channel, if it says so; that of one channel is about that alone. */
  #positionOf (id: string, channel: string): Position | undefined {
    return this.#tags.size === 1 ? fromId(id) : fromCursor(id).get(this.#tags.get(channel) ?? '')
  }

  #spotOf (id: string, channel: string): Spot | undefined {
    const position = this.#positionOf(id, channel)
    return position && this.#ledger.spot(channel, position)
  }
}

function at (moment: Moment, channel: string): { readonly era: Era, readonly top: number, readonly floor: number } {
  const found = moment.get(channel)
  if (found === undefined) throw new Error(`there is no channel ${channel}`)
  return found
}

function idOf ({ era: { epoch }, offset }: Spot): string {
  return toId({ epoch, offset })
}
