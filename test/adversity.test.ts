import { once } from 'node:events'
import { createReadStream, mkdtempSync, rmSync } from 'node:fs'
import http, { type IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { finished, PassThrough, pipeline, Readable } from 'node:stream'
import { ReadableStream } from 'node:stream/web'
import { setTimeout } from 'node:timers/promises'
import { constants, createGzip, gunzipSync } from 'node:zlib'
import Fastify from 'fastify'
import t from 'tap'
import { fetch } from 'undici'
import ssePlugin from '../plugin/index'
import { startBrowser } from './helpers/browser'
import { open } from './helpers/client'
import { deferred } from './helpers/deferred'
import { serve } from './helpers/serve'
import { connectTo, get, RawClient } from './helpers/socket'

t.test('a stream that fails on HTTP/1.0 over a unix socket ends its connection, and nothing else', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'event-stream-'))
  t.teardown(() => { rmSync(folder, { recursive: true }) })
  const path = join(folder, 'server')
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(ssePlugin)
  const seen = deferred()
  app.get('/', (request, reply) => reply.sse(async function * () {
    yield 'first'
    await seen.promise
    throw new Error('no more')
  }))
  await app.listen({ path })
  const socket = connect(path)
  t.teardown(() => { socket.destroy() })
  const client = new RawClient(socket)
  client.send(get('/', {}, '1.0'))
  await client.until('data: first\n\n')
  seen.resolve()
  await client.closed
})

t.test('the last words of a failed stream pass a compression on the way', async t => {
  const { url } = await serve(t, app => {
    app.addHook('onSend', async (request, reply, payload) => {
      reply.header('content-encoding', 'gzip')
      return (payload as Readable).pipe(createGzip())
    })
    app.get('/', (request, reply) => reply.sse(async function * () {
      yield 'first'
      await setTimeout(10)
      yield 'second'
      throw new Error('no more')
    }, { onError: () => ({ event: 'failed', data: 'sorry' }) }))
  })
  // Byte by byte: a client that decompresses as it goes may drop the last of it when the connection is torn.
  const [response] = await once(http.get(url), 'response') as [IncomingMessage]
  const chunks: Buffer[] = []
  response.on('data', (chunk: Buffer) => { chunks.push(chunk) })
  const [error] = await once(response, 'error').catch(error => [error])
  t.equal(error.code, 'ECONNRESET')
  const text = gunzipSync(Buffer.concat(chunks), { finishFlush: constants.Z_SYNC_FLUSH }).toString()
  t.equal(text, 'data: first\n\ndata: second\n\nevent: failed\ndata: sorry\n\n')
})

t.test('a browser sees the last words of a failed stream before it is torn, also where its page is busy', async t => {
  const browser = await startBrowser(t)
  if (browser === undefined) return
  const { url } = await serve(t, app => {
    const options = { onError: () => ({ event: 'failed', data: 'sorry' }) }
    async function * failing () {
      yield 'one'
      await setTimeout(20)
      yield 'two'
      await setTimeout(20)
      throw new Error('no more')
    }
    app.get('/', (request, reply) => reply.type('text/html').send('<title>Last words</title>'))
    app.get('/plain', (request, reply) => reply.sse(failing, options))
    app.register(async app => {
      app.addHook('onSend', async (request, reply, payload) => {
        reply.header('content-encoding', 'gzip')
        return (payload as Readable).pipe(createGzip())
      })
      app.get('/compressed', (request, reply) => reply.sse(failing, options))
    })
  })
  const page = await browser.newPage()
  await page.goto(url)
  // As one is that draws what it receives.
  await page.evaluate('setInterval(() => { const end = performance.now() + 25; while (performance.now() < end); }, 35)')

  const readers = {
    fetch: `async path => {
      let text = ''
      try {
        const reader = (await fetch(path)).body.getReader()
        for (let read = await reader.read(); !read.done; read = await reader.read()) text += new TextDecoder().decode(read.value)
        return 'not torn'
      } catch { return text }
    }`,
    EventSource: `path => new Promise(resolve => {
      const source = new EventSource(path)
      let text = ''
      const add = ({ type, data }) => { text += (type === 'message' ? '' : 'event: ' + type + '\\n') + 'data: ' + data + '\\n\\n' }
      source.addEventListener('message', add)
      source.addEventListener('failed', add)
      source.addEventListener('error', () => { source.close(); resolve(text) })
    })`
  }
  for (const path of ['/plain', '/compressed']) {
    for (const [by, read] of Object.entries(readers)) {
      t.test(`${path}, by ${by}`, async t => {
        let seen = 0
        for (let n = 0; n < 20; n++) {
          const text = await page.evaluate(`(${read})('${path}')`)
          if (text === 'data: one\n\ndata: two\n\nevent: failed\ndata: sorry\n\n') seen++
        }
        // A machine that has much else to do may be late for one.
        t.ok(seen >= 15, `${seen} of 20`)
      })
    }
  }
})

