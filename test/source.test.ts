import t, { type Test } from 'tap'
import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { PassThrough, Readable } from 'node:stream'
import { ReadableStream } from 'node:stream/web'
import { setImmediate, setTimeout } from 'node:timers/promises'
import fc from 'fast-check'
import { request } from 'undici'
import type { Source, SseEvent, StreamContext } from '../plugin/types'
import { EVENT_SOURCE, open } from './helpers/client'
import { deferred } from './helpers/deferred'
import { serve } from './helpers/serve'
import { connectTo, get } from './helpers/socket'

const WORDS = ['one', 'two', 'three']
const seed = process.env['FC_SEED'] === undefined ? {} : { seed: Number(process.env['FC_SEED']) }

async function serveSource (t: Test, make: () => unknown) {
  return serve(t, app => {
    app.get('/', (request, reply) => reply.sse(make() as Source))
    app.get('/alive', async () => 'alive')
  })
}

/** The data of all events of a source, to its clean end. */
async function drained (t: Test, source: unknown): Promise<string[]> {
  const { url } = await serveSource(t, () => source)
  const stream = await open(t, url)
  return (await stream.rest()).map(({ data }) => data)
}

/** The HTTP error that a source is answered with which fails before its first event. */
async function refused (t: Test, make: () => unknown) {
  const { url } = await serveSource(t, make)
  const { statusCode, headers, body } = await request(url)
  t.match(headers['content-type'], 'application/json')
  return { statusCode, ...await body.json() as { code?: string, message: string } }
}

/** Reads the event `first` of a source, then sees that its stream does not end, but fails; gives what was logged. */
async function torn (t: Test, make: () => unknown) {
  const { url, log } = await serveSource(t, make)
  const stream = await open(t, url)
  t.match(await stream.next(), { data: 'first' })
  await t.rejects(stream.next(), 'the client sees an error')
  t.match(await log.find('event stream closed'), { reason: 'error' })
  return (await log.find('event stream failed'))['err'] as { code?: string, message: string }
}

/** An async iterator of the words, as plain as can be. */
function wordsIterator () {
  let at = 0
  return { next: async () => at < WORDS.length ? { done: false, value: WORDS[at++] } : { done: true, value: undefined } }
}

async function * words () { yield * WORDS }
function * wordsInSync () { yield * WORDS }

t.test('every kind of iterable is drained to its end', async t => {
  const kinds: Record<string, () => unknown> = {
    'an async generator function': () => words,
    'an async generator object': words,
    'a sync generator function': () => wordsInSync,
    'a sync generator object': wordsInSync,
    'an array': () => WORDS,
    'a Set': () => new Set(WORDS),
    'an array of promises, in the order of the array': () => [setTimeout(20, 'one'), setTimeout(5, 'two'), 'three'],
    'a sync generator of promises': () => (function * () { for (const word of WORDS) yield Promise.resolve(word) })(),
    'an async iterable without return()': () => ({ [Symbol.asyncIterator]: wordsIterator }),
    'an async iterable whose next() gives its results without a promise': () => ({ [Symbol.asyncIterator]: () => WORDS[Symbol.iterator]() }),
    'an async iterable whose next() gives thenables': () => ({
      [Symbol.asyncIterator] () {
        const { next } = wordsIterator()
        return { next: () => ({ then: (resolve: (result: unknown) => void) => { next().then(resolve, t.fail) } }) }
      }
    }),
    'an iterator that counts on its this': () => ({
      [Symbol.asyncIterator]: () => ({ at: 0, async next () { return { done: this.at === 3, value: WORDS[this.at++] } } })
    }),
    'a function that returns an array': () => () => WORDS,
    'a function that returns an iterable': () => () => ({ [Symbol.asyncIterator]: wordsIterator }),
    'a function that returns a promise of a generator object': () => async () => words(),
    'a function that returns a promise of an array': () => async () => setTimeout(5, WORDS),
    'a function that returns a thenable': () => () => ({ then: (resolve: (source: unknown) => void) => { resolve(words()) } }),
    'a function that returns a Readable': () => () => Readable.from(WORDS),
    'a function that returns a promise of a web stream': () => async () => ReadableStream.from(WORDS)
  }
  for (const [kind, make] of Object.entries(kinds)) {
    t.test(kind, async t => {
      t.same(await drained(t, make()), WORDS)
    })
  }
})

t.test('what an iterator returns at its end is no event', async t => {
  t.same(await drained(t, async function * () {
    yield 'one'
    return 'result'
  }), ['one'])
})

t.test('an iterable that is not opened is not asked for its iterator, which might start something', async t => {
  let asked = 0
  const { url } = await serveSource(t, () => ({
    [Symbol.asyncIterator] () {
      asked++
      return wordsIterator()
    }
  }))
  await request(url, { method: 'HEAD' })
  t.equal(asked, 0)
  await (await open(t, url)).rest()
  t.equal(asked, 1)
})

