import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { ReadableStream } from 'node:stream/web'
import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import t from 'tap'
import { Agent, EventSource, request } from 'undici'
import { encodeEvent, encodeRetry } from '../plugin/encode'
import type { Serializer } from '../plugin/event'
import { bySerializer } from '../plugin/to-text'
import { serve } from './helpers/serve'
import { cut, events, expected, expectedMessages, fieldText, idText, isIdCharacter, parse, places, text, type Event, type Message } from './helpers/wire'

const seed = process.env['FC_SEED']
if (seed !== undefined) fc.configureGlobal({ seed: Number(seed) })

const encode = (event: unknown, serialize: Serializer = JSON.stringify): string => encodeEvent(event, bySerializer(serialize))

const encodeAll = (events: readonly Event[]): Buffer => Buffer.from(events.map(event => encode(event)).join(''))

const NEVER: Serializer = () => { throw new Error('not to be serialized') }

function refusal (event: unknown, serialize?: Serializer): NodeJS.ErrnoException {
  try {
    encode(event, serialize)
  } catch (error) {
    return error as NodeJS.ErrnoException
  }
  throw new Error('it was encoded')
}

t.test('data', async t => {
  t.test('a string is the data of an unnamed event', async t => {
    t.equal(encode('hello'), 'data: hello\n\n')
    t.equal(encode({ data: 'hello' }), 'data: hello\n\n')
  })

  t.test('a string goes out as it is, without the serializer', async t => {
    t.equal(encode({ data: '{"a":1} "☃"' }, NEVER), 'data: {"a":1} "☃"\n\n')
  })

  t.test('its own leading space is kept behind the one that belongs to the field', async t => {
    t.equal(encode(' a\n b'), 'data:  a\ndata:  b\n\n')
  })

  for (const [name, lineBreak] of Object.entries({ LF: '\n', CR: '\r', CRLF: '\r\n' })) {
    t.test(`each line ended by ${name} is a field of its own`, async t => {
      t.equal(encode(`a${lineBreak}b`), 'data: a\ndata: b\n\n')
      t.equal(encode(`${lineBreak}a${lineBreak}`), 'data: \ndata: a\ndata: \n\n')
      t.equal(encode(`a${lineBreak}id: 1${lineBreak}data: b`), 'data: a\ndata: id: 1\ndata: data: b\n\n')
    })
  }

  t.test('mixed line breaks are counted as a client counts them', async t => {
    t.equal(encode('a\n\rb'), 'data: a\ndata: \ndata: b\n\n')
    t.equal(encode('a\r\r\nb'), 'data: a\ndata: \ndata: b\n\n')
    t.equal(encode('a\r\n\r\nb'), 'data: a\ndata: \ndata: b\n\n')
  })

  t.test('what only looks like a line break is left alone', async t => {
    t.equal(encode('a\u2028b\u0085c\vd\0e'), 'data: a\u2028b\u0085c\vd\0e\n\n')
  })

  t.test('an empty string is an event with empty data', async t => {
    t.equal(encode(''), 'data: \n\n')
    t.equal(encode({ data: '' }), 'data: \n\n')
  })

  t.test('anything else goes through the serializer', async t => {
    t.equal(encode({ data: { a: [1, { b: null }] } }), 'data: {"a":[1,{"b":null}]}\n\n')
    t.equal(encode({ data: [] }), 'data: []\n\n')
    t.equal(encode({ data: null }), 'data: null\n\n')
    t.equal(encode({ data: 0 }), 'data: 0\n\n')
    t.equal(encode({ data: false }), 'data: false\n\n')
    t.equal(encode({ data: new Date(0) }), 'data: "1970-01-01T00:00:00.000Z"\n\n')
    t.equal(encode({ data: { toJSON: () => 'short' } }), 'data: "short"\n\n')
    t.equal(encode({ data: { a: 'x\ny' } }), 'data: {"a":"x\\ny"}\n\n')
  })

  t.test('what a serializer gives is split into lines like a string', async t => {
    t.equal(encode({ data: { a: 1 } }, data => JSON.stringify(data, null, 1)), 'data: {\ndata:  "a": 1\ndata: }\n\n')
    t.equal(encode({ data: 1 }, () => 'a\r\rid: 1'), 'data: a\ndata: \ndata: id: 1\n\n')
    t.equal(encode({ data: 1 }, () => ''), 'data: \n\n')
  })

  t.test('a Uint8Array goes out as base64, without the serializer', async t => {
    t.equal(encode({ data: Uint8Array.of(0, 255, 10, 13) }, NEVER), 'data: AP8KDQ==\n\n')
    t.equal(encode({ data: Buffer.from('hello') }, NEVER), 'data: aGVsbG8=\n\n')
    t.equal(encode({ data: new Uint8Array() }, NEVER), 'data: \n\n')
  })

  t.test('of a subarray only its own bytes go out', async t => {
    t.equal(encode({ data: Uint8Array.of(1, 2, 3, 4).subarray(1, 3) }), 'data: AgM=\n\n')
    t.equal(encode({ data: Buffer.from('a secret b').subarray(0, 1) }), 'data: YQ==\n\n')
  })

  for (const [name, value] of Object.entries({
    'a function': () => 1,
    'a symbol': Symbol('mine'),
    'an object whose toJSON gives undefined': { toJSON () {} }
  })) {
    t.test(`${name} is refused, since nothing of it can be sent`, async t => {
      t.match(refusal({ event: 'a', data: value }), { code: 'FST_ERR_SSE_FIELD', message: /'data'.*serializer.*string/ })
    })
  }

  t.test('a serializer that gives no string is refused with what it was given, and what it gave', async t => {
    for (const [given, shown] of [[5, '5'], [undefined, 'undefined'], [null, 'null'], [{ secret: 1 }, 'an object with secret'], ['undefined', "'undefined'"]] as const) {
      const { message } = refusal({ data: { now: 1 } }, () => given as string)
      t.equal(message, `The field 'data' of an event must be something that its serializer turns into a string (its serializer gives ${shown}), got an object with now`)
    }
  })

  t.test('the error of a serializer is the cause of ours', async t => {
    const circular: Record<string, unknown> = {}
    circular['self'] = circular
    const code = 'FST_ERR_SSE_FIELD'
    t.match(refusal({ data: 5n }), { code, message: /BigInt.*, got 5n$/, cause: { name: 'TypeError', message: /BigInt/ } })
    t.match(refusal({ data: circular }), { code, message: /circular[^]*, got an object with self$/, cause: { name: 'TypeError', message: /circular/ } })
    const reason = new Error('not today')
    const { message, cause } = refusal({ data: 1 }, () => { throw reason })
    t.equal(message, "The field 'data' of an event must be something that its serializer turns into a string (not today), got 1")
    t.equal(cause, reason)
  })

  t.test('what a serializer throws that is no error is shown by its keys', async t => {
    const thrown: unknown = { passwordHash: 'x' }
    const { message, cause } = refusal({ data: 1 }, () => { throw thrown })
    t.match(message, '(an object with passwordHash), got 1')
    t.equal(cause, thrown)
  })

  t.test('a promise is refused with the mend, and ends nothing when it rejects', async t => {
    for (const promise of [Promise.resolve('a'), Promise.reject(new Error('nobody waits for it')), { then () {} }]) {
      t.match(refusal({ data: promise }, NEVER), { code: 'FST_ERR_SSE_FIELD', message: /\(it is a promise: await it\)/, cause: { name: 'TypeError' } })
    }
    for (const promise of [Promise.resolve('a'), Promise.reject(new Error('nobody waits for it'))]) {
      t.match(refusal({ data: 1 }, () => promise as never), { code: 'FST_ERR_SSE_FIELD', message: /\(its serializer gives a promise, and must be synchronous\), got 1$/ })
    }
    // An unhandled rejection would be told of by now, and fail the test.
    await setImmediate()
  })
})

