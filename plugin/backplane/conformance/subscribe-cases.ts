import assert from 'node:assert/strict'
import { setTimeout } from 'node:timers/promises'
import { dataOf, Ear, eventsOf, range, type Case } from './trial'

/** What is promised of subscriptions, and of the close of a backplane. */
export const SUBSCRIBE_CASES: readonly Case[] = [
  ['a subscriber hears all that is published from then on, in order, and nothing from before', async trial => {
    await trial.publishAll(range(1, 3))
    const ear = await trial.listen()
    await trial.publishAll(range(4, 6))
    await Promise.all(range(7, 50).map(number => trial.publish({ data: String(number) })))
    await trial.untilHeard(ear, 47)
    assert.deepEqual(ear.offsets, range(4, 50))
    assert.deepEqual(ear.entries, eventsOf(await trial.read(3)))
  }],

  ['between what is heard and what is read after subscribing there is no hole', async trial => {
    const publish = async (): Promise<void> => {
      for (const number of range(1, 50)) {
        await trial.publishAll([number])
        await setTimeout(1)
      }
    }
    const join = async (start: number): Promise<void> => {
      await trial.until(`${start} are published`, async () => (await trial.position()).offset >= start)
      const ear = await trial.listen()
      const read = eventsOf(await trial.read())
      const rest = range(read.length + 1, 50)
      await trial.until('the rest is heard', () => rest.every(offset => ear.offsets.includes(offset)))
      assert.deepEqual(ear.offsets, range(51 - ear.offsets.length, 50), 'each must come once, in order')
    }
    await Promise.all([publish(), ...[0, 1, 5, 10, 25, 50].map(join)])
  }],

  ['each of several subscribers hears everything', async trial => {
    const ears = await Promise.all(range(1, 5).map(() => trial.listen()))
    await trial.publishAll(range(1, 10))
    for (const ear of ears) {
      await trial.untilHeard(ear, 10)
      assert.deepEqual(ear.offsets, range(1, 10))
    }
  }],

  ['who was taken off hears nothing more, and the others do', async trial => {
    const gone = new Ear()
    const leave = await trial.backplane.subscribe(trial.channel, gone)
    const ear = await trial.listen()
    await trial.publishAll([1])
    await trial.untilHeard(gone, 1)
    await leave()
    await leave()
    await trial.publishAll([2])
    await trial.untilHeard(ear, 2)
    assert.deepEqual(gone.offsets, [1])
  }],

  ['who was the last to be taken off can come back', async trial => {
    const ear = new Ear()
    for (const number of range(1, 3)) {
      const leave = await trial.backplane.subscribe(trial.channel, ear)
      await trial.publishAll([number])
      await trial.untilHeard(ear, number)
      await leave()
    }
    const leave = await trial.backplane.subscribe(trial.channel, new Ear())
    const [returned] = await Promise.all([trial.listen(), leave()])
    await trial.publishAll([4])
    await trial.untilHeard(returned, 1)
    assert.deepEqual(ear.offsets, range(1, 3))
  }],

  ['what a listener publishes is heard by all after what it was told', async trial => {
    const echo = new Ear(({ data }) => {
      if (data === 'question') void Promise.allSettled([trial.publish({ data: 'answer' })])
    })
    const ears = [await trial.listen(), await trial.listen(echo), await trial.listen()]
    await trial.publish({ data: 'question' })
    for (const ear of ears) {
      await trial.untilHeard(ear, 2)
      assert.deepEqual(ear.offsets, [1, 2])
      assert.deepEqual(dataOf(ear.entries), ['question', 'answer'])
    }
  }],

  ['it is connected until it is closed, and tells once that it is down', async trial => {
    const states: string[] = []
    trial.backplane.onStateChange(state => { states.push(state) })
    assert.equal(trial.backplane.state, 'connected')
    await trial.inTime(trial.backplane.close())
    await trial.inTime(trial.backplane.close())
    assert.equal(trial.backplane.state, 'down')
    assert.deepEqual(states, ['down'])
  }],

  ['after its close all is refused, and who is subscribed can still leave', async trial => {
    const leave = await trial.backplane.subscribe(trial.channel, new Ear())
    await trial.inTime(trial.backplane.close())
    for (const call of [() => trial.publish({}), () => trial.read(), () => trial.position(), () => trial.listen()]) {
      await trial.refused(call(), 'FST_ERR_SSE_BACKPLANE')
    }
    await trial.inTime(leave())
  }]
]

/** What is promised of two instances that share what they keep, as two processes do. */
export const SHARED_CASES: readonly Case[] = [
  ['what one publishes, the other hears and reads', async trial => {
    const other = await trial.elsewhere()
    const ear = await other.listen()
    await trial.publishAll(['one', 'two'])
    await other.untilHeard(ear, 2)
    const { epoch } = await trial.position()
    assert.deepEqual({ entries: dataOf(ear.entries), epochs: [...ear.epochs] }, { entries: ['one', 'two'], epochs: [epoch] })
    assert.deepEqual(ear.entries, eventsOf(await other.read()))
    assert.deepEqual(eventsOf(await other.read()), eventsOf(await trial.read()))
  }],

  ['a channel that nobody has published to has the same epoch in both', async trial => {
    const other = await trial.elsewhere()
    const [position, elsewhere] = await Promise.all([trial.position(), other.position()])
    assert.deepEqual({ ...elsewhere }, { ...position })
    assert.deepEqual({ ...await other.publish({}) }, { epoch: position.epoch, offset: 1 })
  }],

  ['offsets are contiguous over both, and both hear the same in the same order', async trial => {
    const other = await trial.elsewhere()
    const ears = [await trial.listen(), await other.listen()]
    const positions = await Promise.all(range(1, 25).flatMap(number => [
      trial.publish({ data: `here ${number}` }), other.publish({ data: `there ${number}` })
    ]))
    assert.deepEqual(positions.map(({ offset }) => offset).toSorted((one, other) => one - other), range(1, 50))
    const kept = eventsOf(await trial.read())
    for (const ear of ears) {
      await trial.untilHeard(ear, 50)
      assert.deepEqual(ear.entries, kept)
    }
  }],

  ['the same key publishes once over both', async trial => {
    const other = await trial.elsewhere()
    await trial.publishAll([1])
    const positions = await Promise.all([trial, other, trial, other].map(each => each.publish({}, { idempotencyKey: 'key' })))
    const { epoch } = await trial.position()
    for (const position of positions) assert.deepEqual({ ...position }, { epoch, offset: 2 })
  }],

  ['both know the end', async trial => {
    const other = await trial.elsewhere()
    const ear = await other.listen()
    await trial.end()
    await other.untilHeard(ear, 1)
    assert.deepEqual(ear.entries.map(({ isEnd }) => isEnd), [true])
    assert.equal((await other.read()).isEnded, true)
    await other.refused(other.publish({}), 'FST_ERR_SSE_CHANNEL_CLOSED')
  }],

  ['the close of one leaves the other as it is', async trial => {
    const other = await trial.elsewhere()
    const [gone, ear] = [await trial.listen(), await other.listen()]
    await trial.backplane.close()
    assert.equal(other.backplane.state, 'connected')
    await other.publishAll([1])
    await other.untilHeard(ear, 1)
    assert.deepEqual(gone.offsets, [])
  }]
]
