import { setImmediate } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import t from 'tap'
import { History } from '../plugin/backplane/history'
import { EveryItem, LatestItems, type HistoryItem } from '../plugin/backplane/history-order'
import type { HistoryLimits } from '../plugin/backplane/types'

const seed = process.env['FC_SEED']
if (seed !== undefined) fc.configureGlobal({ seed: Number(seed) })

const PLENTY: HistoryLimits = { size: Infinity, maxAge: Infinity, maxBytes: Infinity, isLatest: false }
const LATEST: HistoryLimits = { ...PLENTY, isLatest: true }

const item = (offset: number, given: Partial<HistoryItem> = {}): HistoryItem => ({ offset, time: 0, event: '', bytes: 1, ...given })
const offsets = (items: readonly HistoryItem[]): number[] => items.map(({ offset }) => offset)

function historyOf (limits: Partial<HistoryLimits>, ...items: HistoryItem[]): History<HistoryItem> {
  const history = new History<HistoryItem>({ ...PLENTY, ...limits })
  for (const each of items) history.append(each)
  return history
}

/** The same by the plainest means. */
class Model {
  items: HistoryItem[] = []
  newest: number

  constructor (public limits: HistoryLimits, public floor: number) {
    this.newest = floor
  }

  get bytes (): number {
    return this.items.reduce((sum, { bytes }) => sum + bytes, 0)
  }

  limit (limits: HistoryLimits): void {
    if (limits.isLatest && !this.limits.isLatest) {
      this.items = this.items.filter(({ event }, index) => this.items.findLastIndex(other => other.event === event) === index)
    }
    if (!limits.isLatest && this.limits.isLatest) {
      const hole = this.items.findLastIndex(({ offset }, index) => offset !== (this.items[index - 1]?.offset ?? this.floor) + 1)
      this.items.splice(0, Math.max(0, hole))
      this.floor = this.items.length > 0 ? Number(this.items[0]?.offset) - 1 : this.floor
    }
    this.limits = limits
    this.evictWhile(() => this.isOver)
  }

  append (item: HistoryItem): void {
    if (this.limits.isLatest) {
      this.items = this.items.filter(({ event }) => event !== item.event)
    } else if (item.offset !== this.newest + 1) {
      this.items = []
      this.floor = item.offset - 1
    }
    this.items.push(item)
    this.newest = item.offset
    this.evictWhile(() => this.isOver)
  }

  expire (now: number): void {
    this.evictWhile(() => now >= Number(this.items[0]?.time) + this.limits.maxAge)
  }

  get isOver (): boolean {
    return this.items.length > this.limits.size || this.bytes > this.limits.maxBytes
  }

  evictWhile (isOver: () => boolean): void {
    while (this.items.length > 0 && isOver()) this.floor = Number(this.items.shift()?.offset)
  }
}

t.test('a history keeps what the plainest model keeps, whatever is done to it', async t => {
  const upTo = (max: number) => fc.oneof(fc.nat(max), fc.constant(Infinity))
  const limits = fc.record({ size: upTo(12), maxAge: upTo(60), maxBytes: upTo(80), isLatest: fc.boolean() })
  const append = fc.record({
    do: fc.constant('append' as const),
    event: fc.constantFrom('', 'a', 'b', 'c', 'd', 'e'),
    bytes: fc.nat(20),
    later: fc.nat(10),
    skip: fc.oneof({ weight: 20, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(3) })
  })
  const step = fc.oneof(
    { weight: 10, arbitrary: append },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('expire' as const), later: fc.nat(30) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('limit' as const), limits }) }
  )
  const look = fc.record({ after: fc.nat(100), count: upTo(20) })

  fc.assert(fc.property(limits, fc.nat(50), fc.array(fc.tuple(step, look), { maxLength: 80 }), (limits, floor, steps) => {
    const history = new History<HistoryItem>(limits, floor)
    const model = new Model(limits, floor)
    let now = 0
    let top = floor
    for (const [step, { after, count }] of steps) {
      if (step.do === 'append') {
        now += step.later
        top += 1 + step.skip
        const next = item(top, { event: step.event, bytes: step.bytes, time: now })
        history.append(next)
        model.append(next)
      } else if (step.do === 'expire') {
        now += step.later
        history.expire(now)
        model.expire(now)
      } else {
        history.limit(step.limits)
        model.limit(step.limits)
      }
      const kept = ({ floor, bytes }: Model | typeof history) => ({ floor, bytes })
      const seen = { ...kept(history), size: history.size, expiresAt: history.expiresAt, items: history.after(0) }
      const expiresAt = (model.items[0]?.time ?? Infinity) + model.limits.maxAge
      const expected = { ...kept(model), size: model.items.length, expiresAt, items: model.items }
      if (JSON.stringify(seen) !== JSON.stringify(expected)) throw new Error(`${JSON.stringify(seen)} is not ${JSON.stringify(expected)}`)
      const part = offsets(history.after(after, count))
      const expectedPart = offsets(model.items.filter(({ offset }) => offset > after).slice(0, count))
      if (String(part) !== String(expectedPart)) throw new Error(`after ${after}, ${count}: ${part} is not ${expectedPart}`)
    }
  }), { numRuns: 2_000 })
  t.pass('in all runs')
})