t.test('an iterator is returned', async t => {
  function counted (next: () => unknown) {
    const returned = deferred()
    let returns = 0
    const source = {
      [Symbol.asyncIterator]: () => ({
        next,
        return () {
          returns++
          returned.resolve()
          return { done: true, value: undefined }
        }
      })
    }
    return { source, returned, returns: () => returns }
  }

  t.test('once, when its client leaves, though its next() is pending', async t => {
    let first = true
    const { source, returned, returns } = counted(() => {
      if (!first) return new Promise(() => {})
      first = false
      return { done: false, value: 'first' }
    })
    const { app, url } = await serveSource(t, () => source)
    const stream = await open(t, url)
    await stream.next()
    stream.close()
    await returned.promise
    await app.close()
    t.equal(returns(), 1)
  })

  t.test('never, when it has come to its end', async t => {
    const { source, returns } = counted(wordsIterator().next)
    t.same(await drained(t, source), WORDS)
    t.equal(returns(), 0)
  })

  t.test('never, when it has thrown', async t => {
    const { source, returns } = counted(async () => { throw new Error('broken') })
    t.match(await refused(t, () => source), { statusCode: 500, message: 'broken' })
    t.equal(returns(), 0)
  })

  t.test('never, when it has none, and nobody complains', async t => {
    const { next } = wordsIterator()
    const parked = { next: async () => { const result = await next(); return result.done ? new Promise(() => {}) : result } }
    const { url, log } = await serveSource(t, () => ({ [Symbol.asyncIterator]: () => parked }))
    const stream = await open(t, url)
    for (const word of WORDS) t.match(await stream.next(), { data: word })
    stream.close()
    t.match(await log.find('event stream closed'), { reason: 'client' })
    t.same(log.complaints, [])
  })

  const unruly: Record<string, object> = {
    'return() throws': { return () { throw new Error('no return') } },
    'return() rejects': { return: async () => { throw new Error('no return') } },
    'return is a getter that throws': { get return () { throw new Error('no return') } }
  }
  for (const [problem, iterator] of Object.entries(unruly)) {
    t.test(`and if its ${problem}, that is one warning`, async t => {
      const results = [{ done: false, value: 'first' }, new Promise(() => {})]
      Object.defineProperty(iterator, 'next', { value: () => results.shift() })
      const { url, log } = await serveSource(t, () => ({ [Symbol.asyncIterator]: () => iterator }))
      const stream = await open(t, url)
      await stream.next()
      stream.close()
      t.match(await log.find('the source of a closed event stream failed'), { level: 40, err: { message: 'no return' } })
      await log.find('event stream closed')
      t.equal(log.complaints.length, 1)
    })
  }
})

t.test('an iterator that breaks the rules fails its stream', async t => {
  const broken: Record<string, [next: () => unknown, message: string | RegExp]> = {
    'next() throws synchronously': [() => { throw new Error('at once') }, 'at once'],
    'next() rejects': [async () => { throw new Error('later') }, 'later'],
    'next() gives a thenable that throws': [() => ({ then () { throw new Error('in then') } }), 'in then'],
    'a result is undefined': [() => undefined, /not an object/],
    'a result is a promise of a number': [async () => 1, /not an object/],
    'done throws': [() => ({ get done () { throw new Error('in done') } }), 'in done'],
    'value throws': [async () => ({ get value () { throw new Error('in value') } }), 'in value'],
    'a value is a promise that rejects': [() => ({ value: Promise.reject(new Error('in vain')) }), 'in vain'],
    'a value is a thenable that throws': [async () => ({ value: { then () { throw new Error('value then') } } }), 'value then']
  }
  for (const [problem, [next, message]] of Object.entries(broken)) {
    t.test(`${problem}: an HTTP error before the first event, a torn stream after it`, async t => {
      const source = { [Symbol.asyncIterator]: () => ({ next }) }
      t.match(await refused(t, () => source), { statusCode: 500, message })

      let first = true
      const late = () => {
        if (!first) return next()
        first = false
        return { done: false, value: 'first' }
      }
      t.match(await torn(t, () => ({ [Symbol.asyncIterator]: () => ({ next: late }) })), { message })
    })
  }

  const iterables: Record<string, [source: unknown, message: string | RegExp]> = {
    '[Symbol.asyncIterator]() throws': [{ [Symbol.asyncIterator] () { throw new Error('no iterator') } }, 'no iterator'],
    '[Symbol.asyncIterator]() gives nothing': [{ [Symbol.asyncIterator] () {} }, /./],
    '[Symbol.iterator] is not a function': [{ [Symbol.iterator]: 'words' }, /./],
    'next is not a function': [{ [Symbol.asyncIterator]: () => ({ next: 'word' }) }, /next/]
  }
  for (const [problem, [source, message]] of Object.entries(iterables)) {
    t.test(`${problem}: an HTTP error, also where the source is not opened at all`, async t => {
      const { url } = await serveSource(t, () => source)
      const { statusCode, body } = await request(url)
      t.equal(statusCode, 500)
      t.match(await body.json(), { message })
      t.ok((await request(url, { method: 'HEAD' })).statusCode, 'HEAD is answered')
      t.equal(await (await request(`${url}/alive`)).body.text(), 'alive')
    })
  }
})

