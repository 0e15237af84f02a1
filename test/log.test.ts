import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { Cursor } from '../plugin/channel/cursor'
import { Item } from '../plugin/channel/item'
import { Log, type Reader } from '../plugin/channel/log'
import { Stats } from '../plugin/stats'

const EPOCH = 'epoch'
const KIB = 1024

function item (offset: number, data = `data ${offset}`, event = ''): Item {
  return new Item(EPOCH, { offset, data, event, time: 0, isJson: false, isEnd: false })
}

function gapAt (offset: number): Item {
  const id = `${EPOCH}-${offset}`
  return Item.gap({ channel: 'news', reason: 'epoch', requested: 'old-1', resumedAt: id }, { epoch: EPOCH, offset }, id)
}

/** A log that begins at offset 0, and has this in it. */
function logOf (...items: Item[]): { log: Log, start: Item } {
  const start = Item.start({ epoch: EPOCH, offset: 0 })
  const log = new Log(start)
  for (const each of items) log.append(each)
  return { log, start }
}

function range (from: number, to: number): Item[] {
  return Array.from({ length: to - from + 1 }, (_, index) => item(from + index))
}

/** A reader that counts what it is told. */
function counting (advance: () => void = () => {}): Reader & { told: number, errors: unknown[] } {
  const reader = {
    told: 0,
    errors: [] as unknown[],
    advance () {
      reader.told++
      advance()
    },
    fail (error: unknown) { reader.errors.push(error) }
  }
  return reader
}

t.test('a log tells its readers', async t => {
  t.test('once of all that comes in one turn of the event loop', async t => {
    const { log } = logOf()
    const readers = [counting(), counting()]
    for (const reader of readers) log.add(reader)
    for (const each of range(1, 5)) log.append(each)
    t.same(readers.map(({ told }) => told), [0, 0])
    await setImmediate()
    t.same(readers.map(({ told }) => told), [1, 1])
    log.append(item(6))
    await setImmediate()
    t.same(readers.map(({ told }) => told), [2, 2])
  })

  t.test('of its end', async t => {
    const { log } = logOf(...range(1, 2))
    const reader = counting()
    log.add(reader)
    log.close()
    t.ok(log.isClosed)
    await setImmediate()
    t.equal(reader.told, 1)
  })

  t.test('of what comes while they are told', async t => {
    const { log } = logOf()
    const late = counting()
    const reader = counting(() => {
      if (reader.told > 2) return
      log.append(item(reader.told + 1))
      log.append(item(reader.told + 2))
    })
    for (const each of [reader, late]) log.add(each)
    log.append(item(1))
    for (let turn = 0; turn < 5; turn++) await setImmediate()
    t.same([reader.told, late.told], [3, 3])
  })

  t.test('not who has been taken off, nor who came after', async t => {
    const { log } = logOf()
    const [off, on, after] = [counting(), counting(), counting()]
    log.add(off)
    log.add(on)
    log.append(item(1))
    log.remove(off)
    await setImmediate()
    log.add(after)
    await setImmediate()
    t.same([off, on, after].map(({ told }) => told), [0, 1, 0])
  })

  t.test('in slices, so that others have their turn between', async t => {
    const { log } = logOf()
    const others: number[] = []
    const readers = Array.from({ length: 20 }, () => counting(() => {
      for (const end = performance.now() + 6; performance.now() < end;);
    }))
    for (const reader of readers) log.add(reader)
    log.append(item(1))
    const told = (): number => readers.reduce((sum, reader) => sum + reader.told, 0)
    while (told() < readers.length) {
      await setImmediate()
      others.push(told())
    }
    t.ok(others.length > 2, `seen in between: ${others}`)
    t.same(readers.map(({ told }) => told), readers.map(() => 1))
  })

  t.test('that its events cannot be had any more', async t => {
    const { log } = logOf()
    const [reader, off] = [counting(), counting()]
    log.add(reader)
    log.add(off)
    log.remove(off)
    const error = new Error('away')
    log.fail(error)
    t.same([reader.errors, off.errors], [[error], []])
  })
})

