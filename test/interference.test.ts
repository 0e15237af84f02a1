import { once } from 'node:events'
import { OutgoingMessage } from 'node:http'
import { setImmediate, setTimeout } from 'node:timers/promises'
import fc from 'fast-check'
import type { FastifyInstance, FastifyReply } from 'fastify'
import t, { type Test } from 'tap'
import type { PluginOptions, StreamContext } from '../plugin/types'
import { readFrom } from './helpers/chunks'
import { deferred } from './helpers/deferred'
import { Line, type LineKind } from './helpers/line'
import { serve } from './helpers/serve'
import { connectTo, get } from './helpers/socket'

// What other code does to a response while a stream is open on it, whichever line its events take.
const kinds: Record<string, LineKind> = {
  'to the socket': { isPlain: false, secure: false },
  'of the response': { isPlain: true, secure: false }
}

type Interference = (t: Test, line: Line) => Promise<unknown>

const block = (data: string) => `data: ${data}\n\n`

type Steps = (reply: FastifyReply, context: StreamContext) => AsyncGenerator<string>

/** A source that can interfere with its own response. */
const serving = (steps: Steps) => (app: FastifyInstance) => app.get('/', (request, reply) => reply.sse(context => steps(reply, context)))

async function aborted ({ signal }: StreamContext): Promise<void> {
  if (!signal.aborted) await once(signal, 'abort')
}

async function assertAlive (t: Test, { client }: Awaited<ReturnType<Line['open']>>): Promise<void> {
  client.send(get('/alive'))
  t.match(await client.head(), /^HTTP\/1.1 200 /)
  t.equal(String(await client.take(5)), 'alive')
}

/** A client of a channel, and its response. */
async function openChannel (line: Line) {
  const opened = deferred<FastifyReply['raw']>()
  const served = await line.open(app => app.get('/', (request, reply) => {
    opened.resolve(reply.raw)
    return reply.sse(app.sse.channel('news'))
  }), { shutdown: { retry: 5 } })
  await served.client.head()
  await served.client.chunk()
  return { ...served, raw: await opened.promise }
}