t.test('a promise that rejects', async t => {
  t.test('in an array fails the stream after the events before it', async t => {
    const rejected = new Error('third')
    t.match(await torn(t, () => ['first', setTimeout(5).then(() => { throw rejected })]), { message: 'third' })
  })

  t.test('in an array, behind another that did, harms nobody', async t => {
    const failed = deferred()
    const fail = async () => { throw new Error('no upstream') }
    const { url } = await serveSource(t, () => [fail(), failed.promise.then(fail)])
    t.equal((await request(url)).statusCode, 500)
    failed.resolve()
    await setImmediate()
    t.equal(await (await request(`${url}/alive`)).body.text(), 'alive')
  })

  t.test('in a sync generator runs its finally', async t => {
    let ended = false
    await torn(t, () => (function * () {
      try {
        yield 'first'
        yield Promise.reject(new Error('second'))
      } finally {
        ended = true
      }
    })())
    t.equal(ended, true)
  })
})

t.test('no rejection that nobody waits for ends the process', async t => {
  const fail = async (): Promise<SseEvent> => { throw new Error('no upstream') }
  /** Fails the test for an unhandled rejection, which is told of by now. */
  const settled = (): Promise<void> => setImmediate()

  for (const [kind, collect] of Object.entries<(promises: Array<Promise<SseEvent>>) => Iterable<unknown>>({ 'an array': promises => promises, 'a Set': promises => new Set(promises) })) {
    t.test(`of ${kind}, while an earlier one is pending`, async t => {
      for (const hand of [(source: unknown) => source, (source: unknown) => () => source, (source: unknown) => async () => source]) {
        const first = deferred<SseEvent>()
        const { url, log } = await serveSource(t, () => hand(collect([first.promise, fail(), fail()])))
        const stream = open(t, url)
        await settled()
        first.resolve('first')
        t.match(await (await stream).next(), { data: 'first' })
        await t.rejects((await stream).next())
        t.match(await log.find('event stream failed'), { err: { message: 'no upstream' } })
        t.equal(log.complaints.length, 1)
      }
    })
  }

  t.test('of an array that is not opened', async t => {
    const { url } = await serveSource(t, () => [fail()])
    t.equal((await request(url, { method: 'HEAD' })).statusCode, 200)
    await settled()
  })

  t.test('of an array that a function gives after the client has gone', async t => {
    const asked = deferred()
    const gone = deferred()
    const given = deferred()
    const { url, log } = await serveSource(t, () => async () => {
      asked.resolve()
      await gone.promise
      given.resolve()
      return [fail(), fail()]
    })
    const stream = await open(t, url)
    await asked.promise
    stream.close()
    await log.find('event stream closed')
    gone.resolve()
    await given.promise
    await settled()
    t.same(log.complaints, [])
  })

  t.test('of a promise as the source, which is refused with the mend', async t => {
    const mend = /got a promise: await it, or hand over the function that gives it$/
    for (const make of [fail, async () => WORDS]) {
      t.match(await refused(t, make), { statusCode: 500, code: 'FST_ERR_SSE_SOURCE', message: mend })
    }
    await settled()
  })

  t.test('of a file that is not there, opened after the client has gone', async t => {
    const asked = deferred()
    const gone = deferred()
    const closed = deferred()
    const { url, log } = await serveSource(t, () => async () => {
      asked.resolve()
      await gone.promise
      return createReadStream('no/such/file').once('close', closed.resolve)
    })
    const stream = await open(t, url)
    await asked.promise
    stream.close()
    await log.find('event stream closed')
    gone.resolve()
    await closed.promise
    await settled()
    t.same(log.complaints, [])
    t.equal(await (await request(`${url}/alive`)).body.text(), 'alive')
  })

  t.test('of a Readable whose destruction fails, given after the client has gone', async t => {
    const gone = deferred()
    const closed = deferred()
    const { url, log } = await serveSource(t, () => async () => {
      await gone.promise
      const source = new Readable({ read () {}, destroy (_, done) { done(new Error('also broken')) } })
      return source.once('close', closed.resolve)
    })
    const stream = await open(t, url)
    stream.close()
    await log.find('event stream closed')
    gone.resolve()
    await closed.promise
    await settled()
    t.same(log.complaints, [])
  })
})

