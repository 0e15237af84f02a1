import { access, readlink } from 'node:fs/promises'
import { setTimeout } from 'node:timers/promises'
import type { EventSourceMessage } from 'eventsource-parser'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { request } from 'undici'
import { startBrowser } from './helpers/browser'
import { open, type Stream } from './helpers/client'
import { startClusterExample } from './helpers/cluster'
import { redisServer } from './helpers/services'

t.setTimeout(140_000)

const tick = (event: EventSourceMessage | undefined) => JSON.parse(String(event?.data))
const resumed = (last: EventSourceMessage | undefined) => ({ headers: { 'last-event-id': String(last?.id) } })
const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

async function ready (url: string): Promise<number> {
  const { statusCode, body } = await request(`${url}/ready`)
  await body.dump()
  return statusCode
}

/** Asks until the answer is the expected one. */
async function untilReady (url: string, status: number): Promise<void> {
  while (await ready(url) !== status) await setTimeout(50)
}

async function take (stream: Stream, count: number): Promise<EventSourceMessage[]> {
  const events: EventSourceMessage[] = []
  while (events.length < count) {
    const event = await stream.next()
    if (event === undefined) throw new Error('the stream has ended')
    events.push(event)
  }
  return events
}

t.test('three processes', { skip: process.platform === 'linux' ? false : 'looks into /proc' }, async t => {
  if (redisServer(t) === undefined) return
  const cluster = await startClusterExample(t, [])
  const [url = ''] = cluster.urls
  const folder = await readlink(`/proc/${cluster.redisPid}/cwd`)
  const send = (path: string, headers = {}) => request(`${url}${path}`, { method: 'POST', headers })

  await t.test('publish ticks without a hole, each in its turn, and bring all of them', async t => {
    t.equal(cluster.pids.length, 3)
    const streams = await Promise.all(cluster.pids.map(() => open(t, `${url}/feed`)))
    const all = await Promise.all(streams.map(async stream => (await take(stream, 6)).map(tick)))
    for (const ticks of all) {
      t.same(ticks.map(({ number }) => number), [1, 2, 3, 4, 5, 6])
      t.same(new Set(ticks.map(({ publishedBy }) => publishedBy)), new Set(cluster.pids))
    }
    t.equal(await ready(url), 200)
  })

  await t.test('end only their own, and only for the page itself', async t => {
    const stranger = cluster.redisPid
    t.equal((await send(`/processes/${stranger}/kill`)).statusCode, 202)
    t.equal((await send(`/processes/${cluster.pids[0]}/kill`, { 'sec-fetch-site': 'cross-site' })).statusCode, 403)
    t.equal((await send('/processes/restart', { 'sec-fetch-site': 'cross-site' })).statusCode, 403)
    t.equal((await send('/processes/self/kill')).statusCode, 400)
    const { processes } = tick((await take(await open(t, `${url}/feed`), 8)).at(-1))
    t.same(processes.map(({ pid }: { pid: number }) => pid), cluster.pids)
    t.ok(isAlive(stranger))
  })

  await t.test('a client of one that is killed goes on at another', async t => {
    const stream = await open(t, `${url}/feed`)
    const last = await stream.next()
    process.kill(tick(last).broughtBy, 'SIGKILL')
    await t.rejects(stream.rest())
    const back = (await take(await open(t, `${url}/feed`, resumed(last)), 4)).map(tick)
    t.same(back.map(({ number }) => number - tick(last).number), [1, 2, 3, 4])
    t.not(back[0].broughtBy, tick(last).broughtBy)
  })

  await t.test('in a browser', async t => {
    const browser = await startBrowser(t)
    if (browser === undefined) return
    const page = await browser.newPage()
    const complaints: string[] = []
    page.on('console', message => { if (['error', 'warning'].includes(message.type())) complaints.push(message.text()) })
    page.on('pageerror', error => complaints.push(error.message))
    await page.goto(url)
    await part(page, 'ribbon').locator('li').nth(5).waitFor()

    await t.test('a page whose process is killed goes on at another, with nothing missing', async t => {
      const mine = await servingPid(page)
      const before = await count(page, 'connections')
      await page.getByRole('button', { name: `kill -9 ${mine}` }).click()
      await goesOn(page, before)
      t.not(await servingPid(page), mine)
      await isWhole(t, page)
      await page.locator(`[data-pid="${mine}"]`).waitFor({ state: 'detached' })
      await page.locator('.processes button:enabled').nth(2).waitFor()
    })

    await t.test('a note is published by whichever process answers', async t => {
      await page.getByLabel('A line for everyone').fill('Is anybody there?')
      await page.getByRole('button', { name: 'Publish' }).click()
      await page.getByText(/^Published by process \d+$/).waitFor()
      await part(page, 'notes').getByText('Is anybody there?').waitFor()
    })

    await t.test('a page goes on while all are restarted, one by one', async t => {
      const old = await pidsOn(page)
      const before = await count(page, 'connections')
      await page.getByRole('button', { name: 'Restart all' }).click()
      for (const pid of old) await page.locator(`[data-pid="${pid}"]`).waitFor({ state: 'detached' })
      await goesOn(page, before)
      t.equal((await pidsOn(page)).filter(pid => old.includes(pid)).length, 0)
      t.equal((await pidsOn(page)).length, 3)
      await isWhole(t, page)
    })

    await t.test('while Redis is stopped nobody is ready, but all live and the stream stays open', async t => {
      const before = await count(page, 'connections')
      process.kill(cluster.redisPid, 'SIGSTOP')
      await untilReady(url, 503)
      const live = await request(`${url}/live`)
      t.equal(live.statusCode, 200)
      await page.getByRole('alert').filter({ hasText: 'backplane is degraded' }).waitFor()
      t.equal(await part(page, 'state').textContent(), 'open')
      const received = await count(page, 'received')
      process.kill(cluster.redisPid, 'SIGCONT')
      await untilReady(url, 200)
      await page.getByRole('alert').waitFor({ state: 'hidden' })
      t.ok(await count(page, 'received') > received)
      t.equal(await count(page, 'connections'), before, 'over the same connection')
      await isWhole(t, page)
    })

    await t.test('a Redis that is killed is started again, and nothing is missing', async t => {
      const before = await count(page, 'connections')
      process.kill(cluster.redisPid, 'SIGKILL')
      await untilReady(url, 503)
      const received = await count(page, 'received')
      await untilReady(url, 200)
      await until(async () => await count(page, 'received') > received + 1)
      t.equal(await count(page, 'connections'), before)
      await isWhole(t, page)
    })

    t.same(complaints.filter(text => !/net::ERR_|status of 503/.test(text)), [], 'all there is to report are the lost connections')
  })

  await t.test('Ctrl-C ends all of it, with a stream open', async t => {
    const stream = await open(t, `${url}/feed`)
    const { processes } = tick(await stream.next())
    const pids: number[] = processes.map(({ pid }: { pid: number }) => pid)
    const ended = stream.rest()
    t.same(await cluster.interrupt(), [0, null])
    t.ok(Number((await ended).length) >= 0, 'the stream had a proper end')
    for (const pid of [...cluster.pids, ...pids]) t.notOk(isAlive(pid), `${pid} is gone`)
    await t.rejects(access(folder))
    await t.rejects(request(`${url}/live`))
  })
})

