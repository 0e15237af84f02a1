/** The name of the event that tells what is missing; no other event of a channel may have it. */
export const GAP = 'gap'

/**
 * Why events are missing.
 *
 * - `evicted`: the history does not reach back that far
 * - `epoch`: the history that the ID belongs to is lost
 * - `ahead`: the ID is of an event that is not known here
 * - `unknown`: the ID is none of this stream
 * - `dropped`: more than `maxBuffer` waited for the client, and `slow` lets events go
 */
export type GapReason = 'evicted' | 'epoch' | 'ahead' | 'unknown' | 'dropped'

/**
 * The data of the event `gap`, which tells a client that events are missing, so that it can fetch its state anew. What
 * comes after it has no hole.
 */
export interface Gap {
  /** The channel's name; of a stream over several the names of those that miss something, with commas between. */
  readonly channel: string
  readonly reason: GapReason
  /** The ID of the last event that the client has, as it said it. */
  readonly requested: string
  /** The ID after which the stream goes on. What lies between is missing; with `slow: 'latest'`, but for the newest of each name. */
  readonly resumedAt: string
}