t.test('a source that can be drained once is for one stream', async t => {
  const DRAINED = /that a stream has drained already: hand over the function that makes it, or a channel$/

  const kinds: Record<string, (opened: Promise<void>) => unknown> = {
    'a generator object': opened => (async function * () { yield 'first'; await opened; yield 'second' })(),
    'a sync generator object': opened => (function * () { yield 'first'; yield opened.then(() => 'second') })(),
    'an iterator that is iterable': opened => ['first', opened.then(() => 'second')][Symbol.iterator](),
    'a Readable': opened => Readable.from((async function * () { yield 'first'; await opened; yield 'second' })())
  }
  for (const [kind, make] of Object.entries(kinds)) {
    for (const [way, hand] of Object.entries<(source: unknown) => unknown>({ itself: source => source, 'by a function that returns the same': source => () => source, 'by an async function': source => async () => source })) {
      t.test(`${kind}, handed over ${way}: a second one is refused, and the first goes on`, async t => {
        const goOn = deferred()
        const source = make(goOn.promise)
        const { url, log } = await serveSource(t, () => hand(source))
        const stream = await open(t, url)
        t.match(await stream.next(), { data: 'first' })
        for (const headers of [{}, EVENT_SOURCE]) {
          const { statusCode, body } = await request(url, { headers })
          t.equal(statusCode, 500)
          t.match(await body.json(), { code: 'FST_ERR_SSE_SOURCE', message: DRAINED })
        }
        goOn.resolve()
        t.match(await stream.rest(), [{ data: 'second' }])
        t.match((await log.take('event stream closed', 3)).map(({ reason }) => reason), ['error', 'error', 'finished'])
        t.equal((await request(url)).statusCode, 500, 'nor when the first has ended')
      })
    }
  }

  t.test('one that makes an iterator for each is for many', async t => {
    const source = new Set(WORDS)
    const { url } = await serveSource(t, () => source)
    for (let n = 0; n < 2; n++) t.same((await (await open(t, url)).rest()).map(({ data }) => data), WORDS)
  })

  t.test('one that was not opened is still there', async t => {
    const source = Readable.from(WORDS)
    const { url } = await serveSource(t, () => () => source)
    t.equal((await request(url, { method: 'HEAD' })).statusCode, 200)
    t.same((await (await open(t, url)).rest()).map(({ data }) => data), WORDS)
  })
})

t.test('a query that is run by then, and is async iterable, is run as often as await would', async t => {
  function query () {
    let runs = 0
    const rows = {
      then (resolve: (rows: unknown) => void) {
        runs++
        resolve(WORDS)
      },
      [Symbol.asyncIterator]: wordsIterator
    }
    return { rows, runs: () => runs }
  }

  t.test('as a source, or from a function: once', async t => {
    for (const hand of [(rows: unknown) => rows, (rows: unknown) => () => rows]) {
      const { rows, runs } = query()
      t.same(await drained(t, hand(rows)), WORDS)
      t.equal(runs(), 1)
    }
  })

  t.test('as a source that is not opened: never', async t => {
    const { rows, runs } = query()
    const { url } = await serveSource(t, () => rows)
    t.equal((await request(url, { method: 'HEAD' })).statusCode, 200)
    t.equal(runs(), 0)
  })

  t.test('as data, which is refused: never', async t => {
    const { rows, runs } = query()
    t.match(await refused(t, () => [{ data: rows }]), { code: 'FST_ERR_SSE_FIELD', message: /await it/ })
    t.equal(runs(), 0)
  })

  t.test('in an array: once, when it is its turn', async t => {
    let runs = 0
    const row = { then (resolve: (row: string) => void) { resolve(`run ${++runs}`) } }
    t.same(await drained(t, ['first', row]), ['first', 'run 1'])
    const { url } = await serveSource(t, () => [row])
    await request(url, { method: 'HEAD' })
    t.equal(runs, 1, 'and not where the array is not opened')
  })
})

t.test('a source function', async t => {
  const teapot = () => Object.assign(new Error('short and stout'), { statusCode: 418 })

  t.test('that throws is an HTTP error with the status of the error', async t => {
    t.match(await refused(t, () => () => { throw teapot() }), { statusCode: 418, message: 'short and stout' })
  })

  t.test('that rejects within prime is an HTTP error with the status of the error', async t => {
    t.match(await refused(t, () => async () => { throw teapot() }), { statusCode: 418, message: 'short and stout' })
  })

  t.test('that rejects after the headers were sent tears the stream', async t => {
    const opened = deferred()
    const { url, log } = await serve(t, app => app.get('/', (request, reply) => reply.sse(async () => {
      await opened.promise
      throw teapot()
    })))
    const stream = await open(t, url)
    t.equal(stream.response.status, 200)
    opened.resolve()
    await t.rejects(stream.next())
    t.match(await log.find('event stream failed'), { err: { message: 'short and stout' } })
  })

  for (const junk of ['text', 42, null, undefined, { data: 'x' }, Symbol('sign')]) {
    t.test(`that returns ${String(junk)}, or a promise of it, is refused with its outline`, async t => {
      const expected = { statusCode: 500, code: 'FST_ERR_SSE_SOURCE', message: shown(junk) }
      t.match(await refused(t, () => () => junk), expected)
      t.match(await refused(t, () => async () => junk), expected)
    })
  }

  const late: Record<string, (ended: () => void) => unknown> = {
    Readable: ended => new Readable({ read () {}, destroy (error, done) { ended(); done(error) } }),
    'web stream': ended => new ReadableStream({ cancel: ended }),
  }
  for (const [kind, make] of Object.entries(late)) {
    t.test(`whose ${kind} comes after the client has gone lets it go`, async t => {
      const gone = deferred()
      const ended = deferred()
      const { url, log } = await serveSource(t, () => async () => {
        await gone.promise
        return make(ended.resolve)
      })
      const stream = await open(t, url)
      stream.close()
      t.match(await log.find('event stream closed'), { reason: 'client' })
      gone.resolve()
      await ended.promise
      t.same(log.complaints, [])
    })
  }

  t.test('is called once for each stream', async t => {
    let calls = 0
    const { url } = await serveSource(t, () => () => [String(++calls)])
    for (const data of ['1', '2']) t.match(await (await open(t, url)).rest(), [{ data }])
  })
})

