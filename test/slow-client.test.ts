import { once } from 'node:events'
import { connect as connectHttp2 } from 'node:http2'
import { PassThrough, Readable, Transform, pipeline, type Duplex } from 'node:stream'
import t, { type Test } from 'tap'
import type { Source, SseOptions } from '../plugin/types'
import { selfSigned } from './helpers/certificate'
import { deferred } from './helpers/deferred'
import { serve } from './helpers/serve'
import { connectSecurely, connectTo, get, type RawClient } from './helpers/socket'

const KIB = 1024
const MIB = 1024 * KIB
// More than the system takes for a client that reads nothing.
const PLENTY = 48 * MIB

const pause = (milliseconds: number) => new Promise(resolve => { setTimeout(resolve, milliseconds) })

async function * endless (): AsyncGenerator<string> {
  for (;;) yield 'x'.repeat(64 * KIB)
}

/** Serves one source to a client that has asked for it, and reads nothing. */
async function stall (t: Test, source: () => Source, options: SseOptions, version = '1.1') {
  const closed = deferred()
  const { app, port, log } = await serve(t, app => app.get('/', (request, reply) => {
    reply.raw.once('close', () => { closed.resolve() })
    return reply.sse(source(), options)
  }))
  const client = await connectTo(t, port, get('/', {}, version))
  client.socket.pause()
  return { app, client, log, closed: closed.promise, reason: async () => (await log.find('event stream closed'))['reason'] }
}

/** Reads on, to the end or to the cut; gives what has come, and whether it was the end. */
async function readOn (client: RawClient<Duplex>): Promise<boolean> {
  client.socket.resume()
  await client.closed
  return client.received.endsWith('\r\n0\r\n\r\n')
}