t.test('a block of a log', async t => {
  t.test('is one for all who are at the same place', async t => {
    const { log, start } = logOf(...range(1, 3))
    const block = log.blockAfter(start)
    t.equal(log.blockAfter(start), block)
    t.match(block, { events: 3, last: { offset: 3 } })
    t.equal(String(block?.payload), range(1, 3).map(({ text }) => text).join(''))
    t.equal(String(block?.framed), `${block?.payload.length.toString(16)}\r\n${block?.payload}\r\n`)
    t.equal(log.blockAfter(log.tail), undefined)
  })

  t.test('has its length in bytes', async t => {
    const { log, start } = logOf(item(1, '☃'))
    t.match(String(log.blockAfter(start)?.framed), /^17\r\nid: epoch-1\ndata: ☃\n\n\r\n$/)
  })

  t.test('is of some length, and at least one event', async t => {
    const { log, start } = logOf(...[20, 11, 20, 100, 1].map((length, index) => item(index + 1, 'x'.repeat(length * KIB))))
    const offsets = []
    for (let after = start, block = log.blockAfter(after); block !== undefined; block = log.blockAfter(after)) {
      after = block.last
      offsets.push(after.offset)
    }
    t.same(offsets, [2, 3, 4, 5])
  })

  t.test('ends where those of others end who came from another place', async t => {
    const { log, start } = logOf(...range(1, 300))
    const fifth = log.blockAfter(start)
    t.match(fifth, { events: 128, last: { offset: 128 } })
    const from = range(0, 0)[0] as Item
    from.next = start.next?.next?.next
    const other = log.blockAfter(from)
    t.match(other, { events: 126, last: { offset: 128 } })
    t.equal(log.blockAfter(other?.last ?? start), log.blockAfter(fifth?.last ?? start))
  })

  t.test('says which gaps it tells', async t => {
    const { log, start } = logOf(item(1), gapAt(7), Item.start({ epoch: EPOCH, offset: 7 }), item(8))
    t.match(log.blockAfter(start), { events: 3, gaps: [{ reason: 'epoch', resumedAt: 'epoch-7' }] })
    t.match(log.blockAfter(start.next ?? start), { events: 2, gaps: [{ resumedAt: 'epoch-7' }] })
  })

  t.test('is not kept for ever', async t => {
    const { log, start } = logOf(...range(1, 30))
    const block = log.blockAfter(start)
    for (let place = start.next; place !== undefined; place = place.next) log.blockAfter(place)
    t.not(log.blockAfter(start), block)
    t.same(log.blockAfter(start)?.payload, block?.payload)
  })
})