t.test('the stream context', async t => {
  t.test('has the request, its log, its last event ID and a signal', async t => {
    let given: StreamContext | undefined
    const { url, log } = await serve(t, app => app.get('/:name', (request, reply) => reply.sse(function * (stream) {
      given = stream
      stream.log.info('from the source')
      t.equal(stream.request, request)
      yield stream.lastEventId
    })))
    const stream = await open(t, `${url}/x`, { headers: { 'last-event-id': '42' } })
    t.match(await stream.rest(), [{ data: '42' }])
    t.match(await log.find('from the source'), { reqId: /./ })
    t.type(given?.signal, AbortSignal)
    t.equal(given?.signal.aborted, false, 'a stream that has finished was not aborted')
  })

  t.test('has one signal, however often it is asked for', async t => {
    const context = deferred<StreamContext>()
    const { url } = await serveSource(t, () => async function * (stream: StreamContext) {
      context.resolve(stream)
      await once(stream.signal, 'abort')
    })
    const stream = await open(t, url)
    const { signal, ...rest } = await context.promise.then(given => ({ signal: given.signal, given }))
    t.equal(rest.given.signal, signal)
    stream.close()
    await once(signal, 'abort')
    t.equal(rest.given.signal, signal)
  })

  t.test('has an aborted signal for those who ask after the client has gone', async t => {
    const context = deferred<StreamContext>()
    const { url, log } = await serveSource(t, () => (stream: StreamContext) => {
      context.resolve(stream)
      return { [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}) }) }
    })
    const stream = await open(t, url)
    stream.close()
    await log.find('event stream closed')
    const { signal } = await context.promise
    t.equal(signal.aborted, true)
    t.match(signal.reason, { name: 'AbortError', code: 'FST_ERR_SSE_CLOSED', reason: 'client' })
  })
})

t.test('a Readable in object mode', async t => {
  t.test('gives each object as an event, those written before and those after the stream was opened', async t => {
    const source = new PassThrough({ objectMode: true })
    source.write({ id: 1, event: 'a', data: { n: 1 } })
    const { url } = await serveSource(t, () => source)
    const stream = await open(t, url)
    t.match(await stream.next(), { id: '1', event: 'a', data: '{"n":1}' })
    source.write('two')
    t.match(await stream.next(), { id: undefined, event: undefined, data: 'two' })
    source.end({ data: '' })
    t.match(await stream.rest(), [{ data: '' }])
  })

  t.test('that was paused beforehand is read at once all the same', async t => {
    const source = new PassThrough({ objectMode: true })
    source.pause()
    source.end('one')
    const { url } = await serve(t, app => app.get('/', (request, reply) => reply.sse(source, { prime: 10_000 })))
    t.equal(await (await request(url)).body.text(), 'data: one\n\n')
  })

  t.test('keeps an empty string as an event with empty data', async t => {
    t.same(await drained(t, Readable.from(['', 'one', ''])), ['', 'one', ''])
  })

  t.test('takes Readable.from of a generator, and runs its finally when the client leaves', async t => {
    const ended = deferred()
    const { url } = await serveSource(t, () => Readable.from((async function * () {
      try {
        for (;;) yield 'first'
      } finally {
        ended.resolve()
      }
    })()))
    const stream = await open(t, url)
    await stream.next()
    stream.close()
    await ended.promise
  })

  t.test('that fails before its first event is an HTTP error', async t => {
    const error = Object.assign(new Error('no bytes'), { statusCode: 503 })
    t.match(await refused(t, () => new Readable({ objectMode: true, read () { this.destroy(error) } })), { statusCode: 503, message: 'no bytes' })
  })

  t.test('that fails after an event tears the stream', async t => {
    t.match(await torn(t, () => {
      const source = new PassThrough({ objectMode: true })
      source.write('first')
      source.once('data', () => { source.destroy(new Error('cable cut')) })
      return source
    }), { message: 'cable cut' })
  })

  t.test('that is destroyed before its end, without an error, is no clean end', async t => {
    t.match(await torn(t, () => {
      const source = new PassThrough({ objectMode: true })
      source.write('first')
      source.once('data', () => { source.destroy() })
      return source
    }), { code: 'ERR_STREAM_PREMATURE_CLOSE' })
  })

  t.test('that was destroyed beforehand is an HTTP error', async t => {
    const source = new PassThrough({ objectMode: true })
    source.destroy()
    await once(source, 'close')
    t.match(await refused(t, () => source), { statusCode: 500 })
  })

  t.test('that has ended beforehand is an empty stream', async t => {
    const source = Readable.from([])
    source.resume()
    await once(source, 'end')
    const { url } = await serveSource(t, () => source)
    t.equal((await request(url, { headers: EVENT_SOURCE })).statusCode, 204)
  })

  t.test('is destroyed when its client leaves, and nobody complains', async t => {
    const source = new PassThrough({ objectMode: true })
    const { url, log } = await serveSource(t, () => source)
    source.write('first')
    const stream = await open(t, url)
    await stream.next()
    stream.close()
    await once(source, 'close')
    await log.find('event stream closed')
    t.same(log.complaints, [])
  })

  t.test('is destroyed when it gives what is not an event', async t => {
    const source = Readable.from(['first', 2, 'third'])
    t.match(await torn(t, () => source), { code: 'FST_ERR_SSE_EVENT' })
    t.equal(source.destroyed, true)
  })

  t.test('that fails while the hooks still run is an HTTP error', async t => {
    const source = new PassThrough({ objectMode: true })
    const { url } = await serve(t, app => app.get('/', {
      async onSend () {
        if (source.destroyed) return
        source.destroy(new Error('too early'))
        await setImmediate()
      }
    }, (request, reply) => reply.sse(source)))
    const { statusCode, body } = await request(url)
    t.equal(statusCode, 500)
    t.match(await body.json(), { message: 'too early' })
  })

  t.test('that fails while it is being destroyed does not bring the process down', async t => {
    const closed = deferred()
    const source = new Readable({ objectMode: true, read () {}, destroy (_, done) { done(new Error('also broken')) } })
    source.once('close', closed.resolve)
    source.push('first')
    const { url } = await serveSource(t, () => source)
    const stream = await open(t, url)
    await stream.next()
    stream.close()
    await closed.promise
    t.equal(await (await request(`${url}/alive`)).body.text(), 'alive')
  })
})