t.test('writeTimeout', async t => {
  t.test('cuts a client that takes nothing while bytes wait, and the source is let go', async t => {
    const returned = deferred()
    const { client, reason, log } = await stall(t, () => async function * () {
      try {
        yield * endless()
      } finally {
        returned.resolve()
      }
    }, { writeTimeout: 100 })
    t.equal(await reason(), 'stalled')
    await returned.promise
    t.notOk(await readOn(client), 'what it did not take was not passed off as the end')
    t.same(log.complaints, [])
  })

  t.test('is not put off by heartbeats, nor by a source that goes on', async t => {
    const { reason } = await stall(t, () => {
      const readable = new Readable({ objectMode: true, read () {} })
      readable.push('x'.repeat(PLENTY))
      const timer = setInterval(() => readable.push('more'), 5)
      readable.once('close', () => { clearInterval(timer) })
      return readable
    }, { writeTimeout: 100, heartbeat: 10, maxBuffer: 2 * PLENTY })
    t.equal(await reason(), 'stalled')
  })

  t.test('cuts a client that does not take the rest after the source has ended', async t => {
    const { client, reason, closed } = await stall(t, () => ['x'.repeat(PLENTY)], { writeTimeout: 100 })
    t.equal(await reason(), 'finished')
    await closed
    t.notOk(await readOn(client), 'what it did not take was not passed off as the end')
  })

  t.test('leaves a stream that ends before its bytes are taken, and all of them are counted', async t => {
    const { client, log } = await stall(t, () => ['x'.repeat(100 * KIB)], {}, '1.0')
    client.socket.resume()
    await client.closed
    const [, body = ''] = client.received.split('\r\n\r\n')
    t.match(await log.find('event stream closed'), { reason: 'finished', bytes: body.length })
  })

  t.test('cuts a client that does not take the last words of a source that threw', async t => {
    const { client, closed, reason } = await stall(t, () => async function * () {
      yield 'x'.repeat(PLENTY)
      throw new Error('source')
    }, { writeTimeout: 100, onError: () => 'sorry' })
    t.equal(await reason(), 'error')
    await closed
    t.notOk(await readOn(client))
  })

  t.test('lets a stream be that has nothing to send', async t => {
    const { port, log } = await serve(t, app => app.get('/', (request, reply) => reply.sse(async function * () {
      yield 'one'
      await pause(250)
      yield 'two'
      await pause(250)
      yield 'three'
    }, { writeTimeout: 50, heartbeat: false })))
    const client = await connectTo(t, port, get('/'))
    await client.until('\r\n0\r\n\r\n')
    t.match(client.received, /one[^]*two[^]*three/)
    t.match(await log.find('event stream closed'), { reason: 'finished', events: 3 })
  })

  t.test('lets a client be that reads slowly, but steadily, through one large event', async t => {
    const { client: { socket }, log } = await stall(t, () => ['x'.repeat(PLENTY)], { writeTimeout: 1_000 })
    let bytes = 0
    let tail = ''
    socket.on('data', (text: string) => {
      bytes += text.length
      tail = (tail + text).slice(-8)
    })
    for (const start = performance.now(); performance.now() - start < 2_000;) {
      socket.resume()
      await once(socket, 'data')
      socket.pause()
      await pause(5)
    }
    t.ok(bytes < PLENTY, 'the write was under way all the time')
    socket.resume()
    while (!tail.endsWith('\r\n0\r\n\r\n')) await once(socket, 'data')
    t.ok(bytes > PLENTY, 'and has come to its end')
    t.match(await log.find('event stream closed'), { reason: 'finished' })
  })

  t.test('leaves a keep-alive connection alone when the stream has ended', async t => {
    const { port } = await serve(t, app => app.get('/', (request, reply) => reply.sse(['one'], { writeTimeout: 50 })))
    const client = await connectTo(t, port, get('/'))
    await client.until('\r\n0\r\n\r\n')
    await pause(250)
    client.received = ''
    client.send(get('/'))
    t.match(await client.until('\r\n0\r\n\r\n'), /^HTTP\/1.1 200/)
  })

  t.test('cuts the stream of a stalled HTTP/2 client, with an error', async t => {
    const { url, log } = await serve(t, app => app.get('/', (request, reply) => reply.sse(endless, { writeTimeout: 100 })), { fastify: { http2: true } as object })
    const session = connectHttp2(url)
    t.teardown(() => { session.destroy() })
    const stream = session.request({ ':path': '/' })
    const failed = once(stream, 'error')
    t.match(await log.find('event stream closed'), { reason: 'stalled' })
    stream.resume()
    await t.rejects(Promise.race([once(stream, 'end'), failed.then(([error]) => { throw error })]), { code: 'ERR_HTTP2_STREAM_ERROR' })
  })

  t.test('cuts a stalled client over TLS', async t => {
    const { port, log } = await serve(t, app => app.get('/', (request, reply) => reply.sse(endless, { writeTimeout: 100 })), {
      fastify: { https: selfSigned() } as object
    })
    const client = await connectSecurely(t, port, get('/'))
    client.socket.pause()
    t.match(await log.find('event stream closed'), { reason: 'stalled' })
    t.notOk(await readOn(client), 'what it did not take was not passed off as the end')
  })
})