t.test('the other fields', async t => {
  t.test('all of them make one block, the name and the ID before the data', async t => {
    t.equal(
      encode({ data: 'd', event: 'e', id: 'i', retry: 1, comment: 'c' }),
      ': c\nretry: 1\nid: i\nevent: e\ndata: d\n\n')
  })

  t.test('a field that is undefined is as good as not there', async t => {
    t.equal(
      encode({ data: 'd', event: undefined, id: undefined, retry: undefined, comment: undefined }),
      'data: d\n\n')
  })

  t.test('an event that inherits its fields is encoded with them', async t => {
    class Tick {
      get event () { return 'tick' }
      get data () { return 1 }
    }
    t.equal(encode(new Tick()), 'event: tick\ndata: 1\n\n')
    t.equal(encode(Object.assign(Object.create(null), { data: 1 })), 'data: 1\n\n')
  })

  t.test('an empty ID is sent, since it resets that of the client', async t => {
    t.equal(encode({ id: '', data: 'd' }), 'id: \ndata: d\n\n')
  })

  t.test('an ID may be a number, zero too', async t => {
    t.equal(encode({ id: 0, data: 'd' }), 'id: 0\ndata: d\n\n')
    t.equal(encode({ id: -1.5, data: 'd' }), 'id: -1.5\ndata: d\n\n')
  })

  t.test('an ID alone is a block of its own, which moves the cursor of the client', async t => {
    t.equal(encode({ id: 7 }), 'id: 7\n\n')
    t.equal(encode({ id: '' }), 'id: \n\n')
  })

  t.test('an event with a name and no data goes out with empty data, or no client would dispatch it', async t => {
    t.equal(encode({ event: 'ping' }), 'event: ping\ndata: \n\n')
    t.equal(encode({ event: 'ping', id: 1 }), 'id: 1\nevent: ping\ndata: \n\n')
  })

  t.test('a retry of zero is sent, and so is the largest one', async t => {
    t.equal(encode({ retry: 0, data: 'd' }), 'retry: 0\ndata: d\n\n')
    t.equal(encode({ retry: -0, data: 'd' }), 'retry: 0\ndata: d\n\n')
    t.equal(encodeRetry(Number.MAX_SAFE_INTEGER), 'retry: 9007199254740991\n')
  })

  t.test('a comment or a retry alone carries no blank line, so that no client makes an empty message of it', async t => {
    t.equal(encode({ comment: 'hi' }), ': hi\n')
    t.equal(encode({ retry: 5 }), 'retry: 5\n')
    t.equal(encode({ retry: 5, comment: 'hi' }), ': hi\nretry: 5\n')
  })

  t.test('a comment of several lines is split like data', async t => {
    t.equal(encode({ comment: 'a\nb\rc\r\nd' }), ': a\n: b\n: c\n: d\n')
    t.equal(encode({ comment: 'a\n\ndata: b\n\n' }), ': a\n: \n: data: b\n: \n: \n')
    t.equal(encode({ comment: '' }), ': \n')
  })
})

