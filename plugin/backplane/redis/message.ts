import type { Entry, Message, Position } from '../types'

const IS_JSON = 1
const IS_END = 2

/** The flags of a message, as the script for publishing takes them. */
export function flagsOf ({ isJson, isEnd }: Message): number {
  return (isJson ? IS_JSON : 0) + (isEnd ? IS_END : 0)
}

/** Reads what was published live; undefined for what no script of ours has published. */
export function readMessage (text: string): { epoch: string, entry: Entry } | undefined {
  const match = /^(\w+) (\d+) /.exec(text)
  if (match === null) return undefined
  const [place, epoch, offset] = match
  const entry = entryOf(Number(offset), text.slice(place.length))
  return entry === undefined ? undefined : { epoch: String(epoch), entry }
}

/**
 * Reads an entry of the history's stream.
 *
 * @throws for one that no script of ours has put there
 */
export function readEntry (kept: unknown): Entry {
  const [id, fields] = listOf(kept)
  const [, text] = listOf(fields)
  const entry = entryOf(Number.parseInt(String(id)), String(text))
  if (entry === undefined) throw new Error(`the entry ${String(id)} of the history cannot be read`)
  return entry
}

/** Reads positions, as in `epoch:offset epoch:offset`. */
export function readPositions (text: unknown): Position[] {
  return [...String(text).matchAll(/(\w+):(\d+)/g)].map(([, epoch, offset]) => positionOf(epoch, offset))
}

export function positionOf (epoch: unknown, offset: unknown): Position {
  return { epoch: String(epoch), offset: Number(offset) }
}

/** @throws when a reply that must be a list is none */
export function listOf (reply: unknown): unknown[] {
  if (Array.isArray(reply)) return reply
  throw new Error(`an answer should have been a list, and is ${String(reply)}`)
}

// The time, the flags, and the lengths of the name in UTF-16 and in bytes.
const HEAD = /^(\d+) ([0-3]) (\d+) \d+\n/

function entryOf (offset: number, text: string): Entry | undefined {
  const match = HEAD.exec(text)
  if (match === null) return undefined
  const [head, time, flags, nameLength] = match
  const dataAt = head.length + Number(nameLength)
  return {
    offset,
    time: Number(time),
    event: text.slice(head.length, dataAt),
    data: text.slice(dataAt),
    isJson: (Number(flags) & IS_JSON) !== 0,
    isEnd: (Number(flags) & IS_END) !== 0
  }
}
