import { AsyncResource } from 'node:async_hooks'
import { afterTurn, turnIsOver } from './turn'

const TICKS = 4
// How many are visited before it is asked whether others are to have their turn.
const AT_A_TIME = 100

/**
 * Looks after many members with one timer for all that share an interval. Each member is visited four times in its
 * interval, so that it can count visits in place of looking at a clock.
 */
export class Ticker<Member> {
  /** How many visits make an interval. */
  static readonly TICKS = TICKS

  readonly #visit: (member: Member) => void
  // The timers are nobody's: they are not to keep the AsyncLocalStorage of the request that started them.
  readonly #scope = new AsyncResource('Ticker', { requireManualDestroy: true })
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
    const timer = this.#scope.runInAsyncScope(setInterval, undefined, () => {
      // The one before has not come to its end yet.
      if (round.isUnderWay) return
      round.isUnderWay = true
      this.#visitRest(round, round.members.values())
    }, Math.max(1, Math.floor(interval / TICKS)))
    timer.unref()
    const round: Round<Member> = { members: new Set(), timer, isUnderWay: false }
    this.#rounds.set(interval, round)
    return round
  }

  #visitRest (round: Round<Member>, rest: Iterator<Member>): void {
    for (let visited = 1, next = rest.next(); next.done !== true; visited++, next = rest.next()) {
      this.#visit(next.value)
      if (visited % AT_A_TIME === 0 && turnIsOver()) return afterTurn(() => { this.#visitRest(round, rest) })
    }
    round.isUnderWay = false
  }
}

interface Round<Member> {
  readonly members: Set<Member>
  readonly timer: NodeJS.Timeout
  isUnderWay: boolean
}