t.test('maxBuffer', async t => {
  /** Gives a source 100 events of 10 KiB in each turn of the event loop, whatever it answers, until it is destroyed. */
  async function pour (source: Readable, give: (event: string) => unknown): Promise<number> {
    let bytes = 0
    while (!source.destroyed) {
      for (let count = 0; count < 100; count++) {
        const event = 'x'.repeat(10 * KIB)
        give(event)
        bytes += event.length
      }
      if (bytes > 512 * MIB) throw new Error('nobody stops the source')
      await new Promise(resolve => { setImmediate(resolve) })
    }
    return bytes
  }

  const impolite: Record<string, () => { source: Readable, give: (event: string) => unknown }> = {
    'a PassThrough in object mode': () => {
      const source = new PassThrough({ objectMode: true })
      return { source, give: event => source.write(event) }
    },
    'a PassThrough of bytes': () => {
      const source = new PassThrough()
      return { source, give: event => source.write(event) }
    },
    'a Readable in object mode': () => {
      const source = new Readable({ objectMode: true, read () {} })
      return { source, give: event => source.push(event) }
    },
    'a Readable of bytes': () => {
      const source = new Readable({ read () {} })
      return { source, give: event => source.push(event) }
    }
  }

  for (const [what, make] of Object.entries(impolite)) {
    t.test(`cuts a stalled client of ${what} whose writer does not wait`, async t => {
      const { source, give } = make()
      const { client, reason, log } = await stall(t, () => source, {})
      const bytes = await pour(source, event => { if (!source.destroyed) give(event) })
      t.equal(await reason(), 'slow')
      t.ok(bytes < 128 * MIB, `stopped after ${Math.round(bytes / MIB)} MiB`)
      t.notOk(await readOn(client), 'what it did not take was not passed off as the end')
      t.same(log.complaints, [])
    })
  }

  t.test('does not cut a client that keeps up with a writer that does not wait', async t => {
    const source = new PassThrough({ objectMode: true })
    const { port, log } = await serve(t, app => app.get('/', (request, reply) => reply.sse(source)))
    const client = await connectTo(t, port, get('/', {}, '1.0'))
    let bytes = 0
    client.socket.on('data', (text: string) => { bytes += text.length })
    for (let count = 0; count < 2_000; count++) {
      source.write('x'.repeat(10 * KIB))
      if (count % 10 === 0) await new Promise(resolve => { setImmediate(resolve) })
    }
    source.end()
    await client.closed
    t.match(await log.find('event stream closed'), { reason: 'finished', events: 2_000 })
    t.ok(bytes > 2_000 * 10 * KIB)
  })

  t.test('does not cut a client for one event that is larger', async t => {
    const event = 'x'.repeat(100 * KIB)
    for (const source of [() => [event, 'end'], () => Readable.from([event, 'end'])]) {
      const { port, log } = await serve(t, app => app.get('/', (request, reply) => reply.sse(source(), { maxBuffer: 10 * KIB })))
      const client = await connectTo(t, port, get('/', {}, '1.0'))
      await client.closed
      t.ok(client.received.endsWith(`data: ${event}\n\ndata: end\n\n`))
      t.match(await log.find('event stream closed'), { reason: 'finished' })
    }
  })
})

