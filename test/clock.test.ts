import { once } from 'node:events'
import { connect } from 'node:net'
import type { Locator } from 'playwright-core'
import t from 'tap'
import { request } from 'undici'
import { startBrowser } from './helpers/browser'
import { startClock } from './helpers/clock'

const TIME = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`

/** Reads a stream until `count` events have come, and leaves. */
async function read (url: string, count: number) {
  const { statusCode, headers, body } = await request(url)
  let text = ''
  for await (const chunk of body.setEncoding('utf8')) {
    text += chunk
    if (text.split('\n\n').length > count) break
  }
  const times = [...text.matchAll(/^data: (.*)$/gm)].map(([, time]) => Date.parse(time ?? ''))
  return { statusCode, headers, text, times }
}

t.test('over a socket', async (t) => {
  const clock = await startClock(t)

  t.test('/stream sends its reconnection time, the connect time, the time at once and then each second', async (t) => {
    const { statusCode, text, times } = await read(`${clock.url}/stream`, 4)
    t.equal(statusCode, 200)
    t.match(text, new RegExp(
      `^retry: 10000\nevent: connecttime\ndata: ${TIME}\n\ndata: ${TIME}\n\ndata: ${TIME}\n\ndata: ${TIME}\n\n`))
    const [connected = NaN, atOnce = NaN, first = NaN, second = NaN] = times
    t.ok(atOnce - connected < 500, `the first time came ${atOnce - connected} ms after the connect time`)
    t.ok(first - atOnce > 900, `the next ${first - atOnce} ms after the first`)
    t.ok(second - atOnce > 1900, `and the next ${second - atOnce} ms after the first`)
  })

  t.test('/stream can be read by a page of another origin, /get cannot', async (t) => {
    const stream = await read(`${clock.url}/stream`, 1)
    t.equal(stream.headers['access-control-allow-origin'], '*')
    t.match(stream.headers['content-type'], 'text/event-stream')
    const get = await read(`${clock.url}/get`, 1)
    t.notOk(get.headers['access-control-allow-origin'])
  })

  t.test('/get sends the headers of the servlet, and its times as events with a name', async (t) => {
    const { statusCode, headers, text, times } = await read(`${clock.url}/get`, 2)
    t.equal(statusCode, 200)
    t.equal(headers['content-type'], 'text/event-stream; charset=UTF-8')
    t.equal(headers['cache-control'], 'no-cache, no-store, max-age=0, must-revalidate')
    t.match(text, new RegExp(`^retry: 1000\nevent: cur-time\ndata: ${TIME}\n\nevent: cur-time\ndata: ${TIME}\n\n`))
    const [atOnce = NaN, first = NaN] = times
    t.ok(first - atOnce > 900, `the second came ${first - atOnce} ms after the first`)
  })

  t.test('/get?every=100 ticks ten times a second', async (t) => {
    const { times } = await read(`${clock.url}/get?every=100`, 11)
    const took = times[10]! - times[0]!
    t.ok(took > 900, `ten intervals took ${took} ms`)
    t.ok(took < 5000, 'far less than at one a second')
  })

  t.test('/get refuses an interval out of bounds, and says which bounds', async (t) => {
    for (const [every, message] of [
      ['5', 'querystring/every must be >= 50'],
      ['60001', 'querystring/every must be <= 60000'],
      ['often', 'querystring/every must be integer']
    ]) {
      const { statusCode, headers, body } = await request(`${clock.url}/get?every=${every}`)
      t.equal(statusCode, 400)
      t.match(headers['content-type'], 'application/json')
      t.match(await body.json(), { error: 'Bad Request', message })
    }
  })

  t.test('the work for a client ends when it goes', async (t) => {
    const before = await clock.closeReasons(0)
    await read(`${clock.url}/stream`, 2)
    await read(`${clock.url}/get?every=100`, 3)
    const reasons = await clock.closeReasons(before.length + 2)
    t.strictSame(new Set(reasons), new Set(['client']))
  })
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  t.test(`${signal} ends the server at once, with both streams and an idle connection open`, async (t) => {
    const clock = await startClock(t)
    const idle = connect(Number(clock.port), '127.0.0.1')
    await once(idle, 'connect')
    const streams = await Promise.all(['/stream', '/get?every=100'].map(async (path) => {
      const { body } = await request(clock.url + path)
      await once(body, 'readable')
      return body
    }))

    const asked = performance.now()
    const end = await clock.end(signal)
    t.strictSame(end, { code: 0, signal: null })
    const took = performance.now() - asked
    t.ok(took < 4000, `it took ${Math.round(took)} ms, less than the grace that a busy stream would get`)

    for (const body of streams) {
      t.match(await body.text(), /\nretry: \d+\n$/, 'a stream ends whole, and tells its client when to return')
    }
    t.strictSame(await clock.closeReasons(2), ['shutdown', 'shutdown'])
    idle.destroy()
  })
}

t.test('in a browser', async (t) => {
  const browser = await startBrowser(t)
  if (browser === undefined) return
  const clock = await startClock(t)
  const page = await browser.newPage()
  const complaints: string[] = []
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) complaints.push(message.text()) })
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('response', (response) => { if (response.status() >= 400) complaints.push(`${response.status()} ${response.url()}`) })
  await page.goto(clock.url)

  const stream = page.getByRole('region', { name: '/stream' })
  const get = page.getByRole('region', { name: '/get' })
  const shows = (clock: Locator, state: string) => clock.getByRole('status').filter({ hasText: state }).waitFor()
  const connections = (clock: Locator, count: number) => clock.locator('[data-part="connections"]', { hasText: String(count) }).waitFor()
  const press = (clock: Locator, name: string) => clock.getByRole('button', { name }).click()

  await t.test('both clocks tick, and measure their jitter', async (t) => {
    await shows(stream, '/stream open')
    await shows(get, '/get open')
    await stream.getByRole('row', { name: 'connecttime' }).waitFor()
    for (const [clock, event] of [[stream, 'message'], [get, 'cur-time']] as const) {
      await clock.getByRole('row', { name: event }).nth(2).waitFor()
      await clock.getByText('off from 1000 ms: median').waitFor()
      t.match(await clock.locator('time').textContent(), /^\d\d:\d\d:\d\d\.\d{3}$/)
      t.match(await clock.locator('[data-hand="second"]').getAttribute('style'), /rotate/)
    }
  })

  await t.test('/get ticks as often as its reader chooses', async () => {
    await get.getByLabel('Every').selectOption('100 ms')
    await connections(get, 2)
    await get.getByText('off from 100 ms: median').waitFor()
  })

  await t.test('a clock stops and starts again at the press of a button', async (t) => {
    const before = await clock.closeReasons(1)
    await press(stream, 'Stop')
    await shows(stream, 'closed')
    t.strictSame(await clock.closeReasons(before.length + 1), [...before, 'client'])
    await press(stream, 'Reconnect')
    await shows(stream, 'open')
    await connections(stream, 2)
  })

  await t.test('nothing was reported to the console', async (t) => {
    t.strictSame(complaints, [])
  })

  await t.test('the page comes back by itself when the server does', async (t) => {
    await clock.end('SIGKILL')
    await shows(stream, 'connecting')
    await shows(get, 'connecting')
    const again = await startClock(t, clock.port)
    await shows(get, 'open')
    await connections(get, 3)
    await get.getByRole('row', { name: 'cur-time' }).nth(2).waitFor()

    // Rather than wait its ten seconds.
    await press(stream, 'Reconnect')
    await shows(stream, 'open')
    t.strictSame(await again.closeReasons(0), [])
    await page.close()
    t.strictSame(await again.closeReasons(2), ['client', 'client'], 'closing the page ends the work for both')
    t.strictSame(complaints.filter((text) => !text.includes('net::ERR_')), [], 'all there is to report is the lost server')
  })
})
