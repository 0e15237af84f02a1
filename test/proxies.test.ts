import { once } from 'node:events'
import { connect } from 'node:http2'
import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { request } from 'undici'
import { selfSigned } from './helpers/certificate'
import { EVENT_SOURCE, open } from './helpers/client'
import { deferred } from './helpers/deferred'
import { freePorts, startProxy, type ProxyProgram, type Replacements } from './helpers/proxy'
import { serve } from './helpers/serve'
import { haproxy, nginx } from './helpers/services'

// The proxies cut what is silent for longer.
const SILENCE_MS = 1500
const HEARTBEAT_MS = 200

/** An app behind a proxy, as the second and third of three processes; the first is not there. */
async function serveBehind (t: Test, program: ProxyProgram, listen: string, replacements: Replacements) {
  const left = deferred()
  const served = await serve(t, app => {
    const news = app.sse.channel('news')
    app.get('/news', (_request, reply) => reply.sse(news))
    app.get('/unheard', (_request, reply) => reply.sse(news, { heartbeat: false }))
    app.get('/waiting', (_request, reply) => reply.sse(async function * ({ signal }) {
      yield 'the first'
      await once(signal, 'abort')
      left.resolve()
    }))
    app.get('/ready', async () => 'ready')
  }, { plugin: { heartbeat: HEARTBEAT_MS, retry: 1 }, fastify: { forceCloseConnections: true } })
  const [port = 0, secure = 0, absent = 0] = await freePorts(3)
  const { key, cert } = selfSigned()
  await startProxy(t, program, port, [
    [listen, `127.0.0.1:${port}`],
    ['127.0.0.1:8849', `127.0.0.1:${absent}`],
    ['127.0.0.1:8850', `127.0.0.1:${served.port}`],
    ['127.0.0.1:8851', `127.0.0.1:${served.port}`],
    ...replacements.map(([find, put]) => [find, put.replace('SECURE', String(secure))] as const)
  ], { 'key.pem': key, 'cert.pem': cert })
  return { app: served.app, news: served.app.sse.channel('news'), left: left.promise, url: `http://127.0.0.1:${port}`, secure }
}

type Behind = Awaited<ReturnType<typeof serveBehind>>

/** What has to hold behind any proxy. */
async function isTransparent (t: Test, { app, news, left, url }: Behind): Promise<void> {
  await t.test('every event comes at once, the first too', async t => {
    const waiting = await open(t, `${url}/waiting`)
    t.equal((await waiting.next())?.data, 'the first')
    const stream = await open(t, `${url}/news`)
    const took = []
    for (const data of ['one', 'two', 'three', 'four', 'five']) {
      const sent = Date.now()
      await news.publish({ data })
      t.equal((await stream.next())?.data, data)
      took.push(Date.now() - sent)
    }
    // A proxy that holds events back does so with each; HAProxy without its option for 200 milliseconds.
    t.ok(Math.min(...took) < 100, `they took ${took.join(', ')} ms`)
  })

  await t.test('the generator is told that its client has gone', async t => {
    const stream = await open(t, `${url}/waiting`)
    await stream.next()
    stream.close()
    await left
  })

  await t.test('a stream without events outlives the timeouts by its heartbeat, and one without a heartbeat does not', async t => {
    const stream = await open(t, `${url}/news`)
    const unheard = await open(t, `${url}/unheard`)
    await t.rejects(unheard.rest(), 'it is cut')
    await setTimeout(SILENCE_MS)
    await news.publish({ data: 'still there' })
    t.equal((await stream.next())?.data, 'still there')
  })

  await t.test('a client that comes back goes on where it was', async t => {
    const stream = await open(t, `${url}/news`)
    await news.publish({ data: 'had' })
    const last = await stream.next()
    stream.close()
    await news.publish({ data: 'missed' })
    const back = await open(t, `${url}/news`, { headers: { 'last-event-id': String(last?.id) } })
    t.equal((await back.next())?.data, 'missed')
  })

  await t.test('while no process is there an EventSource is told to come back, and anyone else that it is not there', async t => {
    await app.close()
    let response = await request(`${url}/news`, { headers: EVENT_SOURCE })
    // Until the proxy has noticed.
    while (response.statusCode !== 200) {
      await response.body.dump()
      await setTimeout(50)
      response = await request(`${url}/news`, { headers: EVENT_SOURCE })
    }
    t.equal(response.headers['content-type'], 'text/event-stream')
    t.match(await response.body.text(), /^retry: \d{4}\n\n$/)
    t.equal((await request(`${url}/ready`)).statusCode, 503)
  })
}

t.setTimeout(60_000)

t.test('behind nginx', async t => {
  const program = nginx(t)
  if (program === undefined) return
  const behind = await serveBehind(t, {
    file: 'nginx.conf',
    command: (configuration, folder) => [program, '-p', folder, '-c', configuration, '-g', 'daemon off; master_process off;']
  }, '127.0.0.1:8080', [
    ['proxy_read_timeout 60s', `proxy_read_timeout ${SILENCE_MS}ms`],
    ['# listen 127.0.0.1:8443', 'listen 127.0.0.1:SECURE'],
    ['# ssl_certificate cert.pem', 'ssl_certificate cert.pem'],
    ['# ssl_certificate_key', 'ssl_certificate_key']
  ])

  await t.test('streams share one connection of HTTP/2', async t => {
    const session = connect(`https://127.0.0.1:${behind.secure}`, { rejectUnauthorized: false })
    t.teardown(() => session.destroy())
    const streams = Array.from({ length: 20 }, () => session.request({ ':path': '/news' }).setEncoding('utf8'))
    await Promise.all(streams.map(stream => once(stream, 'response')))
    const heard = streams.map(async stream => {
      for await (const chunk of stream) if (String(chunk).includes('data: for all')) return true
      return false
    })
    await behind.news.publish({ data: 'for all' })
    t.same(new Set(await Promise.all(heard)), new Set([true]))
  })

  await isTransparent(t, behind)
})

t.test('behind HAProxy', async t => {
  const program = haproxy(t)
  if (program === undefined) return
  await isTransparent(t, await serveBehind(t, {
    file: 'haproxy.cfg',
    command: configuration => [program, '-f', configuration, '-db']
  }, '127.0.0.1:8081', [
    ['timeout client 60s', `timeout client ${SILENCE_MS}ms`],
    ['timeout server 60s', `timeout server ${SILENCE_MS}ms`]
  ]))
})