t.test('the source of a reply that somebody else has sent is let go, and its later errors harm nobody', async t => {
  const sources: Readable[] = []
  const { url, log } = await serve(t, app => app.get('/:file', async (request, reply) => {
    await once(reply.raw, 'close')
    const source = createReadStream((request.params as { file: string }).file === 'there' ? __filename : join(__filename, 'nope'))
    sources.push(source)
    return reply.sse(source)
  }), { fastify: { handlerTimeout: 20 } })
  for (const file of ['there', 'missing']) t.equal((await fetch(`${url}/${file}`)).status, 503)
  await log.take('Promise errored, but reply.sent = true was set', 2)
  t.ok(sources.every(source => source.destroyed))
})

t.test('a web stream of chunks without text leaves the event loop to others', async t => {
  const stopped = deferred()
  const { url } = await serve(t, app => {
    app.get('/', (request, reply) => reply.sse(new ReadableStream({
      pull (controller) { controller.enqueue(new Uint8Array(0)) },
      cancel () { stopped.resolve() }
    }), { prime: 0 }))
    app.get('/ping', async () => 'pong')
  })
  const stream = await open(t, url)
  t.equal(await (await fetch(`${url}/ping`)).text(), 'pong')
  stream.close()
  await stopped.promise
})

t.test('a source that fails early behind two transforms ends the response, and is logged', async t => {
  const { url, log } = await serve(t, app => {
    app.addHook('onSend', async (request, reply, payload) => (payload as Readable).pipe(new PassThrough()).pipe(new PassThrough()))
    app.get('/', (request, reply) => reply.sse(async function * () { throw new Error('early') }))
  })
  await t.rejects(fetch(url))
  t.match(await log.find('event stream failed'), { err: { message: 'early' } })
})

t.test('a hook that listens to the payload hears of its end, and of its close', async t => {
  const heard: string[] = []
  const closed = deferred()
  const { url } = await serve(t, app => {
    app.addHook('onSend', async (request, reply, payload) => {
      const stream = payload as Readable
      stream.on('end', () => { heard.push('end') })
      stream.on('close', () => { closed.resolve() })
      finished(stream, { writable: false }, error => { heard.push(error?.message ?? 'finished') })
      return payload
    })
    app.get('/', (request, reply) => reply.sse(['one']))
  })
  await (await open(t, url)).rest()
  await closed.promise
  t.same(heard, ['end', 'finished'])
})

t.test('an error handler may answer with a stream for one that failed before its first event', async t => {
  const { url } = await serve(t, app => {
    app.setErrorHandler((error, request, reply) => reply.sse([{ event: 'sorry', data: (error as Error).message }]))
    app.get('/', (request, reply) => reply.sse(async function * () { throw new Error('not today') }))
  })
  t.match(await (await open(t, url)).rest(), [{ event: 'sorry', data: 'not today' }])
})

t.test('a handler may try again with other options', async t => {
  const { url } = await serve(t, app => app.get('/', (request, reply) => {
    try {
      return reply.sse(['never'], { prime: -1 })
    } catch {
      return reply.sse(['one'])
    }
  }))
  t.match(await (await open(t, url)).rest(), [{ data: 'one' }])
})

t.test('a client that leaves while the hooks run is in the log as any other', async t => {
  const hooked = deferred()
  const { port, log } = await serve(t, app => {
    app.addHook('onSend', async (request, reply) => {
      hooked.resolve()
      await once(reply.raw, 'close')
    })
    app.get('/', (request, reply) => reply.sse(async function * () { yield 'never' }))
  })
  const client = await connectTo(t, port, get('/'))
  await hooked.promise
  client.socket.destroy()
  t.match(await log.find('event stream closed'), { reason: 'client', events: 0 })
})