t.test('a byte stream', async t => {
  const bytes = (text: string) => Array.from(Buffer.from(text), byte => Uint8Array.of(byte))
  const kinds: Record<string, (chunks: Uint8Array[]) => unknown> = {
    Readable: chunks => Readable.from(chunks, { objectMode: false }),
    'web stream': chunks => ReadableStream.from(chunks),
    'web stream of ArrayBuffers': chunks => ReadableStream.from(chunks.map(chunk => Uint8Array.from(chunk).buffer))
  }

  for (const [kind, make] of Object.entries(kinds)) {
    t.test(`as a ${kind} gives an event for each chunk`, async t => {
      t.same(await drained(t, make(WORDS.map(word => Buffer.from(word)))), WORDS)
    })

    t.test(`as a ${kind} holds a character back until it is whole, and makes no event of the pieces`, async t => {
      t.same(await drained(t, make(bytes('a☃🎈é'))), ['a', '☃', '🎈', 'é'])
    })

    t.test(`as a ${kind} shows a character that is cut off at the end`, async t => {
      t.same(await drained(t, make([Buffer.from('one'), Buffer.from('☃').subarray(0, 2)])), ['one', '\uFFFD'])
    })

    t.test(`as a ${kind} has no events for empty chunks`, async t => {
      t.same(await drained(t, make([new Uint8Array(0), Buffer.from('one'), new Uint8Array(0)])), ['one'])
    })

    t.test(`as a ${kind} of nothing but empty chunks is an empty stream`, async t => {
      const { url } = await serveSource(t, () => make([new Uint8Array(0), new Uint8Array(0)]))
      t.equal((await request(url, { headers: EVENT_SOURCE })).statusCode, 204)
    })

    t.test(`as a ${kind} gives the same text wherever it is cut`, async t => {
      let chunks: Uint8Array[] = []
      const { url } = await serveSource(t, () => make(chunks))
      await fc.assert(fc.asyncProperty(
        fc.string({ unit: 'binary', maxLength: 40 }).map(text => text.replaceAll(/[\r\n\0]/g, '')),
        fc.array(fc.nat(160)),
        async (text, cuts) => {
          const all = Buffer.from(text)
          const borders = [0, ...cuts.filter(cut => cut < all.length).sort((a, b) => a - b), all.length]
          chunks = borders.slice(1).map((end, at) => all.subarray(borders[at], end))
          const stream = await open(t, url)
          return (await stream.rest()).map(({ data }) => data).join('') === all.toString()
        }), { numRuns: 50, ...seed })
    })
  }

  t.test('with an encoding of its own is taken as it is', async t => {
    const source = new PassThrough()
    source.setEncoding('utf8')
    for (const byte of bytes('☃é')) source.write(byte)
    source.end()
    t.same((await drained(t, source)).join(''), '☃é')
  })

  t.test('arrives as it is written, not at its end', async t => {
    const source = new PassThrough()
    const { url } = await serveSource(t, () => source)
    source.write('first')
    const stream = await open(t, url)
    t.match(await stream.next(), { data: 'first' })
    source.write('second')
    t.match(await stream.next(), { data: 'second' })
    source.end()
    t.same(await stream.rest(), [])
  })

  t.test('that fails does not show the character it was cut in as text', async t => {
    t.match(await torn(t, () => {
      const source = new PassThrough()
      source.write('first')
      source.once('data', () => {
        source.once('data', () => { source.destroy(new Error('cut')) })
        source.write(Buffer.from('☃').subarray(0, 2))
      })
      return source
    }), { message: 'cut' })
  })
})