t.test('a history of every event', async t => {
  t.test('begins at the floor that it is given', async t => {
    const history = new History<HistoryItem>(PLENTY, 40)
    t.equal(history.floor, 40)
    history.append(item(41))
    t.match({ floor: history.floor, offsets: offsets(history.after(0)) }, { floor: 40, offsets: [41] })
  })

  t.test('gives what comes after an offset, as many as are asked for', async t => {
    const history = historyOf({}, ...[1, 2, 3, 4, 5].map(offset => item(offset)))
    t.same(offsets(history.after(0)), [1, 2, 3, 4, 5])
    t.same(offsets(history.after(3)), [4, 5])
    t.same(offsets(history.after(1, 2)), [2, 3])
    t.same(offsets(history.after(5)), [])
    t.same(offsets(history.after(99)), [])
  })

  t.test('is not changed by what is done to what it gave', async t => {
    const history = historyOf({}, item(1), item(2))
    history.after(0).length = 0
    t.same(offsets(history.after(0)), [1, 2])
  })

  t.test('keeps no more than its size and its bytes, and says from where on', async t => {
    const history = historyOf({ size: 3, maxBytes: 25 }, ...[1, 2, 3, 4].map(offset => item(offset, { bytes: 5 })))
    t.match([history.floor, history.size, history.bytes], [1, 3, 15])
    history.append(item(5, { bytes: 20 }))
    t.match([history.floor, history.size, history.bytes], [3, 2, 25])
  })

  t.test('keeps nothing after an item that is larger than all it may keep, and goes on behind it', async t => {
    const history = historyOf({ maxBytes: 10 }, item(1), item(2, { bytes: 11 }))
    t.match([history.floor, history.size, history.bytes], [2, 0, 0])
    history.append(item(3))
    t.match([history.floor, history.size, history.bytes], [2, 1, 1])
  })

  t.test('lets an item go when it has reached the age, not before', async t => {
    const history = historyOf({ maxAge: 100 }, item(1, { time: 1_000 }), item(2, { time: 1_001 }))
    t.equal(history.expiresAt, 1_100)
    history.expire(1_099)
    t.equal(history.size, 2)
    history.expire(1_100)
    t.match([history.floor, history.size, history.expiresAt], [1, 1, 1_101])
    history.expire(Infinity)
    t.match([history.floor, history.size, history.expiresAt], [2, 0, Infinity])
  })

  t.test('begins anew where an item does not follow the one before', async t => {
    const history = historyOf({}, item(1), item(2), item(7), item(8))
    t.match({ floor: history.floor, bytes: history.bytes, offsets: offsets(history.after(0)) }, { floor: 6, bytes: 2, offsets: [7, 8] })
  })
})

