/** The names in Redis of what belongs to one channel. All share one hash tag, so that a Cluster has them on one node. */
export interface ChannelKeys {
  /** A hash: the position, the limits of what is kept, and how it came to be. */
  readonly meta: string
  /** A stream: the history. The ID of an entry is `offset-0`. */
  readonly history: string
  /** A hash from event names to offsets, where only the newest of each name is kept. */
  readonly latest: string
  /** The sharded Pub/Sub channel that messages are published on. */
  readonly live: string
}

export function keysOf (prefix: string, channel: string): ChannelKeys {
  const base = baseOf(prefix, channel)
  return { meta: `${base}meta`, history: `${base}history`, latest: `${base}latest`, live: `${base}live` }
}

/** The key that remembers where the message with this idempotency key was published. */
export function receiptOf (prefix: string, channel: string, idempotencyKey: string): string {
  return `${baseOf(prefix, channel)}receipt:${idempotencyKey}`
}

// A brace in the name would end the hash tag.
function baseOf (prefix: string, channel: string): string {
  return `${prefix}{${channel.replace(/[%{}]/g, encodeURIComponent)}}:`
}

const SLOTS = 16_384
const POLYNOMIAL = 0x1021

/** The slot of a Cluster that a key with a hash tag belongs to: the CRC-16 of the tag. */
export function slotOf (key: string): number {
  const tag = key.slice(key.indexOf('{') + 1, key.indexOf('}'))
  let crc = 0
  for (const byte of Buffer.from(tag)) {
    crc ^= byte << 8
    for (let bit = 0; bit < 8; bit++) crc = (crc & 0x8000) === 0 ? crc << 1 : crc << 1 ^ POLYNOMIAL
  }
  return (crc & 0xffff) % SLOTS
}

/** @throws when nothing in a Cluster has the slot */
export function ownerOf<Owner> (slot: number, owner: Owner | undefined): Owner {
  if (owner === undefined) throw new Error(`no server of the Cluster has the slot ${slot}`)
  return owner
}