t.test('a web stream', async t => {
  t.test('of objects gives each as an event', async t => {
    const { url } = await serveSource(t, () => ReadableStream.from([{ id: 1, data: { n: 1 } }, 'two', '']))
    t.match(await (await open(t, url)).rest(), [{ id: '1', data: '{"n":1}' }, { data: 'two' }, { data: '' }])
  })

  t.test('is cancelled at once when its client leaves while a read is parked', async t => {
    const cancelled = deferred()
    const { url, log } = await serveSource(t, () => new ReadableStream({
      start (controller) { controller.enqueue('first') },
      pull: () => new Promise(() => {}),
      cancel: () => { cancelled.resolve() }
    }))
    const stream = await open(t, url)
    await stream.next()
    stream.close()
    await cancelled.promise
    await log.find('event stream closed')
    t.same(log.complaints, [])
  })

  t.test('is not cancelled when it has ended', async t => {
    let cancelled = false
    t.same(await drained(t, new ReadableStream({
      start (controller) {
        controller.enqueue('one')
        controller.close()
      },
      cancel: () => { cancelled = true }
    })), ['one'])
    t.equal(cancelled, false)
  })

  t.test('that fails before its first event is an HTTP error, after it a torn stream', async t => {
    t.match(await refused(t, () => new ReadableStream({ start (controller) { controller.error(new Error('early')) } })), { statusCode: 500, message: 'early' })
    t.match(await torn(t, () => {
      const chunks = ['first']
      return new ReadableStream({
        pull (controller) {
          const chunk = chunks.shift()
          if (chunk === undefined) controller.error(new Error('late'))
          else controller.enqueue(chunk)
        }
      })
    }), { message: 'late' })
  })

  t.test('whose cancel() rejects is one warning', async t => {
    const { url, log } = await serveSource(t, () => new ReadableStream({
      start (controller) { controller.enqueue('first') },
      cancel: async () => { throw new Error('no way') }
    }))
    const stream = await open(t, url)
    await stream.next()
    stream.close()
    t.match(await log.find('the source of a closed event stream failed'), { err: { message: 'no way' } })
    t.equal(log.complaints.length, 1)
  })

  t.test('that is locked is refused with an error that says so', async t => {
    const source = ReadableStream.from(WORDS)
    source.getReader()
    t.match(await refused(t, () => source), { statusCode: 500, message: /locked/i })
  })

  t.test('that is locked harms nobody where it is not opened', async t => {
    const source = ReadableStream.from(WORDS)
    source.getReader()
    const arrived = deferred()
    const { port, url, app } = await serve(t, app => {
      app.get('/', (request, reply) => {
        arrived.resolve()
        return reply.sse(source)
      })
      app.addHook('onSend', async (request, reply) => { if (request.method === 'GET') await once(reply.raw, 'close') })
    })
    await request(url, { method: 'HEAD' })
    const client = await connectTo(t, port, get('/'))
    await arrived.promise
    client.socket.destroy()
    await app.close()
  })
})

t.test('what is no source is refused', async t => {
  const wrong: Array<[title: string, value: unknown]> = [
    ['a string', 'some text'], ['a number', 42], ['null', null], ['undefined', undefined], ['a plain object', { data: 'x' }],
    ['an iterator that is not iterable', { next: () => ({ done: true }) }], ['a boolean', true], ['a bigint', 12n],
    ['a promise', Promise.resolve(WORDS)], ['an AsyncFunction result', (async () => 'some text')()]
  ]
  for (const [title, value] of wrong) {
    t.test(`${title}: with FST_ERR_SSE_SOURCE and its outline`, async t => {
      t.match(await refused(t, () => value), { statusCode: 500, code: 'FST_ERR_SSE_SOURCE', message: shown(value) })
    })
  }
})