t.test('a cursor that lets go of events', async t => {
  function cursorOf (...items: Item[]): { cursor: Cursor, stats: Stats, log: Log, counts: () => object } {
    const { log, start } = logOf()
    const stats = new Stats()
    const cursor = new Cursor(log, 'news', { id: start.id, at: start, first: [], after: start }, stats)
    for (const each of items) log.append(each)
    const counts = (): object => {
      const { dropped, gaps, replayed } = stats.snapshot({ events: 0, bytes: 0, queued: 0 }, {}, 'connected')
      return { dropped, gaps, replayed }
    }
    return { cursor, stats, log, counts }
  }

  function restOf (cursor: Cursor): string[] {
    const rest = []
    for (let next = cursor.item(); next !== undefined; next = cursor.item()) rest.push(next.gap?.reason ?? next.id)
    return rest
  }

  t.test('drops the oldest until not more than so much waits', async t => {
    const { cursor, counts } = cursorOf(...range(1, 9))
    const size = item(1).size
    t.equal(cursor.waiting, 9 * size)
    cursor.drop('drop-oldest', 2 * size)
    t.match(counts(), { dropped: 7 })
    t.same(restOf(cursor), ['dropped', 'epoch-8', 'epoch-9'])
    t.equal(cursor.waiting, 0)
    t.match(counts(), { dropped: 7, gaps: { dropped: 1 } })
  })

  t.test('may drop everything', async t => {
    for (const dropping of ['drop-oldest', 'latest'] as const) {
      const { cursor, counts, log } = cursorOf(...range(1, 3))
      cursor.drop(dropping, 0)
      t.match(cursor.item(), { id: 'epoch-3', gap: { requested: 'epoch-0', resumedAt: 'epoch-3' } }, dropping)
      t.same(restOf(cursor), [])
      t.match(counts(), { dropped: 3 })
      log.append(item(4))
      t.same(restOf(cursor), ['epoch-4'])
    }
  })

  t.test('does not count gaps among what it drops', async t => {
    for (const [dropping, bytes] of [['drop-oldest', 40], ['latest', 40], ['latest', 1_000]] as const) {
      const { cursor, counts } = cursorOf(item(1, 'x', 'a'), gapAt(7), Item.start({ epoch: EPOCH, offset: 7 }), item(8, 'x', 'a'), item(9, 'x', 'a'))
      cursor.drop(dropping, bytes)
      t.match(counts(), { dropped: 2 }, `${dropping} ${bytes}`)
      t.match(cursor.item()?.gap, { reason: 'dropped', requested: 'epoch-0', resumedAt: dropping === 'latest' ? 'epoch-9' : 'epoch-8' })
      t.equal(restOf(cursor).at(-1), 'epoch-9')
    }
  })

  t.test('keeps the newest of each name, and of these the newest that have room', async t => {
    const { cursor, counts } = cursorOf(item(1, 'x', 'a'), item(2, 'x', 'b'), item(3, 'x', 'c'), item(4, 'x', 'a'), item(5, 'x', 'c'))
    cursor.drop('latest', 2 * item(1, 'x', 'a').size)
    t.same(restOf(cursor), ['dropped', 'epoch-4', 'epoch-5'])
    t.match(counts(), { dropped: 3 })
  })

  t.test('keeps nothing older than what has no room, which could pass for the newest of its name', async t => {
    const { cursor } = cursorOf(item(1, 'x', 'b'), item(2, 'x'.repeat(1_000), 'b'), item(3, 'x', 'c'))
    cursor.drop('latest', 500)
    t.same(restOf(cursor), ['dropped', 'epoch-3'])
  })

  t.test('may do so again before anything was read', async t => {
    const { cursor, counts, log } = cursorOf(item(1, 'x', 'a'), item(2, 'x', 'b'), item(3, 'x', 'a'))
    cursor.drop('latest', 1_000)
    for (const each of [item(4, 'x', 'b'), item(5, 'x', 'b')]) log.append(each)
    cursor.drop('latest', 1_000)
    t.match(counts(), { dropped: 3 })
    const gap = cursor.item()
    t.match(gap, { id: 'epoch-0', gap: { requested: 'epoch-0', resumedAt: 'epoch-5' } })
    t.same(restOf(cursor), ['epoch-3', 'epoch-5'])
    cursor.drop('drop-oldest', 0)
    t.match(counts(), { dropped: 3 })
  })

  t.test('counts what it was left with as waiting, as blocks too', async t => {
    const { cursor, log } = cursorOf(item(1, 'x', 'a'), item(2, 'x', 'b'))
    cursor.drop('latest', 1_000)
    t.ok(cursor.waiting > item(1).size)
    const block = cursor.block()
    t.match(block, { events: 3, last: { offset: 2 } })
    t.match(String(block?.payload), /event: gap[^]*event: a[^]*event: b/)
    t.equal(cursor.waiting, 0)
    t.equal(cursor.block(), undefined)
    log.append(item(3))
    t.match(cursor.block(), { events: 1, last: { offset: 3 } })
  })

  t.test('reads what it alone is to see in blocks of some length', async t => {
    const { log, start } = logOf()
    const first = range(1, 100).map(({ offset }) => item(offset, 'x'.repeat(KIB)))
    const cursor = new Cursor(log, 'news', { id: start.id, at: start, first, after: start }, new Stats())
    t.notOk(cursor.isAtEnd)
    let events = 0
    for (let block = cursor.block(); block !== undefined; block = cursor.block()) {
      t.ok(block.payload.length < 34 * KIB)
      events += block.events
    }
    t.equal(events, 100)
    log.close()
    t.ok(cursor.isAtEnd)
  })
})