t.test('an error that is its own cause is an error as any other', async t => {
  const { app, url, log } = await serve(t, app => app.get('/', (request, reply) => reply.sse(async function * ({ signal }) {
    yield 'one'
    await once(signal, 'abort')
    throw Object.assign(new Error('round and round'), { get cause (): unknown { return this } })
  })))
  const stream = await open(t, url)
  await stream.next()
  await app.close()
  t.match(await log.find('event stream failed'), { err: { message: /round and round/ } })
})

t.test('a key that is no string is an error: it would never be met again', async t => {
  const key = (() => ({ user: 1 })) as unknown as () => string
  const { url } = await serve(t, app => app.get('/', (request, reply) => reply.sse(['one'], { maxStreamsPerKey: 1, key })))
  const response = await fetch(url)
  t.equal(response.status, 500)
  t.match(await response.json(), { code: 'FST_ERR_SSE_OPTION', message: /'key' must return a string or undefined, got { user: 1 }/ })
})

t.test('a source that destroys its own response has lost its client', async t => {
  const { url, log } = await serve(t, app => app.get('/', (request, reply) => reply.sse(async function * () {
    yield 'one'
    await setTimeout(10)
    reply.raw.destroy()
    yield 'two'
  })))
  await t.rejects(async () => { await (await open(t, url)).rest() })
  t.match(await log.find('event stream closed'), { reason: 'client' })
})

t.test('a head that cannot be sent is an HTTP error, and the source is not asked', async t => {
  const { url } = await serve(t, app => {
    app.get('/', (request, reply) => {
      reply.raw.statusCode = 9999
      return reply.sse(async function * () { t.fail('was asked') }, { prime: 0 })
    })
  })
  const response = await fetch(url)
  t.equal(response.status, 500)
  t.match(await response.json(), { code: 'ERR_HTTP_INVALID_STATUS_CODE' })
})

t.test('an iterator that cannot be returned is forgotten all the same where it is not wanted', async t => {
  const iterator: AsyncIterableIterator<string> = {
    [Symbol.asyncIterator] () { return this },
    next () { throw new Error('was asked') },
    return () { throw new Error('will not go') }
  }
  const { url } = await serve(t, app => app.get('/', (request, reply) => reply.sse(iterator)))
  t.equal((await fetch(url, { method: 'HEAD' })).status, 200)
})

t.test('a stream whose reply somebody else answers, before it is opened, leaves it to them', async t => {
  const cases = {
    'when its source ends': { prime: 60_000, wait: (answered: Promise<void>) => answered },
    'when its prime window is over': { prime: 20, wait: () => new Promise<void>(() => {}) }
  }
  for (const [when, { prime, wait }] of Object.entries(cases)) {
    t.test(when, async t => {
      const answered = deferred()
      const answer = new PassThrough()
      const { url, log } = await serve(t, app => {
        app.setErrorHandler((_, request, reply) => reply.code(418).send(answer))
        app.get('/', (request, reply) => {
          reply.sse(async function * () { await wait(answered.promise) }, { prime })
          throw new Error('changed my mind')
        })
      })
      answer.write('teapot')
      const response = await fetch(url)
      answered.resolve()
      t.match(await log.find('event stream closed'), { reason: 'error', events: 0 })
      answer.end()
      t.equal(response.status, 418)
      t.equal(await response.text(), 'teapot')
    })
  }
})

t.test('a transform that breaks on the way fails the stream', async t => {
  const transform = new PassThrough()
  const { url, log } = await serve(t, app => {
    app.addHook('onSend', async (request, reply, payload) => pipeline(payload as Readable, transform, () => {}))
    app.get('/', (request, reply) => reply.sse(async function * ({ signal }) {
      yield 'one'
      await once(signal, 'abort')
    }))
  })
  const stream = await open(t, url)
  t.match(await stream.next(), { data: 'one' })
  transform.destroy(new Error('out of order'))
  await t.rejects(stream.next())
  t.match(await log.find('event stream closed'), { reason: 'error' })
})