t.test('what is no event fails the stream', async t => {
  const circular: Record<string, unknown> = {}
  circular['self'] = circular
  const wrong: Array<[title: string, value: unknown, code: string, message: string]> = [
    ['a number', 42, 'FST_ERR_SSE_EVENT', '42'],
    ['null', null, 'FST_ERR_SSE_EVENT', 'null'],
    ['undefined', undefined, 'FST_ERR_SSE_EVENT', 'undefined'],
    ['a boolean', false, 'FST_ERR_SSE_EVENT', 'false'],
    ['a symbol', Symbol('sign'), 'FST_ERR_SSE_EVENT', 'Symbol(sign)'],
    ['a function', function tick () {}, 'FST_ERR_SSE_EVENT', 'tick'],
    ['an object without fields', {}, 'FST_ERR_SSE_EVENT', 'got [object Object]'],
    ['an object of other keys', { price: 12 }, 'FST_ERR_SSE_EVENT', 'got an object with price'],
    ['an object with another key besides', { data: 'x', price: 12 }, 'FST_ERR_SSE_EVENT', 'got an object with data, price'],
    ['an array', ['x'], 'FST_ERR_SSE_EVENT', 'got an array of 1'],
    ['a Date', new Date(0), 'FST_ERR_SSE_EVENT', '1970'],
    ['bytes in a generator', Buffer.from('x'), 'FST_ERR_SSE_EVENT', 'got 1 bytes'],
    ['fields that are all undefined', { id: undefined, data: undefined }, 'FST_ERR_SSE_EVENT', 'got an object with id, data'],
    ['data that is a function', { data () {} }, 'FST_ERR_SSE_FIELD', 'data'],
    ['data that is a symbol', { data: Symbol('sign') }, 'FST_ERR_SSE_FIELD', 'Symbol(sign)'],
    ['a line break in the name', { event: 'a\nb', data: 'x' }, 'FST_ERR_SSE_FIELD', String.raw`a\nb`],
    ['a line break in the ID', { id: 'a\rb', data: 'x' }, 'FST_ERR_SSE_FIELD', String.raw`a\rb`],
    ['a negative retry', { retry: -1 }, 'FST_ERR_SSE_FIELD', '-1'],
    ['a comment that is no string', { comment: 7 }, 'FST_ERR_SSE_FIELD', '7']
  ]
  for (const [title, value, code, message] of wrong) {
    t.test(`${title}: ${code} with its outline, and finally runs`, async t => {
      const before = deferred()
      const early = await refused(t, () => async function * () {
        try { yield value } finally { before.resolve() }
      })
      t.match(early, { statusCode: 500, code })
      t.match(early.message, message)
      await before.promise

      const after = deferred()
      const late = await torn(t, () => async function * () {
        try {
          yield 'first'
          yield value
          t.fail('was pulled on')
        } finally { after.resolve() }
      })
      t.match(late, { code })
      t.match(late.message, message)
      await after.promise
    })
  }

  t.test('and the message names the mend', async t => {
    const { message } = await refused(t, () => [{ price: 12 }])
    t.match(message, 'yield { data: value }')
  })

  t.test('data that cannot be serialized: FST_ERR_SSE_FIELD with what the serializer said', async t => {
    const code = 'FST_ERR_SSE_FIELD'
    t.match(await refused(t, () => [{ data: circular }]), { statusCode: 500, code, message: /circular/i })
    t.match(await torn(t, () => ['first', { data: 12n }]), { code, message: /BigInt/ })
  })

  t.test('data that is a promise is refused with the mend, and its rejection ends nothing', async t => {
    const user = async () => { throw new Error('no such user') }
    t.match(await refused(t, () => [{ data: user() }]), { statusCode: 500, code: 'FST_ERR_SSE_FIELD', message: /await it/ })
    t.match(await torn(t, () => async function * () {
      yield 'first'
      yield { event: 'user', data: user() }
    }), { code: 'FST_ERR_SSE_FIELD', message: /await it/ })
  })

  t.test('what a source throws that is no error is shown by its keys', async t => {
    const thrown: unknown = { id: 7, passwordHash: 'secret' }
    const { message } = await refused(t, () => function * () { throw thrown })
    t.equal(message, 'The source threw an object with id, passwordHash')
    t.match(await torn(t, () => ['first', Promise.reject(thrown)]), { type: 'Error', message: 'The source threw an object with id, passwordHash' })
  })

  t.test('fields that throw when they are read', async t => {
    t.match(await refused(t, () => [{ get data () { throw new Error('no data') } }]), { statusCode: 500, message: 'no data' })
    t.match(await torn(t, () => ['first', new Proxy({}, { ownKeys () { throw new Error('no keys') } })]), { message: 'no keys' })
  })

  t.test('in a sync generator too, and finally runs', async t => {
    const ended = deferred()
    t.match(await torn(t, () => (function * () {
      try {
        yield 'first' as SseEvent
        yield 2
      } finally {
        ended.resolve()
      }
    })()), { code: 'FST_ERR_SSE_EVENT' })
    await ended.promise
  })

  t.test('in a web stream too, which is cancelled', async t => {
    const cancelled = deferred()
    t.match(await torn(t, () => new ReadableStream({
      start (controller) {
        controller.enqueue('first')
        controller.enqueue(2)
      },
      cancel: () => { cancelled.resolve() }
    })), { code: 'FST_ERR_SSE_EVENT' })
    await cancelled.promise
  })
})

t.test('a source that gives no event and no end keeps the process responsive', async t => {
  const { url } = await serveSource(t, () => (function * () { for (;;) yield setImmediate({ comment: '' }) })())
  const stream = await open(t, url)
  t.equal(await (await request(`${url}/alive`)).body.text(), 'alive')
  stream.close()
})

/** A value as the error messages outline it. */
function shown (value: unknown): string {
  if (typeof value === 'string') return `'${value}'`
  if (typeof value === 'bigint') return `${value}n`
  if (value instanceof Promise) return 'a promise: await it, or hand over the function that gives it'
  if (typeof value === 'object' && value !== null) return `an object with ${Object.keys(value).join(', ')}`
  return String(value)
}
