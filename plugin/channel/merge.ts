import type { Position } from '../backplane/types'
import type { Start } from './cursor'
import { Item } from './item'
import type { ChannelStart, Flow, Follower, From, LiveChannel } from './live-channel'
import { Log } from './log'
import { fromCursor, fromId, LONGEST_ID, tagsOf, toCursor, toId } from './position'
import type { Pick } from './pick'

/** Where each of the channels stands; nothing where that is not known. */
type Places = Array<Position | undefined>

/** What a reader has missed of a channel. */
interface Missed extends ChannelStart {
  readonly channel: LiveChannel
  /** Where the log ended when the reader came. */
  readonly end: number
}

// A merge has no place of its own.
const NOWHERE = { epoch: '', offset: 0 }

/**
 * Several channels made one, or what is picked of them: a log of its own, in which each event's ID says where all of the
 * channels stand.
 */
export class Merge implements Flow {
  readonly name: string
  readonly log = new Log(Item.start(NOWHERE))
  readonly #channels: readonly LiveChannel[]
  readonly #pick: Pick
  readonly #tags: readonly string[]
  readonly #followers: Array<[channel: LiveChannel, follower: Follower]> = []
  #following: Promise<void> | undefined
  #isStopped = false

  constructor (channels: readonly LiveChannel[], pick: Pick) {
    this.name = channels.map(({ name }) => name).join(',')
    this.#channels = channels
    this.#pick = pick
    this.#tags = tagsOf(channels.map(({ name }) => name))
  }

  async start (from: From): Promise<Start> {
    await (this.#following ??= this.#follow())
    const starts = await Promise.all(this.#channels.map(async (channel, index) => {
      return { channel, start: await channel.start(this.#fromOf(from, this.#tags[index])) }
    }))
    // From here on nothing may be waited for: the logs of the channels and this one stand at the same place.
    // An ID says what the client has: of a channel that begins with a gap, nothing new before that was told.
    const at: Places = starts.map(({ start: { at, id, first } }) => first[0]?.gap === undefined ? at : fromId(id))
    const id = typeof from === 'object' ? from.id : this.#idOf(at)
    const missed = starts.map(({ channel, start }) => ({ ...start, channel, end: channel.log.tail.end }))
    return { id, at: NOWHERE, first: this.#missed(missed, at, id.slice(0, LONGEST_ID)), after: this.log.tail }
  }

  stop (): void {
    this.#isStopped = true
    for (const [channel, follower] of this.#followers) channel.followers.delete(follower)
  }

  async #follow (): Promise<void> {
    const starts = await Promise.all(this.#channels.map(channel => channel.start('latest')))
    if (this.#isStopped) return
    const at: Places = starts.map(start => start.at)
    this.#channels.forEach((channel, index) => {
      const follower = {
        item: (item: Item) => { this.#take(item, index, at) },
        failed: (error: unknown) => { this.log.fail(error) },
        closed: (place: Position) => {
          at[index] = place
          if (this.#channels.every(({ log }) => log.isClosed)) this.log.close()
        }
      }
      this.#followers.push([channel, follower])
      channel.followers.add(follower)
      at[index] = channel.log.tail
      if (channel.log.isClosed) follower.closed(channel.log.tail)
    })
  }

  #take (item: Item, index: number, at: Places): void {
    try {
      const picked = this.#pickOf(item, index, at)
      if (picked !== undefined) this.log.append(picked)
    } catch (error) {
      this.log.fail(error)
    }
  }

  /** What a reader has missed, made as it is read: where many come back, this is most of the work. */
  * #missed (missed: readonly Missed[], at: Places, has: string): Generator<Item, undefined, undefined> {
    for (const [index, { channel: { log }, first, after, end }] of missed.entries()) {
      for (const item of first) {
        const picked = this.#pickOf(item, index, at, has)
        if (picked !== undefined) yield picked
      }
      for (let item = log.next(after); item !== undefined && item.end <= end; item = log.next(item)) {
        const picked = this.#pickOf(item, index, at)
        if (picked !== undefined) yield picked
      }
    }
  }

  /** @param has the ID that a reader came with, where it says other places */
  #pickOf (item: Item, index: number, at: Places, has?: string): Item | undefined {
    const requested = item.gap === undefined ? '' : has ?? this.#idOf(at)
    at[index] = item
    const id = this.#idOf(at)
    if (item.gap !== undefined) return Item.gap({ ...item.gap, requested, resumedAt: id }, item, id)
    const picked = this.#pick(item.asEvent)
    if (picked === undefined) return undefined
    return picked === 'as it is' ? item.withId(id) : item.with(picked, id)
  }

  #idOf (at: Readonly<Places>): string {
    const [only] = at
    return at.length === 1 && only !== undefined ? toId(only) : toCursor(this.#tags, at)
  }

  #fromOf (from: From, tag: string | undefined): From {
    if (typeof from === 'string' || this.#channels.length === 1) return from
    const position = fromCursor(from.id).get(String(tag))
    return position === undefined ? from : { id: toId(position) }
  }
}