t.test('one process in memory', async t => {
  const cluster = await startClusterExample(t, ['--memory'])
  const [url = ''] = cluster.urls
  t.equal(cluster.pids.length, 1)
  t.notMatch(cluster.output, /Redis/)
  const stream = await open(t, `${url}/feed`)
  const [first, second] = await take(stream, 2)
  t.match(tick(first), { number: 1, backplane: 'memory' })
  t.match(tick(second), { number: 2 })
  t.equal(await ready(url), 200)

  await t.test('is replaced when it is killed, and its clients are told that its history is lost', async t => {
    process.kill(cluster.pids[0] ?? NaN, 'SIGKILL')
    await t.rejects(stream.rest())
    await until(() => ready(url).then(() => true, () => false))
    const [gap, next] = await take(await open(t, `${url}/feed`, resumed(second)), 2)
    t.match(gap, { event: 'gap' })
    t.match(tick(gap), { reason: 'epoch', requested: second?.id })
    t.equal(next?.event, 'tick')
  })

  await t.test('ends at once', async t => {
    t.same(await cluster.interrupt(), [0, null])
  })
})

t.test('without redis-server there is one process, and a hint that cannot be overlooked', async t => {
  const cluster = await startClusterExample(t, ['--ports'], { PATH: '' })
  t.match(cluster.output, /redis-server is not installed/)
  t.equal(cluster.pids.length, 1)
  t.equal(await ready(cluster.urls[0] ?? ''), 200)
  t.same(await cluster.interrupt(), [0, null])
})

const part = (page: Page, name: string) => page.locator(`[data-part="${name}"]`)
const count = async (page: Page, name: string): Promise<number> => Number(await part(page, name).textContent())
const pidsOn = async (page: Page): Promise<number[]> => (await page.locator('.processes .name .pid').allTextContents()).map(Number)
const servingPid = async (page: Page): Promise<number> => Number(await page.locator('.processes .mine .name .pid').textContent())

async function until (isSo: () => Promise<boolean>): Promise<void> {
  while (!await isSo()) await setTimeout(50)
}

/** Waits until it has another connection, and two ticks more. */
async function goesOn (page: Page, connections: number): Promise<void> {
  await until(async () => await count(page, 'connections') > connections)
  const received = await count(page, 'received')
  await until(async () => await count(page, 'received') > received + 1)
}

async function isWhole (t: Test, page: Page): Promise<void> {
  for (const name of ['missing', 'doubled', 'gaps']) t.equal(await count(page, name), 0, name)
}