t.test('a field that cannot go over the wire is refused with its name, what is allowed and the value', async t => {
  const refused: [field: string, allowed: RegExp, values: [value: unknown, shown: string][]][] = [
    ['id', /a string of at most 1024 bytes without control characters, or a finite number/, [
      ['a\nb', "'a\\nb'"], ['a\rb', "'a\\rb'"], ['a\r\nb', "'a\\r\\nb'"], ['a\0b', "'a\\x00b'"], ['\n', "'\\n'"],
      ['a\x01', "'a\\x01'"], ['\x1b[0m', "'\\x1B[0m'"], ['\x1f', "'\\x1F'"], ['a\x7fb', "'a\\x7Fb'"], ['\b', "'\\b'"],
      [NaN, 'NaN'], [Infinity, 'Infinity'], [null, 'null'], [5n, '5n'], [true, 'true'], [{ toString: null }, 'an object with toString']
    ]],
    ['event', /a string without CR, LF and NUL/, [
      ['a\nb', "'a\\nb'"], ['a\rb', "'a\\rb'"], ['a\r\nb', "'a\\r\\nb'"], ['a\0b', "'a\\x00b'"], ['tick\n', "'tick\\n'"],
      [null, 'null'], [1, '1'], [['tick'], 'an array of 1']
    ]],
    ['retry', /a non-negative safe integer of milliseconds/, [
      [-1, '-1'], [1.5, '1.5'], [NaN, 'NaN'], [Infinity, 'Infinity'], [2 ** 53, '9007199254740992'], ['5', "'5'"], [null, 'null'], [5n, '5n']
    ]],
    ['comment', /a string/, [[null, 'null'], [1, '1'], [['a', 'b'], 'an array of 2']]]
  ]

  for (const [field, allowed, values] of refused) {
    t.test(`${field} must be ${allowed.source}`, async t => {
      for (const [value, shown] of values) {
        const error = refusal({ [field]: value, data: 'd' })
        t.match(error, { code: 'FST_ERR_SSE_FIELD', statusCode: 500, message: allowed }, shown)
        t.ok(error.message.includes(`'${field}'`) && error.message.endsWith(`got ${shown}`), error.message)
        t.ok(error instanceof TypeError)
      }
    })
  }
})

t.test('an ID that the header could not bring back is refused, in bytes', async t => {
  for (const id of ['x'.repeat(1024), 'é'.repeat(512), '☃'.repeat(341) + 'x', '😀'.repeat(256), 'a\tb', '\x80\xff', 'a b', '~']) {
    t.equal(encode({ id }), `id: ${id}\n\n`)
  }
  for (const id of ['x'.repeat(1025), 'é'.repeat(513), '☃'.repeat(342), '😀'.repeat(257), 'x'.repeat(1e6)]) {
    t.match(refusal({ id }), { code: 'FST_ERR_SSE_FIELD', message: /at most 1024 bytes/ })
  }
})

