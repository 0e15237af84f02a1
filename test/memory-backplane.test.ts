import { once } from 'node:events'
import { mock } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t, { type Test } from 'tap'
import { backplaneConformance, type Backplane, type BackplaneListener, type Entry, type Message, type PublishOptions } from '../plugin/backplane/conformance'
import { memoryBackplane, type MemoryBackplaneOptions } from '../plugin/backplane/memory'

const PLENTY = { size: 100, maxAge: 3_600_000, maxBytes: 1_000_000, isLatest: false }
const NOTHING = { ...PLENTY, size: 0 }
const MINUTE = 60_000
// How long after it is due something may be freed.
const SWEEP = 5_000

const message = (given: Partial<Message> = {}): Message => ({ event: '', data: '', isJson: false, isEnd: false, ...given })
const options = (given: Partial<PublishOptions> = {}): PublishOptions =>
  ({ history: PLENTY, idempotencyKey: undefined, idempotencyWindow: MINUTE, ...given })

function open (t: Test, options?: MemoryBackplaneOptions): Backplane {
  const backplane = memoryBackplane(options)
  t.teardown(() => backplane.close())
  return backplane
}

const listener = (entry: BackplaneListener['entry']): BackplaneListener => ({ entry, interrupted: () => { throw new Error('it never is') } })

/** A listener that writes down what it hears. */
function ear (): BackplaneListener & { data: string[] } {
  const data: string[] = []
  return { ...listener((epoch, entry) => { data.push(entry.data) }), data }
}

t.test('it conforms', async t => {
  for (const { title, run } of backplaneConformance(async () => memoryBackplane())) t.test(title, run)
})

t.test('options', async t => {
  t.doesNotThrow(() => open(t, { maxChannels: undefined }))
  for (const maxChannels of [0, -1, 1.5, NaN, Infinity, '5', null, {}]) {
    t.throws(() => memoryBackplane({ maxChannels: maxChannels as never }), { code: 'FST_ERR_SSE_OPTION', message: /'maxChannels' must be a positive integer/ })
  }
  t.throws(() => memoryBackplane({ maxChanels: 5 } as never), { code: 'FST_ERR_SSE_OPTION', message: /none called 'maxChanels'/ })
})

t.test('listeners', async t => {
  t.test('are called before publish returns', async t => {
    const backplane = open(t)
    const { data, ...heard } = ear()
    await backplane.subscribe('a', heard)
    const published = backplane.publish('a', message({ data: 'one' }), options())
    t.same(data, ['one'])
    await published
  })

  t.test('that throw keep nobody from hearing, and the process is warned', async t => {
    const backplane = open(t)
    const after = ear()
    await backplane.subscribe('a', listener(() => { throw new Error('a broken listener') }))
    await backplane.subscribe('a', after)
    const warned = once(process, 'warning')
    t.match(await backplane.publish('a', message({ data: 'one' }), options()), { offset: 1 })
    t.same(after.data, ['one'])
    t.match(await warned, [{ message: /A listener of a backplane threw: Error: a broken listener/ }])
  })

  t.test('of the state that throw keep nobody from hearing, and nothing open', async t => {
    const backplane = open(t)
    const states: string[] = []
    backplane.onStateChange(() => { throw new Error('a broken listener') })
    backplane.onStateChange(state => { states.push(state) })
    const warned = once(process, 'warning')
    await backplane.close()
    t.same(states, ['down'])
    t.match(await warned, [{ message: /a broken listener/ }])
  })

  t.test('of several channels hear all in one order, whoever publishes', async t => {
    const backplane = open(t)
    const heard: string[] = []
    const write = (name: string) => listener((epoch, { data }) => { heard.push(`${name} ${data}`) })
    await backplane.subscribe('a', listener((epoch, { data }) => {
      if (data === 'one') backplane.publish('b', message({ data: 'two' }), options())
      if (data === 'one') backplane.publish('a', message({ data: 'three' }), options())
    }))
    await backplane.subscribe('a', write('a'))
    await backplane.subscribe('b', write('b'))
    await backplane.publish('a', message({ data: 'one' }), options())
    t.same(heard, ['a one', 'b two', 'a three'])
  })

  t.test('that come or go while a message is brought do not hear it', async t => {
    const backplane = open(t)
    const [late, gone] = [ear(), ear()]
    const changes: Array<Promise<unknown>> = []
    await backplane.subscribe('a', listener((epoch, { data }) => {
      if (data === 'one') changes.push(leave(), backplane.subscribe('a', late))
    }))
    const leave = await backplane.subscribe('a', gone)
    for (const data of ['one', 'two']) await backplane.publish('a', message({ data }), options())
    await Promise.all(changes)
    t.same([gone.data, late.data], [[], ['two']])
  })

  t.test('hear nothing more of what was published when the backplane is closed meanwhile', async t => {
    const backplane = open(t)
    const other = ear()
    await backplane.subscribe('a', listener(() => { backplane.close() }))
    await backplane.subscribe('a', other)
    t.match(await backplane.publish('a', message(), options()), { offset: 1 })
    t.same(other.data, [])
  })

  t.test('are subscribed as often as they were', async t => {
    const backplane = open(t)
    const { data, ...twice } = ear()
    const leave = await backplane.subscribe('a', twice)
    await backplane.subscribe('a', twice)
    await backplane.publish('a', message({ data: 'one' }), options())
    await leave()
    await leave()
    await backplane.publish('a', message({ data: 'two' }), options())
    t.same(data, ['one', 'one', 'two'])
  })
})

