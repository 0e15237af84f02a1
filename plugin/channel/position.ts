import { createHash } from 'node:crypto'
import type { Position } from '../backplane/types'

/** No ID of an event is longer, in bytes. */
export const LONGEST_ID = 128

/**
 * How many channels one stream can follow: so many positions fit into a last event ID of at most 128 bytes.
 */
export const MAX_CHANNELS_IN_CURSOR = 6

const TAG_LENGTH = 4
const POSITION = /^([0-9A-Za-z]{1,8})-(0|[1-9]\d{0,15})$/
const TAGGED = /^([0-9A-Za-z]{4})([0-9A-Za-z]{1,8})-([0-9a-z]{1,11})$/

/** The event ID of a position: opaque to clients, it is `epoch-offset`. */
export function toId ({ epoch, offset }: Position): string {
  return `${epoch}-${offset}`
}

/** The position that an event ID says, if it is one. */
export function fromId (id: string): Position | undefined {
  const [, epoch, offset] = POSITION.exec(id) ?? []
  return epoch === undefined || !Number.isSafeInteger(Number(offset)) ? undefined : { epoch, offset: Number(offset) }
}

/**
 * Short names for channels, to tell their positions apart in one event ID. A name has the same tag whatever the others
 * are, but for the rare ones that would share theirs.
 */
export function tagsOf (channels: readonly string[]): string[] {
  const tags: string[] = []
  for (const channel of channels) {
    let salt = 0
    let tag = tagOf(channel)
    while (tags.includes(tag)) tag = tagOf(`${channel} ${++salt}`)
    tags.push(tag)
  }
  return tags
}

function tagOf (text: string): string {
  return createHash('sha256').update(text).digest('base64').replace(/[^0-9A-Za-z]/g, '').slice(0, TAG_LENGTH)
}

/** The event ID of a stream over several channels: the positions of all that are known. */
export function toCursor (tags: readonly string[], positions: ReadonlyArray<Position | undefined>): string {
  let cursor = ''
  positions.forEach((position, index) => {
    if (position === undefined) return
    cursor += `${cursor === '' ? '' : ','}${tags[index]}${position.epoch}-${position.offset.toString(36)}`
  })
  return cursor
}

/** The positions in an event ID of several channels, by their tags; nothing of one that is malformed anywhere. */
export function fromCursor (cursor: string): Map<string, Position> {
  const positions = new Map<string, Position>()
  for (const part of cursor.split(',')) {
    const [, tag, epoch, digits] = TAGGED.exec(part) ?? []
    const offset = Number.parseInt(digits ?? '', 36)
    if (tag === undefined || epoch === undefined || !Number.isSafeInteger(offset)) return new Map()
    positions.set(tag, { epoch, offset })
  }
  return positions
}
