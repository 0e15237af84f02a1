import { randomUUID } from 'node:crypto'
import { HISTORY_CASES } from './conformance/history-cases'
import { PUBLISH_CASES } from './conformance/publish-cases'
import { SHARED_CASES, SUBSCRIBE_CASES } from './conformance/subscribe-cases'
import { Trial, type Case } from './conformance/trial'
import type { Backplane } from './types'

export type {
  Backplane, BackplaneListener, BackplaneState, Entry, HistoryLimits, Message, Position, PublishOptions, Tail
} from './types'

export interface ConformanceOptions {
  /** Whether all that the factory gives share what they keep, so that two behave as two processes. Default: `false`. */
  readonly shared?: boolean | undefined
  /** How many milliseconds a backplane may take for what it does later, or to refuse. Default: 5,000. */
  readonly timeout?: number | undefined
}

/** A test, for whichever test runner: a title, and a function that rejects when the backplane fails it. */
export interface ConformanceCase {
  readonly title: string
  readonly run: () => Promise<void>
}

/**
 * The tests that every backplane must pass. Each takes a channel with a random name, and closes the backplanes that it
 * was given.
 *
 * @param factory gives a new backplane; its `start`, if it has one, is called
 */
export function backplaneConformance (factory: () => Promise<Backplane>, options: ConformanceOptions = {}): ConformanceCase[] {
  const { shared = false, timeout = 5_000 } = options
  const cases = [...HISTORY_CASES, ...PUBLISH_CASES, ...SUBSCRIBE_CASES, ...(shared ? SHARED_CASES : [])]
  return cases.map(([title, test]) => ({ title, run: () => runCase(test, factory, timeout) }))
}

async function runCase (test: Case[1], factory: () => Promise<Backplane>, timeout: number): Promise<void> {
  const opened: Backplane[] = []
  const open = async (): Promise<Backplane> => {
    const backplane = await factory()
    opened.push(backplane)
    await backplane.start?.()
    return backplane
  }
  try {
    await test(new Trial(await open(), `conformance-${randomUUID()}`, { open, timeout }))
  } finally {
    await Promise.all(opened.map(backplane => backplane.close()))
  }
}