t.test('what is kept', async t => {
  t.test('goes by the limits of the latest publish', async t => {
    const backplane = open(t)
    for (const event of ['a', 'b', 'a']) await backplane.publish('a', message({ event }), options())
    await backplane.publish('a', message({ event: 'c' }), options({ history: { ...PLENTY, isLatest: true } }))
    t.match(await backplane.read('a', 0, PLENTY), { floor: 0, entries: [{ offset: 2 }, { offset: 3 }, { offset: 4 }] })
    await backplane.publish('a', message(), options({ history: { ...PLENTY, size: 2 } }))
    t.match(await backplane.read('a', 0, PLENTY), { floor: 3, entries: [{ offset: 4 }, { offset: 5 }] })
  })

  t.test('is not what takes the end\'s room', async t => {
    const backplane = open(t)
    const history = { ...PLENTY, size: 1 }
    await backplane.publish('a', message({ data: 'result' }), options({ history }))
    await backplane.publish('a', message({ isEnd: true }), options({ history }))
    t.match(await backplane.read('a', 0, history), { floor: 0, isEnded: true, entries: [{ data: 'result' }, { offset: 2, isEnd: true }] })
    t.same((await backplane.read('a', 2, history)).entries, [])
  })
})

t.test('an epoch is 6 letters and digits, of its channel and its time alone', async t => {
  const backplane = open(t)
  const epochs = await Promise.all(Array.from({ length: 100 }, async (_, index) => (await backplane.position(`channel ${index}`)).epoch))
  t.ok(epochs.every(epoch => /^[0-9A-Za-z]{6}$/.test(epoch)))
  t.equal(new Set(epochs).size, 100)
})

