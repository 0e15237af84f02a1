import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { PassThrough, Readable } from 'node:stream'
import { mock } from 'node:test'
import type { FastifyInstance, FastifyReply } from 'fastify'
import t, { type Test } from 'tap'
import { EventSource, fetch } from 'undici'
import type { StreamContext } from '../plugin/types'
import { EVENT_SOURCE, open } from './helpers/client'
import { deferred } from './helpers/deferred'
import { serve } from './helpers/serve'
import { connectTo, get } from './helpers/socket'

const forever = new Promise<never>(() => {})

async function * parked ({ signal }: StreamContext): AsyncGenerator<string> {
  yield 'open'
  await once(signal, 'abort')
}

async function * deaf (): AsyncGenerator<string> {
  yield 'open'
  await forever
}

/** Serves one route with a short grace; the times to come back are far from those of any client. */
function serveOne (t: Test, answer: (reply: FastifyReply) => unknown, { grace = 50, prepare }: { grace?: number, prepare?: (app: FastifyInstance) => void } = {}) {
  return serve(t, app => {
    prepare?.(app)
    app.get('/', (request, reply) => answer(reply))
  }, { plugin: { prime: 60_000, shutdown: { grace, retry: { min: 50_000, max: 60_000 } } }, fastify: { pluginTimeout: 0 } })
}

const isFarewell = (retry = NaN) => retry >= 50_000 && retry <= 60_000