// Over HTTP/2, whose window of 64 KiB is all that goes to a client that does not read.
t.test('a source that waits is made to wait for a client that stalls, which then gets everything', async t => {
  interface Case {
    size: number
    make (texts: Iterable<string>): Source
    options?: SseOptions
  }

  /** A Transform in object mode whose texts come in batches, each made of one chunk. */
  function batches (texts: Iterable<string>, sizeOf: (index: number) => number): Readable {
    const iterator = texts[Symbol.iterator]()
    let index = 0
    return pipeline(Readable.from(forEver()), new Transform({
      objectMode: true,
      transform (chunk, encoding, done) {
        for (let left = sizeOf(index++); left > 0; left--) {
          const { done, value } = iterator.next()
          if (done) this.push(null)
          if (done) return
          this.push(value)
        }
        done()
      }
    }), () => {})
  }

  function * forEver (): Generator<string> {
    for (;;) yield 'chunk'
  }

  async function writeTo (through: PassThrough, texts: Iterable<string>): Promise<void> {
    for (const text of texts) {
      if (!through.write(text)) await once(through, 'drain')
    }
    through.end()
  }

  const cases: Record<string, Case> = {
    'a generator': { size: 64 * KIB, make: texts => texts },
    'a Readable that heeds what push() answers': {
      size: 10 * KIB,
      make: texts => {
        const iterator = texts[Symbol.iterator]()
        return new Readable({
          objectMode: true,
          read () { while (this.push(iterator.next().value ?? null)); }
        })
      }
    },
    'a PassThrough in object mode, by its pipeline': { size: 64 * KIB, make: texts => pipeline(Readable.from(texts), new PassThrough({ objectMode: true }), () => {}) },
    'a PassThrough in object mode, by its writer that awaits drain': {
      size: 10 * KIB,
      make: texts => {
        const through = new PassThrough({ objectMode: true })
        writeTo(through, texts).catch(() => {})
        return through
      }
    },
    'a PassThrough of bytes with chunks of 64 KiB, by its pipeline': { size: 64 * KIB, make: texts => pipeline(Readable.from(texts), new PassThrough(), () => {}) },
    'a PassThrough of bytes, by its writer that awaits drain': {
      size: KIB,
      make: texts => {
        const through = new PassThrough()
        writeTo(through, texts).catch(() => {})
        return through
      }
    },
    'a pipeline whose chunks are as large as what may wait': {
      size: 64 * KIB,
      make: texts => pipeline(Readable.from(texts), new PassThrough(), () => {}),
      options: { maxBuffer: 64 * KIB }
    },
    'a Transform that turns one chunk into 1,000 small events': { size: 100, make: texts => batches(texts, () => 1_000) },
    'a Transform that turns one chunk into 1,000 events of 1 KiB': { size: KIB, make: texts => batches(texts, () => 1_000) },
    'a Transform whose every batch is larger than the last': { size: KIB, make: texts => batches(texts, index => 10 * (index + 1)) }
  }

  for (const [what, { size, make, options = {} }] of Object.entries(cases)) {
    t.test(what, async t => {
      const total = Math.ceil(8 * MIB / size)
      let taken = 0
      const texts = function * () {
        for (; taken < total; taken++) yield `<${taken}>`.padEnd(size, '.')
      }
      const { url, log } = await serve(t, app => app.get('/', (request, reply) => reply.sse(make(texts()), options)), { fastify: { http2: true } as object })
      const session = connectHttp2(url)
      t.teardown(() => { session.destroy() })
      const body = session.request({ ':path': '/' }).setEncoding('utf8')
      await once(body, 'response')
      for (let before = -1; before !== taken; await pause(50)) before = taken
      t.ok(taken < total, `made to wait at ${taken} of ${total}`)

      let next = 0
      let text = ''
      for await (const chunk of body) {
        text += chunk
        for (const [, number] of text.matchAll(/<(\d+)>/g)) if (Number(number) === next) next++
        text = text.slice(-10)
      }
      t.equal(next, total, 'nothing is missing')
      t.match(await log.find('event stream closed'), { reason: 'finished' })
      t.same(log.complaints, [])
    })
  }
})

t.test('writeTimeout looks at what the client takes, and so', async t => {
  t.test('is not put off by what the client sends', async t => {
    const { client, reason } = await stall(t, () => endless, { writeTimeout: 100 })
    client.send('GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nlong: ')
    let sent = 0
    const timer = setInterval(() => {
      client.send('x')
      if (++sent === 200) clearInterval(timer)
    }, 10)
    t.teardown(() => { clearInterval(timer) })
    t.equal(await reason(), 'stalled')
    t.ok(sent < 200, 'while it still sent')
  })

  t.test('cuts one stalled stream of an HTTP/2 session, and lets those beside it be', async t => {
    const { url, log } = await serve(t, app => {
      app.get('/stalled', (request, reply) => reply.sse(endless, { writeTimeout: 100 }))
      app.get('/busy', (request, reply) => reply.sse(async function * () {
        for (;;) {
          yield 'tick'
          await pause(5)
        }
      }))
    }, { fastify: { http2: true } as object })
    const session = connectHttp2(url)
    t.teardown(() => { session.destroy() })
    const busy = session.request({ ':path': '/busy' }).setEncoding('utf8').resume()
    session.request({ ':path': '/stalled' }).on('error', () => {})
    t.match(await log.find('event stream closed'), { reason: 'stalled', reqId: 'req-2' })
    t.match(await once(busy, 'data'), [/tick/])
  })
})