t.test('time', async t => {
  const epochOf = async (backplane: Backplane, name = 'a'): Promise<string> => (await backplane.position(name)).epoch

  /** A backplane under a clock that stands still. */
  function openAt (t: Test, options?: MemoryBackplaneOptions): Backplane {
    mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_000_000 })
    t.teardown(() => { mock.timers.reset() })
    return open(t, options)
  }

  t.test('takes what is too old out of what is read, to the millisecond', async t => {
    const backplane = openAt(t)
    const history = { ...PLENTY, maxAge: 10_001 }
    await backplane.publish('a', message(), options({ history }))
    mock.timers.tick(10_000)
    t.match(await backplane.read('a', 0, history), { floor: 0, entries: [{ time: 1_000_000 }] })
    mock.timers.tick(1)
    t.match(await backplane.read('a', 0, history), { offset: 1, floor: 1, entries: [] })
  })

  t.test('frees what is too old without anybody asking', async t => {
    setFlagsFromString('--expose-gc')
    const collect: () => void = runInNewContext('gc')
    const backplane = openAt(t)
    const entries: Array<WeakRef<Entry>> = []
    await backplane.subscribe('a', listener((epoch, entry) => { entries.push(new WeakRef(entry)) }))
    const left = async (): Promise<boolean[]> => {
      await setImmediate()
      collect()
      return entries.map(entry => entry.deref() !== undefined)
    }
    const history = { ...PLENTY, maxAge: 20_000 }
    await backplane.publish('a', message(), options({ history }))
    mock.timers.tick(10_000)
    await backplane.publish('a', message(), options({ history }))
    t.same(await left(), [true, true])
    mock.timers.tick(10_000 + SWEEP)
    t.same(await left(), [false, true])
    mock.timers.tick(10_000)
    t.same(await left(), [false, false])
  })

  t.test('ends the window of a key, to the millisecond', async t => {
    const backplane = openAt(t)
    const publish = async (): Promise<number> => (await backplane.publish('a', message(), options({ idempotencyKey: 'key', idempotencyWindow: 10_001 }))).offset
    t.equal(await publish(), 1)
    mock.timers.tick(10_000)
    t.equal(await publish(), 1)
    mock.timers.tick(1)
    t.equal(await publish(), 2)
    mock.timers.tick(10_000)
    t.equal(await publish(), 2, 'the window is that of the second')
  })

  t.test('forgets a channel that nobody uses a minute after it was used last, and not before', async t => {
    const backplane = openAt(t)
    const first = await epochOf(backplane)
    mock.timers.tick(MINUTE - 1)
    t.equal(await epochOf(backplane), first)
    mock.timers.tick(MINUTE - 1)
    t.equal(await epochOf(backplane), first)
    mock.timers.tick(MINUTE + SWEEP)
    t.not(await epochOf(backplane), first)
  })

  for (const [what, use, until] of [
    ['is subscribed to', async (backplane: Backplane) => backplane.subscribe('a', ear()), undefined],
    ['keeps a history', async (backplane: Backplane) => { await backplane.publish('a', message(), options({ history: { ...PLENTY, maxAge: 5 * MINUTE } })) }, 5 * MINUTE],
    ['has a key', async (backplane: Backplane) => {
      await backplane.publish('a', message(), options({ history: NOTHING, idempotencyKey: 'key', idempotencyWindow: 5 * MINUTE }))
    }, 5 * MINUTE],
    ['has ended', async (backplane: Backplane) => { await backplane.publish('a', message({ isEnd: true }), options({ history: NOTHING })) }, 10 * MINUTE]
  ] as const) {
    t.test(`forgets no channel that ${what}`, async t => {
      const backplane = openAt(t)
      const { epoch } = await backplane.position('a')
      const leave = await use(backplane)
      if (until === undefined) {
        mock.timers.tick(60 * MINUTE)
        t.equal(await epochOf(backplane), epoch)
        await leave?.()
        mock.timers.tick(MINUTE - 1)
      } else {
        mock.timers.tick(until - 1)
      }
      const { isEnded } = await backplane.read('a', 0, PLENTY)
      t.equal(await epochOf(backplane), epoch)
      mock.timers.tick(isEnded ? 10 * MINUTE + SWEEP : MINUTE + SWEEP)
      t.not(await epochOf(backplane), epoch)
    })
  }

  t.test('begins a forgotten channel anew, one that has ended too', async t => {
    const backplane = openAt(t)
    await backplane.publish('a', message({ isEnd: true }), options())
    await t.rejects(backplane.publish('a', message(), options()), { code: 'FST_ERR_SSE_CHANNEL_CLOSED', message: /The channel 'a' was closed/ })
    mock.timers.tick(10 * MINUTE + SWEEP)
    t.match(await backplane.publish('a', message(), options()), { offset: 1 })
  })
})