t.test('what is not an event is refused with its outline and the mend', async t => {
  const keys = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, index) => [`k${index}`, 'secret']))
  for (const [value, shown] of [
    [undefined, 'undefined'], [null, 'null'], [5, '5'], [true, 'true'], [5n, '5n'], [Symbol('s'), 'Symbol(s)'],
    [() => {}, '[Function (anonymous)]'], [{}, '[object Object]'], [[], 'an array of 0'], [['secret'], 'an array of 1'], [[{ data: 'secret' }, 1], 'an array of 2'],
    [{ id: 1, passwordHash: 'secret' }, 'an object with id, passwordHash'], [{ data: 'secret', evnet: 'tick' }, 'an object with data, evnet'],
    [{ Data: 'secret' }, 'an object with Data'], [{ data: 1, extra: undefined }, 'an object with data, extra'], [{ data: undefined }, 'an object with data'],
    [keys(10), 'an object with k0, k1, k2, k3, k4, k5, k6, k7, k8, k9.'], [keys(11), 'an object with k0, k1, k2, k3, k4, k5, k6, k7, k8, k9, ….'],
    [new Date(0), '1970-01-01T00:00:00.000Z'], [new Map([['data', 'secret']]), '[object Map]'], [new Set(['secret']), '[object Set]'], [new TypeError('mine'), 'TypeError: mine'],
    [Buffer.from('secret'), '6 bytes'], [new Uint8Array(), '0 bytes'], [new Float64Array(2), '16 bytes'], [new DataView(new ArrayBuffer(3)), '3 bytes'],
    [Promise.resolve('secret'), '[object Promise]'], [new Proxy({ now: 'secret' }, {}), 'a Proxy'], [new Proxy(['secret'], {}), 'a Proxy']
  ] as const) {
    const error = refusal(value)
    t.match(error, { code: 'FST_ERR_SSE_EVENT', statusCode: 500, message: 'yield { data: value }' }, shown)
    t.ok(error.message.includes(`got ${shown}`), error.message)
    t.notMatch(error.message, 'secret')
  }
})

t.test('the keys of something long that is no event are not gone through', async t => {
  const untouched = new Proxy([], { ownKeys () { throw new Error('its keys were asked for') } })
  t.match(refusal(untouched), { code: 'FST_ERR_SSE_EVENT', message: /got a Proxy/ })
  t.match(refusal(new Uint8Array(20_000_000)), { code: 'FST_ERR_SSE_EVENT', message: /got 20000000 bytes/ })
  t.match(refusal(new Array(20_000_000).fill(0)), { code: 'FST_ERR_SSE_EVENT', message: /got an array of 20000000/ })
})

t.test('a value is shown on one short line, an error without its stack', async t => {
  const deep = { a: { b: { c: { d: { e: 1 } } } }, list: Array.from({ length: 100 }, (_, index) => ({ index })) }
  for (const value of [new Error('mine'), { error: new Error('mine') }, 'x'.repeat(1000) + '\n', deep]) {
    const { message } = refusal({ id: value })
    t.notMatch(message, /\n|\bat .*:\d/)
    t.ok(message.length < 400)
  }
  t.match(refusal(new TypeError('mine')).message, 'TypeError: mine')
})

t.test('any list of events, cut into any chunks, reaches eventsource-parser whole', async t => {
  const arrives = fc.property(events, places, (events, places) => {
    assert.deepEqual(parse(cut(encodeAll(events), places)), expected(events))
  })
  t.doesNotThrow(() => fc.assert(arrives, { numRuns: 1500 }))
})