t.test('app.close() ends', async t => {
  interface Case {
    answer: (reply: FastifyReply) => unknown
    events: string[]
    grace?: number
  }

  const cases: Record<string, () => Case> = {
    'a generator that heeds its signal, at once': () => ({ answer: reply => reply.sse(parked), events: ['open'], grace: 2 ** 31 - 1 }),
    'a generator whose AbortError comes back, at once': () => ({
      answer: reply => reply.sse(async function * ({ signal }) {
        yield 'open'
        await once(new PassThrough(), 'never', { signal })
      }),
      events: ['open'],
      grace: 2 ** 31 - 1
    }),
    'a generator that is parked and ignores its signal, after the grace': () => ({ answer: reply => reply.sse(deaf), events: ['open'] }),
    'a generator that never stops yielding, after the grace': () => ({
      answer: reply => reply.sse(async function * () {
        yield 'open'
        for (;;) {
          yield { comment: 'still here' }
          await new Promise(resolve => { setTimeout(resolve, 1) })
        }
      }),
      events: ['open']
    }),
    'a generator after the last events that it yields within the grace': () => ({
      answer: reply => reply.sse(async function * ({ signal }) {
        yield 'open'
        await once(signal, 'abort')
        yield 'one more'
        await new Promise(resolve => { setTimeout(resolve, 10) })
        yield 'the last'
      }),
      events: ['open', 'one more', 'the last'],
      grace: 2 ** 31 - 1
    }),
    'a Readable, after the grace': () => ({
      answer: reply => {
        const readable = new Readable({ objectMode: true, read () {} })
        readable.push('open')
        return reply.sse(readable)
      },
      events: ['open']
    }),
    'a web stream, after the grace': () => ({ answer: reply => reply.sse(new ReadableStream<string>({ start (controller) { controller.enqueue('open') } })), events: ['open'] }),
    'an iterator without return(), after the grace': () => ({
      answer: reply => {
        const events = ['open']
        return reply.sse({ [Symbol.asyncIterator]: () => ({ next: async () => ({ done: false, value: events.shift() ?? await forever }) }) })
      },
      events: ['open']
    }),
    'every generator at once where the grace is 0': () => ({ answer: reply => reply.sse(deaf), events: ['open'], grace: 0 })
  }

  for (const [what, make] of Object.entries(cases)) {
    t.test(what, async t => {
      const { answer, events, grace = 50 } = make()
      const { app, url, log } = await serveOne(t, answer, { grace })
      const stream = await open(t, url, { headers: EVENT_SOURCE })
      const first = await stream.next()
      const closed = app.close()
      t.same([first, ...await stream.rest()].map(event => event?.data), events)
      t.ok(isFarewell(stream.retry()), `told to come back in ${stream.retry()} ms`)
      await closed
      t.match(await log.find('event stream closed'), { reason: 'shutdown' })
      t.same(log.complaints, [])
    })
  }

  t.test('a stream before its first event, which does not make an EventSource stop', async t => {
    for (const source of [
      async function * ({ signal }: StreamContext) { await once(signal, 'abort') },
      async function * () { await forever },
      async function * ({ signal }: StreamContext) { await once(new PassThrough(), 'never', { signal }) }
    ]) {
      const called = deferred()
      const { app, url, log } = await serveOne(t, reply => reply.sse(stream => {
        called.resolve()
        return source(stream)
      }))
      const opening = open(t, url, { headers: EVENT_SOURCE })
      await called.promise
      const closed = app.close()
      const stream = await opening
      t.equal(stream.response.status, 200)
      t.match(stream.response.headers.get('content-type'), /^text\/event-stream/)
      t.same(await stream.rest(), [])
      t.ok(isFarewell(stream.retry()), `told to come back in ${stream.retry()} ms`)
      await closed
      t.match(await log.find('event stream closed'), { reason: 'shutdown' })
    }
  })

  t.test('a stream whose first event comes within the grace, and nothing after it', async t => {
    const called = deferred()
    const { app, url } = await serveOne(t, reply => reply.sse(async function * ({ signal }) {
      called.resolve()
      await once(signal, 'abort')
      yield 'late'
      await forever
    }))
    const opening = open(t, url, { headers: EVENT_SOURCE })
    await called.promise
    const closed = app.close()
    const stream = await opening
    t.match(await stream.rest(), [{ data: 'late' }])
    t.ok(isFarewell(stream.retry()), `told to come back in ${stream.retry()} ms`)
    await closed
  })

  t.test('a stream that opens within the grace, and whose maxAge is longer', async t => {
    const called = deferred()
    const { app, url, log } = await serveOne(t, reply => reply.sse(async function * ({ signal }) {
      called.resolve()
      await once(signal, 'abort')
      yield 'late'
      await forever
    }, { maxAge: 3_600_000 }))
    const opening = open(t, url)
    await called.promise
    await Promise.all([app.close(), opening.then(stream => stream.rest())])
    t.match(await log.find('event stream closed'), { reason: 'shutdown', events: 1 })
  })

  t.test('a stream whose source throws before its first event by the HTTP error', async t => {
    const called = deferred()
    const { app, url } = await serveOne(t, reply => reply.sse(async function * ({ signal }) {
      called.resolve()
      await once(signal, 'abort')
      throw new Error('could not say goodbye')
    }))
    const opening = fetch(url)
    await called.promise
    const closed = app.close()
    t.equal((await opening).status, 500)
    await closed
  })

  t.test('a stream whose hooks still run', async t => {
    const reached = deferred()
    const gate = deferred()
    const told = deferred()
    let called = false
    const { app, url, log } = await serveOne(t, reply => reply.sse(async function * () {
      called = true
      yield 'never'
    }), {
      prepare: app => {
        app.addHook('onSend', async request => {
          if (request.url !== '/') return
          reached.resolve()
          await gate.promise
        })
        app.get('/other', (request, reply) => reply.sse(async function * (stream) {
          yield * parked(stream)
          told.resolve()
        }))
      }
    })
    const other = await open(t, `${url}/other`)
    await other.next()
    const opening = open(t, url, { headers: EVENT_SOURCE })
    await reached.promise
    const closed = app.close()
    await told.promise
    gate.resolve()
    const stream = await opening
    t.equal(stream.response.status, 200)
    t.same(await stream.rest(), [])
    t.ok(isFarewell(stream.retry()), `told to come back in ${stream.retry()} ms`)
    await closed
    t.notOk(called, 'the source was not asked')
    t.match(await log.take('event stream closed', 2), [{ reason: 'shutdown' }, { reason: 'shutdown' }])
  })

  t.test('a stream whose client has stalled', async t => {
    const written = deferred()
    const { app, port, log } = await serveOne(t, reply => reply.sse(async function * () {
      yield 'x'.repeat(48 * 1024 * 1024)
      written.resolve()
      await forever
    }))
    const client = await connectTo(t, port, get('/'))
    client.socket.pause()
    await written.promise
    await app.close()
    t.match(await log.find('event stream closed'), { reason: 'shutdown' })
    client.socket.resume()
    await client.closed
    t.notOk(client.received.endsWith('\r\n0\r\n\r\n'), 'what it did not take was not passed off as the end')
  })

  t.test('a response that was finished, and that its client does not take', async t => {
    const { app, port, log } = await serveOne(t, reply => reply.sse(['x'.repeat(48 * 1024 * 1024)]))
    const client = await connectTo(t, port, get('/'))
    client.socket.pause()
    t.match(await log.find('event stream closed'), { reason: 'finished' })
    await app.close()
    client.socket.resume()
    await client.closed
    t.notOk(client.received.endsWith('\r\n0\r\n\r\n'), 'what it did not take was not passed off as the end')
  })

  t.test('a response that was finished after its client has taken it', async t => {
    const { app, port, log } = await serveOne(t, reply => reply.sse(['x'.repeat(48 * 1024 * 1024)]), { grace: 2 ** 31 - 1 })
    const client = await connectTo(t, port, get('/', { connection: 'close' }))
    client.socket.pause()
    await log.find('event stream closed')
    // It has a second for it, which a busy machine may need for other things.
    mock.timers.enable({ apis: ['setTimeout'] })
    t.teardown(() => { mock.timers.reset() })
    const closed = app.close()
    client.socket.resume()
    await client.closed
    t.ok(client.received.endsWith('x\n\n\r\n0\r\n\r\n'), 'to the end')
    await closed
  })

  t.test('a stream that is pipelined behind an ordinary response that never ends', async t => {
    for (const before of ['/never', '/endless']) {
      const reached = deferred()
      const { app, port, log } = await serve(t, app => {
        app.get('/never', () => forever)
        app.get('/endless', (request, reply) => reply.send(new Readable({ read () { this.push(Buffer.alloc(65_536)) } })))
        app.get('/', (request, reply) => reply.sse(async function * (stream) {
          reached.resolve()
          yield * parked(stream)
        }))
      }, { fastify: { forceCloseConnections: true }, plugin: { shutdown: { grace: 50 } } })
      const client = await connectTo(t, port)
      client.socket.pause()
      client.send(get(before) + get('/'))
      await reached.promise
      await app.close()
      t.match(await log.find('event stream closed'), { reason: 'shutdown' })
      client.socket.resume()
      await client.closed
      t.notMatch(client.received, /retry/, 'it never came to its turn')
    }
  })

  t.test('though a client had gone before its stream was made', async t => {
    const { app, url } = await serveOne(t, async reply => {
      reply.raw.socket?.destroy()
      if (!reply.raw.closed) await once(reply.raw, 'close')
      return reply.sse(deaf)
    })
    await t.rejects(fetch(url))
    await app.close()
    t.pass('closed')
  })
})