t.test('the timer', async t => {
  t.test('is one for all channels, keeps no process alive, and goes with the backplane', async t => {
    const set = mock.method(globalThis, 'setTimeout')
    const clear = mock.method(globalThis, 'clearTimeout')
    t.teardown(() => { mock.restoreAll() })
    const timers = () => set.mock.calls.filter(call => call.arguments[1] === SWEEP).map(call => call.result)
    const backplane = open(t)
    t.same(timers(), [], 'none before there is a channel')
    const leave = await backplane.subscribe('a', ear())
    await backplane.publish('b', message(), options())
    await backplane.position('c')
    const [timer, ...others] = timers()
    t.same([timer?.hasRef(), others.length], [false, 0])
    await backplane.close()
    await leave()
    t.ok(clear.mock.calls.some(call => call.arguments[0] === timer))
    t.equal(timers().length, 1)
  })

  t.test('runs only while something can change by time', async t => {
    mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 0 })
    const set = mock.method(globalThis, 'setTimeout')
    t.teardown(() => {
      mock.restoreAll()
      mock.timers.reset()
    })
    /** How often it was set in an hour. */
    const inAnHour = (): number => {
      const before = set.mock.callCount()
      for (let second = 0; second < 3600; second++) mock.timers.tick(1_000)
      return set.mock.callCount() - before
    }
    const backplane = open(t)
    const leave = await backplane.subscribe('a', ear())
    t.equal(inAnHour(), 0, 'a channel that is subscribed to stays as it is')
    await backplane.publish('a', message(), options({ history: { ...PLENTY, maxAge: Infinity } }))
    t.equal(inAnHour(), 0, 'so does what may be of any age')
    await backplane.publish('a', message(), options({ history: { ...PLENTY, maxAge: 3 * SWEEP } }))
    t.equal(inAnHour(), 2, 'what ages is waited for')
    await backplane.publish('a', message(), options({ history: NOTHING, idempotencyKey: 'key', idempotencyWindow: 4 * SWEEP }))
    t.equal(inAnHour(), 3, 'so is the window of a key')
    await leave()
    t.equal(inAnHour(), MINUTE / SWEEP - 1, 'so is the moment when a channel can be forgotten')

    const leaveLate = await backplane.subscribe('a', ear())
    t.equal(inAnHour(), 0)
    await backplane.close()
    const before = set.mock.callCount()
    await leaveLate()
    t.equal(set.mock.callCount(), before, 'nothing changes any more after the close')
  })
})

t.test('maxChannels', async t => {
  t.test('refuses a channel too many, with the mend, until there is room', async t => {
    const backplane = open(t, { maxChannels: 2 })
    const leave = await backplane.subscribe('a', ear())
    await backplane.publish('b', message(), options())
    const refused = { code: 'FST_ERR_SSE_CHANNEL', message: /The channel 'c': there are 2 already.*'maxChannels'/ }
    await t.rejects(backplane.publish('c', message(), options()), refused)
    await t.rejects(backplane.read('c', 0, PLENTY), refused)
    await t.rejects(backplane.position('c'), refused)
    await t.rejects(backplane.subscribe('c', ear()), refused)
    t.match(await backplane.publish('b', message(), options()), { offset: 2 }, 'those that are there are used as before')
    await leave()
    t.match(await backplane.position('c'), { offset: 0 })
  })

  t.test('forgets those that nobody uses first, from the one that was used longest ago', async t => {
    mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 0 })
    t.teardown(() => { mock.timers.reset() })
    const backplane = open(t, { maxChannels: 4 })
    await backplane.publish('ended', message({ isEnd: true }), options())
    mock.timers.tick(1)
    const { epoch } = await backplane.position('old')
    mock.timers.tick(1)
    const young = await backplane.position('young')
    await backplane.subscribe('subscribed', ear())
    await backplane.position('new')
    t.same(await backplane.position('young'), young)
    t.not((await backplane.position('old')).epoch, epoch, 'which takes the place of another')
    t.equal((await backplane.read('ended', 0, PLENTY)).isEnded, true, 'the end is remembered longer')
  })

  t.test('frees a tenth at once', async t => {
    mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 0 })
    t.teardown(() => { mock.timers.reset() })
    const backplane = open(t, { maxChannels: 20 })
    const epochs: string[] = []
    for (let number = 0; number < 20; number++) {
      epochs.push((await backplane.position(`channel ${number}`)).epoch)
      mock.timers.tick(1)
    }
    await backplane.position('new')
    t.not((await backplane.position('channel 1')).epoch, epochs[1])
    for (let number = 2; number < 20; number++) t.equal((await backplane.position(`channel ${number}`)).epoch, epochs[number])
  })

  t.test('counts no channel that was to be forgotten', async t => {
    mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 0 })
    t.teardown(() => { mock.timers.reset() })
    const backplane = open(t, { maxChannels: 2 })
    await backplane.subscribe('a', ear())
    mock.timers.tick(1)
    await backplane.position('b')
    mock.timers.tick(MINUTE)
    t.match(await backplane.position('c'), { offset: 0 })
  })

  t.test('counts no channel whose history is too old', async t => {
    mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 0 })
    t.teardown(() => { mock.timers.reset() })
    const backplane = open(t, { maxChannels: 1 })
    await backplane.publish('a', message(), options({ history: { ...PLENTY, maxAge: 10 } }))
    await t.rejects(backplane.position('b'), { code: 'FST_ERR_SSE_CHANNEL' })
    mock.timers.tick(10)
    t.match(await backplane.position('b'), { offset: 0 })
  })
})
