import assert from 'node:assert/strict'
import { dataOf, eventsOf, LATEST, PLENTY, range, type Case } from './trial'

const HOUR = 3_600_000

const TEXTS = [
  '', ' ', '0', 'null', '-1', '{"a":[1,"é"]}', '"\\\'`', '\n', '\r', '\r\n\r\n', ' \t\v\f ', '\0', 'a\0b', '\u2028\u2029\u0085\uFEFF',
  'é☃😀👩‍👩‍👧', 'e\u0301', '\x01\x1F\x7F', 'data: x\n\nid: 1', '*1\r\n$4\r\nPING\r\n', '%s {0} $1 #{x}', 'x'.repeat(100 * 1024), '☃'.repeat(100 * 1024)
]

/** What is promised of messages: their text, their keys, and the last of them. */
export const PUBLISH_CASES: readonly Case[] = [
  ['a message is brought and kept as it was published, to the last character', async trial => {
    const ear = await trial.listen()
    for (const text of TEXTS) await trial.publish({ event: text, data: text, isJson: true })
    const { epoch } = await trial.publish({ event: 'text', data: '1', isJson: false })
    const kept = eventsOf(await trial.read())
    const published = [...TEXTS.map(text => ({ event: text, data: text, isJson: true })), { event: 'text', data: '1', isJson: false }]
    assert.deepEqual(kept.map(({ event, data, isJson }) => ({ event, data, isJson })), published)
    await trial.untilHeard(ear, published.length)
    assert.deepEqual(ear.entries, kept, 'what is heard must be what is read')
    assert.deepEqual([...ear.epochs], [epoch])
  }],

  ['a message has the time at which it was published', async trial => {
    await trial.publishAll([1])
    const { entries: [entry] } = await trial.read()
    // The clock may be another computer's.
    assert.ok(Math.abs(Number(entry?.time) - Date.now()) < HOUR, `the time was ${entry?.time}`)
  }],

  ['the same key publishes once, and gives the position of the first time', async trial => {
    const ear = await trial.listen()
    const first = await trial.publish({ data: 'first' }, { idempotencyKey: 'key' })
    await trial.publish({ data: 'between' })
    assert.deepEqual({ ...await trial.publish({ data: 'again' }, { idempotencyKey: 'key' }) }, { ...first })
    await trial.publish({ data: 'last' })
    assert.deepEqual(dataOf(eventsOf(await trial.read())), ['first', 'between', 'last'])
    await trial.untilHeard(ear, 3)
    assert.deepEqual(dataOf(ear.entries), ['first', 'between', 'last'])
  }],

  ['the same key at the same time publishes once', async trial => {
    const positions = await Promise.all(range(1, 20).map(() => trial.publish({}, { idempotencyKey: 'key' })))
    assert.deepEqual([...new Set(positions.map(({ offset }) => offset))], [1])
    assert.equal((await trial.position()).offset, 1)
  }],

  ['another key, no key, and the same key in another channel publish', async trial => {
    const other = trial.beside(`${trial.channel}-other`)
    const keys = ['key', 'KEY', ' key', '', '☃', undefined, undefined]
    for (const idempotencyKey of keys) await trial.publish({}, { idempotencyKey })
    assert.equal((await trial.position()).offset, keys.length)
    await other.publishAll([1])
    assert.equal((await other.publish({}, { idempotencyKey: 'key' })).offset, 2)
  }],

  ['a key counts for its window from the first time, and publishes anew afterwards', async trial => {
    const publish = async (): Promise<number> => (await trial.publish({}, { idempotencyKey: 'key', idempotencyWindow: 100 })).offset
    assert.equal(await publish(), 1)
    await trial.until('the window is over', async () => await publish() > 1)
    assert.equal((await trial.position()).offset, 2)
  }],

  ['the end has an offset of its own, is heard and is known from then on', async trial => {
    const ear = await trial.listen()
    await trial.publishAll([1])
    assert.equal((await trial.read()).isEnded, false)
    assert.equal((await trial.end()).offset, 2)
    const tail = await trial.read()
    assert.deepEqual({ isEnded: tail.isEnded, offset: tail.offset, data: dataOf(eventsOf(tail)) }, { isEnded: true, offset: 2, data: ['1'] })
    assert.equal((await trial.read(2)).isEnded, true)
    await trial.untilHeard(ear, 2)
    assert.deepEqual(ear.entries.map(({ isEnd }) => isEnd), [false, true])
  }],

  ['the end is known where nothing is kept, and takes nothing away in latest mode', async trial => {
    const history = { ...PLENTY, size: 0 }
    await trial.end(history)
    assert.equal((await trial.read(0, history)).isEnded, true)
    const other = trial.beside(`${trial.channel}-latest`)
    await other.publishAll([1], LATEST)
    await other.end(LATEST)
    const tail = await other.read(0, LATEST)
    assert.deepEqual({ isEnded: tail.isEnded, data: dataOf(eventsOf(tail)) }, { isEnded: true, data: ['1'] })
  }],

  ['after the end nothing is published, and a key that was used before gives its position', async trial => {
    const ear = await trial.listen()
    const { epoch } = await trial.publish({}, { idempotencyKey: 'key' })
    await trial.end()
    for (const isEnd of [false, true]) {
      await trial.refused(trial.publish({ isEnd }), 'FST_ERR_SSE_CHANNEL_CLOSED')
      await trial.refused(trial.publish({ isEnd }, { idempotencyKey: 'other' }), 'FST_ERR_SSE_CHANNEL_CLOSED')
    }
    assert.deepEqual({ ...await trial.publish({}, { idempotencyKey: 'key' }) }, { epoch, offset: 1 })
    assert.deepEqual({ ...await trial.position() }, { epoch, offset: 2 })
    await trial.untilHeard(ear, 2)
    assert.deepEqual(ear.offsets, [1, 2])
  }]
]