t.test('app.close()', async t => {
  t.test('tells every source at once, and each client a time of its own', async t => {
    const reasons: unknown[] = []
    const { app, url } = await serveOne(t, reply => reply.sse(async function * (stream) {
      yield * parked(stream)
      reasons.push(stream.signal.reason.reason)
    }), { grace: 2 ** 31 - 1 })
    const streams = await Promise.all(Array.from({ length: 20 }, () => open(t, url, { headers: EVENT_SOURCE })))
    const closed = app.close()
    for (const stream of streams) t.match(await stream.rest(), [{ data: 'open' }])
    await closed
    t.same(reasons, Array(20).fill('shutdown'))
    const times = streams.map(stream => stream.retry())
    t.ok(times.every(isFarewell), `within the range: ${times}`)
    t.ok(new Set(times).size > 10, 'spread over it')
  })

  t.test('calls return() on a generator only when its grace is over', async t => {
    const steps: string[] = []
    const { app, url } = await serveOne(t, reply => reply.sse({
      [Symbol.asyncIterator]: () => ({
        next: async () => {
          steps.push('next')
          if (steps.length > 1) await forever
          return { done: false, value: 'open' }
        },
        return: async () => {
          steps.push('return')
          return { done: true, value: undefined }
        }
      })
    }))
    const stream = await open(t, url)
    await stream.next()
    await Promise.all([app.close(), stream.rest()])
    t.same(steps, ['next', 'next', 'return'])
  })

  t.test('brings an EventSource back to the server that comes after', async t => {
    const { app, port } = await serveOne(t, reply => reply.sse(parked))
    const source = new EventSource(`http://127.0.0.1:${port}/`, { node: { reconnectionTime: 10 } })
    t.teardown(() => { source.close() })
    await once(source, 'message')
    await Promise.all([once(source, 'error'), app.close()])
    t.equal(source.readyState, EventSource.CONNECTING)
    const next = await serve(t, app => app.get('/', (request, reply) => reply.sse(['back'])), { port })
    t.match(await once(source, 'message'), [{ data: 'back' }])
    source.close()
    await next.app.close()
  })

  t.test('twice, and again when it is done', async t => {
    const { app, url, log } = await serveOne(t, reply => reply.sse(deaf))
    const stream = await open(t, url)
    await stream.next()
    await Promise.all([app.close(), app.close(), stream.rest()])
    await app.close()
    t.match(await log.take('event stream closed', 1), [{ reason: 'shutdown' }])
    t.same(log.complaints, [])
  })

  t.test('without a stream', async t => {
    const { app } = await serveOne(t, reply => reply.sse(deaf))
    await app.close()
    t.pass('closed')
  })

  t.test('called by a source itself', async t => {
    const { app, url } = await serveOne(t, reply => reply.sse(async function * () {
      yield 'open'
      await reply.server.close()
      yield 'never'
    }))
    const stream = await open(t, url)
    t.match(await stream.rest(), [{ data: 'open' }])
    await app.close()
    t.pass('closed')
  })

  t.test('does not wait for a source whose client leaves within the grace', async t => {
    const told = deferred()
    const { app, url, log } = await serveOne(t, reply => reply.sse(async function * ({ signal }) {
      yield 'open'
      await once(signal, 'abort')
      told.resolve()
      await forever
    }), { grace: 2 ** 31 - 1 })
    const stream = await open(t, url)
    await stream.next()
    const closed = app.close()
    await told.promise
    stream.close()
    await closed
    t.match(await log.find('event stream closed'), { reason: 'client' })
  })
})