t.test('a history of the newest of each event name', async t => {
  const events = (history: History<HistoryItem>): string[] => history.after(0).map(({ event, offset }) => `${event}${offset}`)

  t.test('misses nothing that counts, and has it in the order of the offsets', async t => {
    const history = historyOf(LATEST, ...['a', 'b', 'c', 'a', 'c'].map((event, index) => item(index + 1, { event })))
    t.same(events(history), ['b2', 'a4', 'c5'])
    t.match([history.floor, history.size, history.bytes], [0, 3, 3])
    t.same(offsets(history.after(2)), [4, 5])
    t.same(offsets(history.after(0, 2)), [2, 4])
  })

  t.test('is at the floor of the newest that a limit took', async t => {
    const bySize = historyOf({ ...LATEST, size: 2 }, ...['a', 'b', 'a', 'c'].map((event, index) => item(index + 1, { event })))
    t.same([events(bySize), bySize.floor], [['a3', 'c4'], 2])
    const byBytes = historyOf({ ...LATEST, maxBytes: 3 }, item(1, { event: 'a', bytes: 2 }), item(2, { event: 'a' }), item(3, { event: 'b', bytes: 3 }))
    t.same([events(byBytes), byBytes.floor], [['b3'], 2])
    const byAge = historyOf({ ...LATEST, maxAge: 5 }, item(1, { event: 'a' }), item(2, { event: 'b', time: 1 }), item(3, { event: 'a', time: 2 }))
    byAge.expire(6)
    t.same([events(byAge), byAge.floor], [['a3'], 2])
  })

  t.test('is made of a history of every event, and back, with what is whole', async t => {
    const history = historyOf({}, ...['a', 'b', 'a', 'c', 'd'].map((event, index) => item(index + 1, { event })))
    history.limit(LATEST)
    t.same([events(history), history.floor], [['b2', 'a3', 'c4', 'd5'], 0])
    history.append(item(6, { event: 'a' }))
    history.limit(PLENTY)
    t.same([events(history), history.floor, history.bytes], [['c4', 'd5', 'a6'], 3, 3])
    history.append(item(7))
    t.same([history.size, history.floor], [4, 3])
  })

  t.test('that is made of one of every event lets go of nothing for what it does not keep', async t => {
    const history = historyOf({}, item(1, { event: 'a', bytes: 10 }), item(2, { event: 'b' }), item(3, { event: 'a' }))
    history.limit({ ...LATEST, maxBytes: 10 })
    t.same([events(history), history.floor], [['b2', 'a3'], 0])
  })
})

t.test('an order that is empty has nothing to give away', async t => {
  for (const order of [new EveryItem<HistoryItem>(), new LatestItems<HistoryItem>()]) {
    order.shift()
    t.same([order.size, order.oldest, order.after(0, Infinity)], [0, undefined, []])
  }
})

t.test('what has gone is held no more', async t => {
  setFlagsFromString('--expose-gc')
  const collect: () => void = runInNewContext('gc')
  for (const limits of [PLENTY, LATEST]) {
    const history = historyOf({ ...limits, size: 10 })
    const gone: Array<WeakRef<HistoryItem>> = []
    for (let offset = 1; offset <= 1_000; offset++) {
      const next = item(offset, { event: String(offset) })
      if (offset <= 990) gone.push(new WeakRef(next))
      history.append(next)
    }
    await setImmediate()
    collect()
    t.equal(gone.filter(ref => ref.deref() !== undefined).length, 0)
    t.equal(history.size, 10)
  }
})

t.test('an event costs as much in a large history as in a small one', async t => {
  const ROUNDS = 200_000
  const costOf = (limits: HistoryLimits): number => {
    const history = historyOf(limits)
    for (let offset = 1; offset <= limits.size; offset++) history.append(item(offset, { event: String(offset) }))
    const start = performance.now()
    for (let offset = limits.size + 1; offset <= limits.size + ROUNDS; offset++) {
      history.append(item(offset, { event: String(offset) }))
      history.after(offset - 1)
    }
    return performance.now() - start
  }
  for (const limits of [PLENTY, LATEST]) {
    const small = costOf({ ...limits, size: 100 })
    const large = costOf({ ...limits, size: 200_000 })
    t.ok(large < 20 * small, `${large.toFixed()} ms beside ${small.toFixed()} ms`)
  }
})