const interferences: Record<string, Interference> = {
  'writes between events arrive in order, before the end': async (t, line) => {
    const served = await line.open(serving(async function * ({ raw }) {
      yield 'one'
      await setImmediate()
      raw.write(': raw one\n')
      yield 'two'
      await setImmediate()
      raw.write(': raw ☃\n')
      for (let n = 0; n < 3; n++) yield 'x'.repeat(20_000)
      await setImmediate()
      raw.write(': raw two\n')
      raw.write('')
      yield 'three'
    }))
    await served.client.head()
    t.equal(await served.client.body(), [
      block('one'), ': raw one\n', block('two'), ': raw ☃\n', block('x'.repeat(20_000)).repeat(3), ': raw two\n', block('three')
    ].join(''))
    await assertAlive(t, served)
  },

  'writes between events arrive in order, before the connection is torn': async (t, line) => {
    const served = await line.open(serving(async function * ({ raw }) {
      yield 'one'
      await setImmediate()
      raw.write(': raw\n')
      yield 'two'
      throw new Error('source')
    }))
    await served.client.head()
    t.equal(await served.client.torn(), block('one') + ': raw\n' + block('two'))
  },

  'a write in the turn of the first event sends the head, which is sent once': async (t, line) => {
    const served = await line.open(serving(async function * ({ raw }) {
      yield 'one'
      raw.write(': raw\n')
      yield 'two'
      await setImmediate()
      yield 'three'
    }))
    t.match(await served.client.head(), /^HTTP\/1.1 200 OK\r\n[^]*text\/event-stream/)
    t.equal(await served.client.body(), ': raw\n' + block('one') + block('two') + block('three'), 'events are written when their turn is over')
    await assertAlive(t, served)
  },

  'flushHeaders sends the head, which is sent once': async (t, line) => {
    const served = await line.open(serving(async function * ({ raw }) {
      yield 'one'
      raw.flushHeaders()
      yield 'two'
    }))
    t.match(await served.client.head(), /^HTTP\/1.1 200 OK\r\n[^]*text\/event-stream/)
    t.equal(await served.client.body(), block('one') + block('two'))
    await assertAlive(t, served)
  },

  'a response that is corked holds its events back until it is uncorked': async (t, line) => {
    const uncork = deferred()
    const served = await line.open(serving(async function * ({ raw }) {
      yield 'one'
      await setImmediate()
      raw.cork()
      yield 'two'
      await setImmediate()
      t.ok(raw.writableLength > 0)
      await uncork.promise
      raw.uncork()
      yield 'three'
    }))
    const { client } = served
    await client.head()
    t.equal(String(await client.chunk()), block('one'))
    uncork.resolve()
    t.equal(await client.body(), block('two') + block('three'))
    await assertAlive(t, served)
  },

  'writes to a corked response arrive in order among the events': async (t, line) => {
    const served = await line.open(serving(async function * ({ raw }) {
      yield 'one'
      await setImmediate()
      raw.cork()
      raw.write(': raw one\n')
      yield 'two'
      await setImmediate()
      raw.write(': raw two\n')
      raw.uncork()
      yield 'three'
    }))
    await served.client.head()
    t.equal(await served.client.body(), block('one') + ': raw one\n' + block('two') + ': raw two\n' + block('three'))
    await assertAlive(t, served)
  },

  'a response that is corked before the stream is sent whole when it is uncorked': async (t, line) => {
    const served = await line.open(serving(async function * ({ raw }) {
      raw.cork()
      yield 'one'
      await setImmediate()
      yield 'two'
      raw.uncork()
    }))
    t.match(await served.client.head(), /^HTTP\/1.1 200 OK\r\n/)
    t.equal(await served.client.body(), block('one') + block('two'))
    await assertAlive(t, served)
  },

  'a response that somebody else has ended takes no event any more, and the connection is fit for the next request': async (t, line) => {
    const served = await line.open(serving(async function * ({ raw }, context) {
      yield 'one'
      await setImmediate()
      raw.end('bye')
      yield 'late'
      await setImmediate()
      yield 'later'
      await aborted(context)
    }))
    const { client, log } = served
    await client.head()
    t.equal(await client.body(), block('one') + 'bye')
    await assertAlive(t, served)
    t.match(await log.find('event stream closed'), { reason: 'client' })
  },

  'a response that somebody else ends while its client does not read takes no event any more': async (t, line) => {
    const ended = deferred()
    const served = await line.open(serving(async function * ({ raw }, context) {
      do {
        yield 'x'.repeat(64 * 1024)
        await setImmediate()
      } while (raw.writableLength === 0)
      // The system takes no more: the end waits.
      raw.end()
      ended.resolve()
      yield 'late'
      await aborted(context)
    }))
    const { client, log } = served
    await client.head()
    await ended.promise
    t.notMatch(await client.body(), /late/)
    await assertAlive(t, served)
    await log.find('event stream closed')
  },

  'writes among the events of a channel arrive in order, also while the response is corked': async (t, line) => {
    const { app, client, raw } = await openChannel(line)
    const first = await app.sse.channel('news').publish('one')
    t.equal(String(await client.chunk()), `id: ${first}\n${block('one')}`)
    raw.write(': raw one\n')
    raw.cork()
    raw.write(': raw two\n')
    const { writableLength } = raw
    const second = await app.sse.channel('news').publish('two')
    while (raw.writableLength === writableLength) await setImmediate()
    raw.write(': raw three\n')
    raw.uncork()
    const closed = app.close()
    t.equal(await client.body(), `: raw one\n: raw two\nid: ${second}\n${block('two')}: raw three\nretry: 5\n`)
    await closed
  },

  'a response that somebody else has ended takes no event of its channel any more': async (t, line) => {
    const served = await openChannel(line)
    const { app, client, raw } = served
    const id = await app.sse.channel('news').publish('one')
    t.equal(String(await client.chunk()), `id: ${id}\n${block('one')}`)
    raw.end('bye')
    await app.sse.channel('news').publish('late')
    t.equal(await client.body(), 'bye')
    await assertAlive(t, served)
  },

  'an end that somebody has replaced is called once, at the end': async (t, line) => {
    let ends = 0
    const served = await line.open(app => {
      app.addHook('onRequest', async (request, { raw }) => {
        const { end } = raw
        raw.end = (...args: unknown[]) => {
          ends++
          return Reflect.apply(end, raw, args)
        }
      })
      serving(async function * () {
        yield 'one'
        await setImmediate()
        t.equal(ends, 0)
        yield 'two'
      })(app)
    })
    await served.client.head()
    t.equal(await served.client.body(), block('one') + block('two'))
    t.equal(ends, 1)
    await assertAlive(t, served)
  },

  'a timeout that was set on the response is lifted from its stream': async (t, line) => {
    let timeout: number | undefined
    const served = await line.open(app => app.get('/', (request, reply) => {
      reply.raw.setTimeout(30)
      return reply.sse(async function * () {
        yield 'one'
        timeout = reply.raw.socket?.timeout
        await setImmediate()
        yield 'two'
      })
    }))
    await served.client.head()
    t.equal(await served.client.body(), block('one') + block('two'))
    t.equal(timeout, 0)
  },

  'a timeout that a source sets on its open response ends it': async (t, line) => {
    const served = await line.open(serving(async function * ({ raw }, context) {
      yield 'one'
      raw.setTimeout(30)
      await aborted(context)
    }))
    await served.client.head()
    t.equal(await served.client.torn(), block('one'))
    t.match(await served.log.find('event stream closed'), { reason: 'client' })
  },

  'a request that waits for 100 Continue gets it before its stream': async (t, line) => {
    const body = '{"number":1}'
    const served = await line.open(app => app.post('/', (request, reply) => reply.sse([JSON.stringify(request.body)])), {},
      `POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nexpect: 100-continue\r\n\r\n`)
    const { client } = served
    t.equal(await client.head(), 'HTTP/1.1 100 Continue')
    client.send(body)
    t.match(await client.head(), /^HTTP\/1.1 200 /)
    t.equal(await client.body(), block(body))
    await assertAlive(t, served)
  },

  'early hints and other interim responses come before the head': async (t, line) => {
    const served = await line.open(serving(async function * ({ raw }) {
      raw.writeEarlyHints({ link: '</style.css>; rel=preload' })
      raw.writeProcessing()
      yield 'one'
    }))
    const { client } = served
    t.match(await client.head(), /^HTTP\/1.1 103 /)
    t.match(await client.head(), /^HTTP\/1.1 102 /)
    t.match(await client.head(), /^HTTP\/1.1 200 /)
    t.equal(await client.body(), block('one'))
    await assertAlive(t, served)
  },

  'a request that wants an upgrade nobody offers gets its stream': async (t, line) => {
    const served = await line.open(serving(async function * () {
      yield 'one'
    }), {}, get('/', { connection: 'upgrade', upgrade: 'websocket' }))
    t.match(await served.client.head(), /^HTTP\/1.1 200 /)
    t.equal(await served.client.body(), block('one'))
    await assertAlive(t, served)
  },

  'an encoding that is set on the socket is refused by Node, and harms no stream': async (t, line) => {
    const served = await line.open(serving(async function * ({ raw }) {
      t.throws(() => raw.socket?.setEncoding('latin1'), { code: 'ERR_HTTP_SOCKET_ENCODING' })
      yield '☃'
    }))
    await served.client.head()
    t.equal(await served.client.body(), block('☃'))
    await assertAlive(t, served)
  },

  'a socket that its source ends tears the stream': async (t, line) => {
    const { client, log } = await line.open(serving(async function * ({ raw }, context) {
      yield 'one'
      await setImmediate()
      raw.socket?.end()
      yield 'late'
      await aborted(context)
    }))
    await client.head()
    t.equal(await client.torn(), block('one'))
    t.match(await log.find('event stream closed'), { reason: 'client' })
    t.same(log.complaints, [])
  },

  'a response that its source destroys, with an event still to be written, tears the stream': async (t, line) => {
    const { client, log } = await line.open(serving(async function * ({ raw }, context) {
      yield 'one'
      await setImmediate()
      yield 'late'
      raw.destroy()
      await aborted(context)
    }))
    await client.head()
    t.equal(await client.torn(), block('one'))
    t.match(await log.find('event stream closed'), { reason: 'client' })
    t.same(log.complaints, [])
  }
}