t.test('any list of events, cut into any chunks, reaches the EventSource of undici whole', async t => {
  const END = 'end of the list'
  let body: Uint8Array[] = []
  const server = createServer((request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    for (const chunk of body) response.write(chunk)
    response.end()
  })
  const dispatcher = new Agent({ connections: 1 })
  t.teardown(async () => {
    await dispatcher.close()
    server.close()
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  async function receive (types: Iterable<string>): Promise<Message[]> {
    const source = new EventSource(url, { node: { dispatcher } })
    const messages: Message[] = []
    for (const type of types) {
      source.addEventListener(type, event => {
        const { data, lastEventId } = event as MessageEvent
        messages.push({ type, data, lastEventId })
      })
    }
    await new Promise<void>(resolve => {
      source.addEventListener(END, () => { resolve() })
      source.onerror = () => { resolve() }
    })
    source.close()
    return messages
  }

  const arrives = fc.asyncProperty(events, places, async (events, places) => {
    body = cut(encodeAll([...events, { event: END }]), places)
    const messages = expectedMessages(events)
    assert.deepEqual(await receive(new Set(messages.map(({ type }) => type))), messages)
  })
  await t.resolves(fc.assert(arrives, { numRuns: 150 }))
})

t.test('no event, whatever its strings, makes other events, IDs, names or reconnection times than its own', async t => {
  const before = { id: 'before', event: 'before', data: 'before' }
  const after = { data: 'after' }
  const hostile = fc.record({
    id: fc.oneof(text, idText),
    event: fc.oneof(text, fieldText),
    data: text,
    retry: fc.oneof<[fc.Arbitrary<number>, fc.Arbitrary<unknown>]>(fc.nat(), fc.constantFrom('1', '1\ndata: x\n\n', 1.5, -1)),
    comment: text
  }, { requiredKeys: ['comment'] })

  const keepsToItself = fc.property(hostile, places, (event, places) => {
    const breaksOut = /[\r\n\0]/.test(event.event ?? '') || !Array.from(event.id ?? '').every(isIdCharacter) || !Number.isInteger(event.retry ?? 0) || Number(event.retry) < 0
    let block: string
    try {
      block = encode(event)
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, 'FST_ERR_SSE_FIELD')
      assert.ok(breaksOut, 'an event that could go out was refused')
      return
    }
    assert.ok(!breaksOut, 'an event that breaks out of its fields was encoded')
    const all = [before, event as Event, after]
    const bytes = Buffer.from(encode(before) + block + encode(after))
    assert.deepEqual(parse(cut(bytes, places)), expected(all))
  })
  t.doesNotThrow(() => fc.assert(keepsToItself, { numRuns: 1500 }))
})

t.test('over a socket', async t => {
  t.test('characters go out as UTF-8, and a lone surrogate as U+FFFD', async t => {
    const { url } = await serve(t, app => app.get('/', (request, reply) => reply.sse(['é☃😀', 'a\ud83d', { id: '\udc00', event: '\ud800', comment: '\udfff' }])))
    const response = await request(url)
    t.equal(
      Buffer.from(await response.body.arrayBuffer()).toString('latin1'),
      Buffer.from('data: é☃😀\n\ndata: a\ufffd\n\n: \ufffd\nid: \ufffd\nevent: \ufffd\ndata: \n\n').toString('latin1'))
  })

  t.test('of an event that is refused nothing reaches the client, and the stream is torn', async t => {
    const { url, log } = await serve(t, app => app.get('/', (request, reply) => reply.sse(async function * () {
      yield 'fine'
      yield { event: 'a\nid: 1', data: 'evil' }
      yield 'never'
    })))
    const response = await request(url)
    let received = ''
    await t.rejects(async () => { for await (const chunk of response.body) received += chunk })
    t.equal(received, 'data: fine\n\n')
    t.match(await log.find('event stream failed'), { err: { code: 'FST_ERR_SSE_FIELD' } })
  })

  t.test('a first event that is refused is answered by an HTTP error', async t => {
    const { url } = await serve(t, app => app.get('/', (request, reply) => reply.sse(async function * () {
      yield { now: 1 } as Event
    })))
    const { statusCode, body } = await request(url)
    t.equal(statusCode, 500)
    t.match(await body.json(), { code: 'FST_ERR_SSE_EVENT', message: 'yield { data: value }' })
  })

  t.test('any list of events from any kind of source arrives whole, and the connection is used again', async t => {
    const sources = {
      array: (events: Event[]) => events,
      async * generator (events: Event[]) { yield * events },
      async * pausing (events: Event[]) {
        for (const event of events) {
          await setImmediate()
          yield event
        }
      },
      readable: (events: Event[]) => Readable.from(events),
      web: (events: Event[]) => ReadableStream.from<Event>(events)
    }
    const kinds = fc.constantFrom(...Object.keys(sources) as (keyof typeof sources)[])
    let source: () => ReturnType<typeof sources[keyof typeof sources]> = () => []
    let connections = 0

    const { app, url } = await serve(t, app => app.get('/', (request, reply) => reply.sse(source())), { plugin: { prime: 60_000, heartbeat: false } })
    app.server.on('connection', () => { connections++ })
    const dispatcher = new Agent({ connections: 1 })
    t.teardown(() => dispatcher.close())

    const arrives = fc.asyncProperty(events, kinds, async (events, kind) => {
      source = () => sources[kind](events)
      const { statusCode, body } = await request(url, { dispatcher })
      assert.equal(statusCode, 200)
      assert.deepEqual(parse([new Uint8Array(await body.arrayBuffer())]), expected(events))
    })
    await t.resolves(fc.assert(arrives, { numRuns: 300 }))
    t.equal(connections, 1)
  })
})