t.test('a request that comes while the server closes', async t => {
  /** A server that closes, held open by a stream that waits for its gate. */
  async function serveClosing (t: Test) {
    const gate = deferred()
    const told = deferred()
    const handled = deferred()
    const go = deferred()
    let called = false
    const served = await serve(t, app => {
      app.get('/', (request, reply) => reply.sse(async function * (stream) {
        yield * parked(stream)
        told.resolve()
        await gate.promise
      }))
      app.get('/late', async (request, reply) => {
        handled.resolve()
        await go.promise
        return reply.sse(() => {
          called = true
          return []
        })
      })
    }, { plugin: { shutdown: { grace: 2 ** 31 - 1, retry: { min: 50_000, max: 60_000 } } }, fastify: { return503OnClosing: false, pluginTimeout: 0 } })
    const stream = await open(t, served.url)
    await stream.next()
    return {
      ...served,
      handled: handled.promise,
      go: go.resolve,
      wasCalled: () => called,
      close: async () => {
        const closed = served.app.close()
        t.teardown(async () => {
          gate.resolve()
          await closed
        })
        await told.promise
      }
    }
  }

  for (const when of ['before', 'after']) {
    t.test(`an EventSource is told to come back, where its request came ${when} the close`, async t => {
      const { url, handled, go, wasCalled, close } = await serveClosing(t)
      if (when === 'after') await close()
      const opening = open(t, `${url}/late`, { headers: EVENT_SOURCE })
      await handled
      if (when === 'before') await close()
      go()
      const stream = await opening
      t.equal(stream.response.status, 200)
      t.same(await stream.rest(), [])
      t.ok(isFarewell(stream.retry()), `told to come back in ${stream.retry()} ms`)
      t.notOk(wasCalled(), 'the source was not asked')
    })

    t.test(`another client is told when to come back by a 503, where its request came ${when} the close`, async t => {
      const { url, handled, go, wasCalled, close } = await serveClosing(t)
      if (when === 'after') await close()
      const opening = fetch(`${url}/late`)
      await handled
      if (when === 'before') await close()
      go()
      const response = await opening
      t.equal(response.status, 503)
      t.ok(Number(response.headers.get('retry-after')) >= 50)
      t.match(await response.json(), { code: 'FST_ERR_SSE_LIMIT' })
      t.notOk(wasCalled(), 'the source was not asked')
    })
  }
})

t.test('the process', async t => {
  /** A server in a process of its own, which ends by nothing but `app.close()`. */
  async function start (t: Test) {
    const { NODE_OPTIONS: _runner, ...env } = process.env
    const child = spawn(process.execPath, [join(__dirname, 'helpers', 'closing-server.js')], { env, stdio: ['ignore', 'pipe', 'inherit'] })
    const exited = once(child, 'exit')
    t.teardown(async () => {
      child.kill('SIGKILL')
      await exited
    })
    const lines = createInterface(child.stdout)
    const [url] = await once(lines, 'line')
    return { child, exited, lines, url: String(url) }
  }

  t.test('ends by itself after SIGTERM, with streams of every kind open', async t => {
    const { child, exited, lines, url } = await start(t)
    const streams = await Promise.all(['/heeding', '/deaf', '/readable'].map(path => open(t, url + path)))
    for (const stream of streams) t.match(await stream.next(), { data: 'open' })
    const stalled = await connectTo(t, Number(new URL(url).port), get('/endless'))
    stalled.socket.pause()
    t.same(await once(lines, 'line'), ['/endless has written'])
    const unopened = open(t, `${url}/unopened`, { headers: EVENT_SOURCE })
    t.same(await once(lines, 'line'), ['/unopened was called'])
    child.kill('SIGTERM')
    await Promise.all(streams.map(stream => stream.rest()))
    t.equal((await unopened).response.status, 200)
    t.same(await exited, [0, null])
  })

  t.test('ends by itself after a second SIGTERM too', async t => {
    const { child, exited, url } = await start(t)
    const stream = await open(t, `${url}/deaf`)
    await stream.next()
    child.kill('SIGTERM')
    child.kill('SIGTERM')
    await stream.rest()
    t.same(await exited, [0, null])
  })

  t.test('is not kept alive by the timers of a stream', async t => {
    const { child, exited, url } = await start(t)
    const stream = await open(t, `${url}/heeding`)
    await stream.next()
    child.kill('SIGUSR2')
    t.same(await exited, [0, null], 'ends though the stream is open, when its sockets hold it no more')
    await t.rejects(stream.rest())
  })
})