for (const [name, kind] of Object.entries(kinds)) {
  t.test(`on the line ${name}`, async t => {
    for (const [title, interfere] of Object.entries(interferences)) {
      t.test(title, async t => {
        const line = new Line(t, kind)
        await interfere(t, line)
        line.prove()
      })
    }
  })
}

t.test('a write that somebody replaces while the stream is open sees the events that follow', async t => {
  let seen = ''
  const { port } = await serve(t, serving(async function * ({ raw }) {
    yield 'one'
    await setImmediate()
    const { write } = raw
    raw.write = (...args: unknown[]): boolean => {
      seen += String(args[0])
      return Reflect.apply(write, raw, args)
    }
    yield 'two'
  }))
  const client = await readFrom(t, port, get('/'))
  await client.head()
  t.equal(await client.body(), block('one') + block('two'))
  t.equal(seen, block('two'))
})

t.test('a write that somebody has replaced with one that forgets to call back', async t => {
  /** What it gives back, and when it says that there is room again: as Node does, never, or as soon as it is asked. */
  const answers: Record<string, (raw: FastifyReply['raw'], answer: boolean) => unknown> = {
    'gives what Node gives': (_raw, answer) => answer,
    'gives true': () => true,
    'gives nothing': () => undefined,
    'gives false, and then emits drain': raw => {
      process.nextTick(() => { raw.emit('drain') })
      return false
    }
  }

  for (const [title, answer] of Object.entries(answers)) {
    t.test(title, async t => {
      /** Middleware that keeps callbacks to itself, those of `flush` too. */
      const forgetful = (t: Test, routes: (app: FastifyInstance) => unknown, plugin: PluginOptions = {}) => serve(t, app => {
        app.addHook('onRequest', async (request, { raw }) => {
          const { write } = raw
          raw.write = (chunk: unknown): boolean => answer(raw, Reflect.apply(write, raw, [chunk])) as boolean
          Object.assign(raw, { flush () {} })
        })
        return routes(app)
      }, { plugin })

      t.test('lets the events follow that come later, and the end', async t => {
        const arrived = deferred()
        const { port, log } = await forgetful(t, serving(async function * () {
          yield 'one'
          await arrived.promise
          for (let n = 0; n < 3; n++) {
            yield 'x'.repeat(20_000)
            await setImmediate()
          }
          yield 'two'
        }))
        const client = await readFrom(t, port, get('/'))
        await client.head()
        t.equal(String(await client.chunk()), block('one'))
        arrived.resolve()
        t.equal(await client.body(), block('x'.repeat(20_000)).repeat(3) + block('two'))
        t.match(await log.find('event stream closed'), { reason: 'finished', events: 5 })
        t.same(log.complaints, [])
      })

      t.test('lets a heartbeat follow', async t => {
        const { port } = await forgetful(t, serving(async function * (reply, context) {
          yield 'one'
          await aborted(context)
        }), { heartbeat: 20 })
        const client = await readFrom(t, port, get('/'))
        await client.head()
        t.equal(String(await client.chunk()), block('one'))
        for (let n = 0; n < 3; n++) t.equal(String(await client.chunk()), ':\n')
      })

      t.test('lets the connection be torn when the source fails, behind the last words', async t => {
        const arrived = deferred()
        const { port } = await forgetful(t, serving(async function * () {
          yield 'one'
          await arrived.promise
          throw new Error('source')
        }), { onError: () => 'sorry' })
        const client = await readFrom(t, port, get('/'))
        await client.head()
        t.equal(String(await client.chunk()), block('one'))
        arrived.resolve()
        t.equal(await client.torn(), block('sorry'))
      })

      t.test('lets the events of a channel follow, and the farewell', async t => {
        const { app, port } = await forgetful(t, app => app.get('/', (request, reply) => reply.sse(app.sse.channel('news'))), { shutdown: { retry: 5 } })
        const client = await readFrom(t, port, get('/'))
        await client.head()
        await client.chunk()
        for (const data of ['one', 'two', '☃']) {
          const id = await app.sse.channel('news').publish(data)
          t.equal(String(await client.chunk()), `id: ${id}\n${block(data)}`)
        }
        const closed = app.close()
        t.equal(await client.body(), 'retry: 5\n')
        await closed
      })

      t.test('over HTTP/1.0 too', async t => {
        const { port } = await forgetful(t, serving(async function * () {
          yield 'one'
          await setImmediate()
          yield 'two'
        }))
        const client = await connectTo(t, port, get('/', {}, '1.0'))
        await client.closed
        t.match(client.received, /\r\n\r\ndata: one\n\ndata: two\n\n$/)
      })
    })
  }

  t.test('makes a source wait for a client that does not read', async t => {
    let pulled = 0
    const { port } = await serve(t, app => {
      app.addHook('onRequest', async (request, { raw }) => {
        const { write } = raw
        raw.write = (chunk: unknown): boolean => Reflect.apply(write, raw, [chunk])
      })
      serving(async function * () {
        while (pulled < 4_096) {
          pulled++
          yield 'x'.repeat(16 * 1024)
        }
      })(app)
    })
    const client = await readFrom(t, port, get('/'))
    await client.head()
    for (let last = -1, same = 0; same < 50; same = last === pulled ? same + 1 : 0) {
      last = pulled
      await setTimeout(1)
    }
    t.ok(pulled < 4_096, `made to wait at ${pulled}`)
    t.equal((await client.body()).length, 4_096 * block('x'.repeat(16 * 1024)).length)
  })
})

