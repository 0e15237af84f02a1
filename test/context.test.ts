import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import { connect as connectHttp2 } from 'node:http2'
import { PassThrough, Readable } from 'node:stream'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import type { PluginOptions } from '../plugin/types'
import { selfSigned } from './helpers/certificate'
import { open } from './helpers/client'
import { deferred } from './helpers/deferred'
import { serve } from './helpers/serve'
import { connectSecurely, connectTo, get } from './helpers/socket'

setFlagsFromString('--expose-gc')
const collectGarbage: () => void = runInNewContext('gc')

const LARGE = 'x'.repeat(20_000)

/** Whose AsyncLocalStorage was found, for each request and place: only its own is right. */
class Found {
  readonly #storage = new AsyncLocalStorage<{ url: string }>()
  readonly places: string[] = []
  readonly wrong: string[] = []

  enter (app: FastifyInstance): void {
    app.addHook('onRequest', (request, reply, done) => { this.#storage.run({ url: request.url }, done) })
  }

  at (place: string, { url }: FastifyRequest): void {
    const found = this.#storage.getStore()?.url
    this.places.push(place)
    if (found !== url) this.wrong.push(`${place} of ${url} finds that of ${found ?? 'nobody'}`)
  }

  /** Whether all of these places were come by, and each found its own. */
  check (t: Test, ...places: string[]): void {
    t.same(this.wrong, [])
    for (const place of places) t.ok(this.places.includes(place), `came by: ${place}`)
  }
}

/** Serves `/busy/:n`, which gives much and never ends, `/quiet`, which gives something and then waits, and what else is said. */
async function serveFound (t: Test, options: { plugin?: PluginOptions, fastify?: object } = {}, routes: (app: FastifyInstance, found: Found) => unknown = () => {}) {
  const found = new Found()
  const ended = deferred()
  const served = await serve(t, app => {
    found.enter(app)
    app.get('/busy/:n', (request, reply) => reply.sse(async function * ({ signal }) {
      found.at('beginning', request)
      signal.addEventListener('abort', () => { found.at('signal', request) })
      try {
        for (;;) {
          yield LARGE
          found.at('after a yield', request)
        }
      } finally {
        found.at('finally', request)
        ended.resolve()
      }
    }))
    app.get('/quiet', (request, reply) => reply.sse(async function * ({ signal }) {
      found.at('beginning', request)
      signal.addEventListener('abort', () => { found.at('signal', request) })
      try {
        yield 'open'
        await once(signal, 'abort')
      } finally {
        found.at('finally', request)
        ended.resolve()
      }
    }))
    return routes(app, found)
  }, options as never)
  return { ...served, found, ended: ended.promise }
}

t.test('a generator that is resumed after a write finds the AsyncLocalStorage of its request', async t => {
  const turns = (found: Found): number => found.places.filter(place => place === 'after a yield').length

  t.test('over HTTP/2, where a heartbeat for all had begun the write', async t => {
    const { url, found, log } = await serveFound(t, { plugin: { heartbeat: 4 }, fastify: { http2: true } }, (app, found) => {
      app.get('/slow/:n', (request, reply) => reply.sse(async function * ({ signal }) {
        try {
          for (;;) {
            await setTimeout(4, null, { signal })
            yield LARGE
            found.at('after a yield', request)
          }
        } finally {
          found.at('finally', request)
        }
      }))
    })
    const session = connectHttp2(url)
    t.teardown(() => { session.destroy() })
    session.request({ ':path': '/quiet' }).on('error', () => {}).resume()
    for (let n = 0; n < 5; n++) session.request({ ':path': `/slow/${n}` }).on('error', () => {}).resume()
    while (turns(found) < 500) await setTimeout(5)
    session.destroy()
    await log.take('event stream closed', 6)
    found.check(t, 'after a yield', 'finally')
  })

  t.test('over TLS', async t => {
    const { port, found, log } = await serveFound(t, { plugin: { heartbeat: 4 }, fastify: { https: selfSigned() } })
    const clients = await Promise.all(['/quiet', '/busy/1', '/busy/2'].map(path => connectSecurely(t, port, get(path))))
    while (turns(found) < 500) await setTimeout(5)
    for (const { socket } of clients) socket.destroy()
    await log.take('event stream closed', 3)
    found.check(t, 'after a yield', 'finally', 'signal')
  })

  t.test('behind a slow transform of an onSend hook', async t => {
    const { port, found, log } = await serveFound(t, { plugin: { heartbeat: 4 } }, app => {
      app.addHook('onSend', async (request, reply, payload) => (payload as PassThrough).pipe(new PassThrough()))
    })
    const clients = await Promise.all(['/quiet', '/busy/1', '/busy/2'].map(path => connectTo(t, port, get(path))))
    while (turns(found) < 200) await setTimeout(5)
    for (const { socket } of clients) socket.destroy()
    await log.take('event stream closed', 3)
    found.check(t, 'after a yield', 'finally', 'signal')
  })

  t.test('of a pipelined request, when the one before has ended', async t => {
    const goOn = deferred()
    const { port, found } = await serveFound(t, {}, (app, found) => {
      app.get('/first', (request, reply) => reply.sse(async function * () {
        yield 'open'
        await goOn.promise
      }))
      app.get('/second', (request, reply) => reply.sse(async function * () {
        try {
          for (let n = 0; n < 20; n++) {
            yield LARGE
            found.at('after a yield', request)
          }
          yield 'the end'
        } finally {
          found.at('finally', request)
        }
      }))
    })
    const client = await connectTo(t, port, get('/first') + get('/second'))
    await client.until('open')
    goOn.resolve()
    await client.until('the end')
    await client.until('\r\n0\r\n\r\n')
    found.check(t, 'after a yield', 'finally')
  })
})

t.test('a Readable is read in the AsyncLocalStorage of its request, also after a turn of others', async t => {
  const { url, found } = await serveFound(t, {}, (app, found) => {
    app.get('/readable/:n', (request, reply) => {
      let n = 0
      return reply.sse(new Readable({
        objectMode: true,
        read () {
          found.at('read', request)
          this.push(n++ < 5_000 ? 'x'.repeat(500) : null)
        }
      }))
    })
    app.get('/from/:n', (request, reply) => reply.sse(Readable.from((async function * () {
      for (let n = 0; n < 5_000; n++) {
        yield 'x'.repeat(500)
        found.at('after a yield', request)
      }
    })())))
  })
  await Promise.all(['readable/1', 'readable/2', 'from/1', 'from/2'].map(async path => (await open(t, `${url}/${path}`)).rest()))
  found.check(t, 'read', 'after a yield')
})

t.test('a generator ends in the AsyncLocalStorage of its request', async t => {
  t.test('when its client takes nothing', async t => {
    const { port, found, ended, log } = await serveFound(t, { plugin: { writeTimeout: 40 } })
    await open(t, `http://127.0.0.1:${port}/quiet`)
    const client = await connectTo(t, port, get('/busy/1'))
    await client.until(LARGE)
    client.socket.pause()
    t.match(await log.find('event stream closed'), { reason: 'stalled' })
    await ended
    found.check(t, 'signal', 'finally')
  })

  t.test('when its client leaves', async t => {
    const { url, found, ended, log } = await serveFound(t)
    const stream = await open(t, `${url}/quiet`)
    stream.close()
    t.match(await log.find('event stream closed'), { reason: 'client' })
    await ended
    found.check(t, 'beginning', 'signal', 'finally')
  })

  t.test('when the server closes', async t => {
    const { app, url, found, ended } = await serveFound(t)
    const stream = await open(t, `${url}/quiet`)
    await app.close()
    await stream.rest()
    await ended
    found.check(t, 'signal', 'finally')
  })

  t.test('when it is disconnected by another request, with what it returned', async t => {
    const { app, url, found, log } = await serveFound(t, {}, (app, found) => {
      const channel = app.sse.channel('news')
      app.get('/channel', (request, reply) => reply.sse(() => {
        found.at('source function', request)
        return channel
      }))
      app.get('/disconnect', async () => channel.disconnect(() => true))
    })
    await open(t, `${url}/channel`)
    t.equal((await app.inject('/disconnect')).body, '1')
    t.match(await log.find('event stream closed'), { reason: 'disconnected' })
    found.check(t, 'source function')
  })

  t.test('when its maxAge is over', async t => {
    const { url, found, ended, log } = await serveFound(t, { plugin: { maxAge: 30 } })
    await open(t, `${url}/quiet`)
    t.match(await log.find('event stream closed'), { reason: 'expired' })
    await ended
    found.check(t, 'signal', 'finally')
  })
})

t.test('onError finds the AsyncLocalStorage of its request', async t => {
  const failing: Record<string, (go: Promise<unknown>) => AsyncGenerator<unknown>> = {
    'that throws': async function * (go) {
      yield 'open'
      await go
      throw new Error('broken')
    },
    'that throws after a write': async function * (go) {
      yield 'open'
      await go
      for (let n = 0; n < 100; n++) yield LARGE
      throw new Error('broken')
    },
    'that gives no event': async function * (go) {
      yield 'open'
      await go
      yield 5
    }
  }
  for (const [title, generator] of Object.entries(failing)) {
    t.test(`for a generator ${title}`, async t => {
      const go = deferred()
      const { url, found } = await serveFound(t, {}, (app, found) => app.get('/failing', (request, reply) => reply.sse(
        () => generator(go.promise) as AsyncGenerator<string>,
        { onError: (_, request) => { found.at('onError', request); return undefined } })))
      const stream = await open(t, `${url}/failing`)
      await stream.next()
      go.resolve()
      await t.rejects(stream.rest())
      found.check(t, 'onError')
    })
  }
})

t.test('the timers that streams share keep nothing of the request that started them', async t => {
  class Store { readonly large = LARGE.slice() }
  const storage = new AsyncLocalStorage<Store>()
  const stores: Array<WeakRef<Store>> = []
  const { url, log } = await serve(t, app => {
    app.addHook('onRequest', (request, reply, done) => {
      const store = new Store()
      stores.push(new WeakRef(store))
      storage.run(store, done)
    })
    app.get('/', (request, reply) => reply.sse(async function * ({ signal }) {
      yield 'open'
      await once(signal, 'abort')
    }))
  }, { plugin: { heartbeat: 20, writeTimeout: 20 } })
  const first = await open(t, url)
  await open(t, url)
  first.close()
  await log.find('event stream closed')
  log.all.length = 0
  const isKept = (): boolean => stores[0]?.deref() !== undefined
  for (const end = performance.now() + 10_000; isKept() && performance.now() < end;) {
    await setTimeout(5)
    await setImmediate()
    collectGarbage()
  }
  t.equal(stores.length, 2)
  t.equal(isKept(), false)
})
