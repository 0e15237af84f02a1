const TICKS = 4

/**
 * Looks after many members with one timer for all that share an interval. Each member is visited four times in its
 * interval, so that it can count visits in place of looking at a clock.
 */
export class Ticker<Member> {
  /** How many visits make an interval. */
  static readonly TICKS = TICKS

  readonly #visit: (member: Member) => void
  readonly #rounds = new Map<number, Round<Member>>()

  constructor (visit: (member: Member) => void) {
    this.#visit = visit
  }

  /** @param interval in milliseconds */
  add (member: Member, interval: number): void {
    const round = this.#rounds.get(interval) ?? this.#start(interval)
    round.members.add(member)
  }

  /** @param interval the one it was added with; who was not added is nothing to remove */
  remove (member: Member, interval: number): void {
    const round = this.#rounds.get(interval)
    if (round === undefined || !round.members.delete(member) || round.members.size > 0) return
    clearInterval(round.timer)
    this.#rounds.delete(interval)
  }

  #start (interval: number): Round<Member> {
    const members = new Set<Member>()
    const timer = setInterval(() => { members.forEach(this.#visit) }, Math.max(1, Math.floor(interval / TICKS)))
    timer.unref()
    const round = { members, timer }
    this.#rounds.set(interval, round)
    return round
  }
}

interface Round<Member> {
  members: Set<Member>
  timer: NodeJS.Timeout
}
