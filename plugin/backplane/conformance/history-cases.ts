import assert from 'node:assert/strict'
import { dataOf, eventsOf, LATEST, PLENTY, range, type Case } from './trial'

/** What is promised of offsets, epochs and the kept past. */
export const HISTORY_CASES: readonly Case[] = [
  ['a channel that nobody has published to is at offset 0 of the epoch that its first message has', async trial => {
    const before = await trial.position()
    assert.equal(before.offset, 0)
    assert.match(before.epoch, /^[0-9A-Za-z]{1,8}$/, 'an epoch must go into an event ID')
    const { epoch, offset, floor, entries, isEnded } = await trial.read()
    assert.deepEqual({ epoch, offset, floor, entries, isEnded }, { ...before, floor: 0, entries: [], isEnded: false })
    assert.deepEqual({ ...await trial.publish({}) }, { epoch, offset: 1 })
  }],

  ['offsets are contiguous from 1, and the position is that of the last message', async trial => {
    const positions = []
    for (const _ of range(1, 10)) positions.push(await trial.publish({}))
    assert.deepEqual(positions.map(({ offset }) => offset), range(1, 10))
    assert.equal(new Set(positions.map(({ epoch }) => epoch)).size, 1, 'they must be of one epoch')
    assert.deepEqual({ ...await trial.position() }, { ...positions.at(-1) })
    const { epoch, offset } = await trial.read()
    assert.deepEqual({ epoch, offset }, { ...positions.at(-1) })
  }],

  ['messages that are published at the same time have an offset each, under which they are kept', async trial => {
    const data = range(1, 50).map(String)
    const positions = await Promise.all(data.map(data => trial.publish({ data })))
    const offsets = positions.map(({ offset }) => offset)
    assert.deepEqual(offsets.toSorted((one, other) => one - other), range(1, 50))
    const kept = dataOf(eventsOf(await trial.read()))
    assert.deepEqual(offsets.map(offset => kept[offset - 1]), data)
  }],

  ['a message is in the history when its publishing has resolved', async trial => {
    for (const number of range(1, 20)) {
      await trial.publishAll([number])
      assert.deepEqual(dataOf(eventsOf(await trial.read(number - 1))), [String(number)])
    }
  }],

  ['what is read begins behind the offset that was asked for', async trial => {
    await trial.publishAll(range(1, 5))
    assert.deepEqual(dataOf(eventsOf(await trial.read())), ['1', '2', '3', '4', '5'])
    assert.deepEqual(dataOf(eventsOf(await trial.read(3))), ['4', '5'])
    for (const after of [5, 9]) {
      const { offset, floor, entries } = await trial.read(after)
      assert.deepEqual({ offset, floor, entries }, { offset: 5, floor: after, entries: [] })
    }
  }],

  ['of more events than the size, the newest are kept', async trial => {
    const history = { ...PLENTY, size: 3 }
    await trial.publishAll(range(1, 10), history)
    assert.deepEqual(dataOf(eventsOf(await trial.read(0, history))), ['8', '9', '10'])
    assert.deepEqual(dataOf(eventsOf(await trial.read(9, history))), ['10'])
  }],

  ['a size of 0 keeps nothing', async trial => {
    const history = { ...PLENTY, size: 0 }
    await trial.publishAll(range(1, 3), history)
    const { offset, floor, entries } = await trial.read(0, history)
    assert.deepEqual({ offset, floor, entries }, { offset: 3, floor: 3, entries: [] })
  }],

  ['names and data count as bytes of UTF-8, and of more than maxBytes the newest are kept', async trial => {
    const history = { ...PLENTY, maxBytes: 35 }
    // Three characters, and eleven bytes each.
    for (const event of ['é', 'ö', 'ü', 'å']) await trial.publish({ event, data: '☃☃☃' }, { history })
    assert.deepEqual(eventsOf(await trial.read(0, history)).map(({ event }) => event), ['ö', 'ü', 'å'])
  }],

  ['a message of more than maxBytes leaves nothing kept', async trial => {
    const history = { ...PLENTY, maxBytes: 100 }
    await trial.publishAll([1, 'x'.repeat(101)], history)
    const { floor, entries } = await trial.read(0, history)
    assert.deepEqual({ floor, entries }, { floor: 2, entries: [] })
    await trial.publishAll([3], history)
    assert.deepEqual(dataOf(eventsOf(await trial.read(0, history))), ['3'])
  }],

  ['what is older than maxAge is not kept, and offsets go on', async trial => {
    const history = { ...PLENTY, maxAge: 50 }
    const { epoch } = await trial.position()
    await trial.publishAll([1, 2], history)
    await trial.until('nothing is kept', async () => eventsOf(await trial.read(0, history)).length === 0)
    assert.equal((await trial.read(0, history)).floor, 2)
    assert.deepEqual({ ...await trial.publish({}, { history }) }, { epoch, offset: 3 })
  }],

  ['in latest mode the newest event of each name is kept, and nothing is missing', async trial => {
    for (const [index, event] of ['a', '', 'b', 'a', '', 'c'].entries()) {
      await trial.publish({ event, data: String(index + 1) }, { history: LATEST })
    }
    const tail = await trial.read(0, LATEST)
    assert.deepEqual(dataOf(eventsOf(tail)), ['3', '4', '5', '6'])
    assert.deepEqual({ offset: tail.offset, floor: tail.floor }, { offset: 6, floor: 0 })
    assert.deepEqual(dataOf(eventsOf(await trial.read(4, LATEST))), ['5', '6'])
  }],

  ['in latest mode the limits hold too, and the floor is at the newest event that went by them', async trial => {
    for (const limit of [{ size: 2 }, { maxBytes: 4 }]) {
      const history = { ...LATEST, ...limit }
      const each = trial.beside(`${trial.channel}-${Object.keys(limit)[0]}`)
      for (const event of ['a', 'b', 'a', 'c']) await each.publish({ event, data: '.' }, { history })
      const tail = await each.read(0, history)
      assert.deepEqual(eventsOf(tail).map(({ event }) => event), ['a', 'c'])
      assert.equal(tail.floor, 2)
    }
    const history = { ...LATEST, maxAge: 50 }
    await trial.publishAll([1, 2], history)
    await trial.until('nothing is kept', async () => eventsOf(await trial.read(0, history)).length === 0)
    assert.equal((await trial.read(0, history)).floor, 2)
  }],

  ['channels do not mix, whatever their names', async trial => {
    const suffixes = ['', '1', '-1', ':1', '*', '?', ' ', '{1}', '}1{', '☃', '[1]', '\\', '%31', '/../']
    const trials = await Promise.all(suffixes.map(async suffix => {
      const each = trial.beside(trial.channel + suffix)
      return { each, ear: await each.listen() }
    }))
    for (const { each } of trials) assert.equal((await each.publish({ data: each.channel })).offset, 1)
    for (const { each, ear } of trials) {
      assert.deepEqual(dataOf(eventsOf(await each.read())), [each.channel])
      await each.untilHeard(ear, 1)
      assert.deepEqual(dataOf(ear.entries), [each.channel])
    }
  }]
]
