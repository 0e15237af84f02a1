/**
 * A source that never waits would keep the event loop for itself. So what all streams together do in one turn of the
 * loop is bounded in time: when the turn is over, those that could go on wait, first come first served, for the next.
 */

const SLICE_MS = 5
// To look at the clock costs as much as a small event: while these go fast, only each eighth looks.
const FAST_MS = 0.5
const UNSEEN = 7

let deadline = 0
let lookedAt = 0
let unseen = 0
const waiting: Array<() => void> = []

/** Whether the streams have used up their part of this turn of the event loop. To be asked after each event. */
export function turnIsOver (): boolean {
  if (unseen > 0) {
    unseen--
    return false
  }
  const now = performance.now()
  if (deadline === 0) {
    deadline = now + SLICE_MS
    setImmediate(beginTurn)
  }
  const isOver = now > deadline
  if (!isOver && now - lookedAt < FAST_MS) unseen = UNSEEN
  lookedAt = now
  return isOver
}

/** Calls `resume` in the next turn of the event loop that has time left. To be called when the turn is over. */
export function afterTurn (resume: () => void): void {
  waiting.push(resume)
}

/** Does something now, or after the turn where that is over. */
export function inTurn (work: () => void): void {
  if (turnIsOver()) afterTurn(work)
  else work()
}

/** As `afterTurn`, by a promise. */
export function nextTurn (): Promise<void> {
  return new Promise(resolve => { afterTurn(resolve) })
}

function beginTurn (): void {
  deadline = 0
  unseen = 0
  resumeNext(waiting.length)
}

/** One by one, each when all has run that the one before has set off by a promise: it may have used up the turn. */
function resumeNext (left: number): void {
  if (left === 0 || turnIsOver()) return
  waiting.shift()?.()
  queueMicrotask(() => { process.nextTick(resumeNext, left - 1) })
}