t.test('a flushHeaders that somebody has replaced with one that waits lets no event go before the head', async t => {
  const { port } = await serve(t, app => {
    app.addHook('onRequest', async (request, { raw }) => {
      const { flushHeaders } = raw
      raw.flushHeaders = () => { process.nextTick(() => { flushHeaders.call(raw) }) }
    })
    serving(async function * () {
      yield 'one'
      await setImmediate()
      yield 'two'
    })(app)
  })
  const client = await readFrom(t, port, get('/'))
  t.match(await client.head(), /^HTTP\/1.1 200 OK\r\n/)
  t.equal(await client.body(), block('one') + block('two'))
})

t.test('whatever is written among events, and whenever the response is corked: chunks are whole, and all arrives in its order', async t => {
  type Action = ['event' | 'write', size: number] | ['turn' | 'cork']
  let actions: Action[] = []
  const { port } = await serve(t, serving(async function * ({ raw }) {
    for (const [index, [action, size = 0]] of actions.entries()) {
      if (action === 'event') yield `${index} ${'☃'.repeat(size)}`
      else if (action === 'write') raw.write(writeOf(index, size))
      else if (action === 'turn') await setImmediate()
      else corkForATurn(raw)
    }
    // Node 22 sends what a corked response holds back behind its end, when it is ended.
    await setImmediate()
  }))
  const client = await readFrom(t, port, '')
  const size = fc.oneof(fc.nat(10), fc.constantFrom(5_400, 16_384, 40_000))
  const action = fc.oneof<fc.Arbitrary<Action>[]>(fc.tuple(fc.constantFrom('event', 'write'), size), fc.tuple(fc.constantFrom('turn', 'cork')))
  await fc.assert(fc.asyncProperty(fc.array(action, { maxLength: 20 }), async tried => {
    actions = [['event', 0], ...tried]
    client.send(get('/'))
    await client.head()
    // A write may come between the pieces of a large event, and within a character of it.
    const body = Buffer.concat(await client.chunks()).toString('latin1')
    const writes = (body.match(WRITES) ?? []).join('')
    const events = Buffer.from(body.replace(WRITES, ''), 'latin1').toString()
    return writes === actions.map(([action, size = 0], index) => action === 'write' ? writeOf(index, size) : '').join('') &&
      events === actions.map(([action, size = 0], index) => action === 'event' ? block(`${index} ${'☃'.repeat(size)}`) : '').join('')
  }), { numRuns: 100 })
})

const WRITES = /\[\d+ x*\]/g

const writeOf = (index: number, size: number) => `[${index} ${'x'.repeat(size)}]`

function corkForATurn (raw: FastifyReply['raw']): void {
  raw.cork()
  process.nextTick(() => { raw.uncork() })
}

t.test('a write of all responses that somebody replaces, once the plugin is loaded, sees every event', async t => {
  const { write } = OutgoingMessage.prototype
  t.teardown(() => { OutgoingMessage.prototype.write = write })
  let seen = ''
  OutgoingMessage.prototype.write = function (...args: unknown[]): boolean {
    seen += String(args[0])
    return Reflect.apply(write, this, args)
  }
  const { port } = await serve(t, serving(async function * () {
    yield 'one'
    await setImmediate()
    yield 'two'
  }))
  const client = await readFrom(t, port, get('/'))
  await client.head()
  t.equal(await client.body(), block('one') + block('two'))
  t.equal(seen, block('one') + block('two'))
})
