import { randomBytes } from 'node:crypto'
import type { EventSourceMessage } from 'eventsource-parser'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { request } from 'undici'
import { startBrowser } from './helpers/browser'
import { open } from './helpers/client'
import { startExample } from './helpers/example'

t.test('over a socket', async t => {
  const { url, end } = await startExample(t, 'dashboard')
  const drop = (page: string) => request(`${url}/drop?page=${page}`, { method: 'POST' })
  const randomName = () => randomBytes(16).toString('hex')
  const number = (event: EventSourceMessage | undefined): number => JSON.parse(String(event?.data)).number

  await t.test('a sample says what the machine does, and how many watch', async t => {
    const stream = await open(t, `${url}/samples?page=${randomName()}`)
    const first = await stream.next()
    t.equal(first?.event, 'sample')
    t.equal(stream.retry(), 3000)
    const data = JSON.parse(String((await stream.next())?.data))
    t.equal(data.number, number(first) + 1)
    t.ok(data.load >= 0 && data.load <= 1)
    t.ok(data.memory.used > 0 && data.memory.used < data.memory.total)
    t.ok(data.delay >= 0)
    t.equal(data.watching, 1)
  })

  await t.test('a drop tears the connection of that page alone, and what it missed is replayed', async t => {
    const [mine, others] = [randomName(), randomName()]
    const stream = await open(t, `${url}/samples?page=${mine}`)
    const other = await open(t, `${url}/samples?page=${others}`)
    // The history first, until a sample comes that both are counted in.
    let last = await stream.next()
    while (JSON.parse(String(last?.data)).watching < 2) last = await stream.next()
    t.equal((await drop(mine)).statusCode, 204)
    await t.rejects(stream.rest(), 'the response has no end')

    let missed = await other.next()
    while (number(missed) <= number(last) || JSON.parse(String(missed?.data)).watching > 1) missed = await other.next()
    const back = await open(t, `${url}/samples?page=${mine}`, { headers: { 'last-event-id': String(last?.id) } })
    const numbers = []
    while ((numbers.at(-1) ?? 0) <= number(missed)) numbers.push(number(await back.next()))
    t.same(numbers, numbers.map((_, i) => number(last) + 1 + i))
  })

  await t.test('a page that is not there cannot be dropped, and one without a name is refused', async t => {
    t.equal((await drop(randomName())).statusCode, 204)
    t.equal((await drop('mine')).statusCode, 400)
    t.equal((await request(`${url}/samples`)).statusCode, 400)
  })

  await t.test('the server ends at once', async t => {
    t.same(await end(), [0, null])
  })
})

t.test('in a browser', async t => {
  const browser = await startBrowser(t)
  if (browser === undefined) return
  const server = await startExample(t, 'dashboard')
  const complaints: string[] = []

  const part = (page: Page, name: string) => page.locator(`[data-part="${name}"]`)
  const shows = (page: Page, state: string) => page.getByRole('status').filter({ hasText: state }).waitFor()
  const watching = (page: Page, count: number) => page.getByText(`${count} watching`, { exact: true }).waitFor()

  async function watch (): Promise<Page> {
    const page = await browser!.newPage()
    page.on('console', message => { if (['error', 'warning'].includes(message.type())) complaints.push(message.text()) })
    page.on('pageerror', error => complaints.push(error.message))
    await page.goto(server.url)
    return page
  }

  /** Each sample came once. */
  async function isWhole (t: Test, page: Page, gaps = 0): Promise<void> {
    t.equal(await part(page, 'missing').textContent(), '0', 'none is missing')
    t.equal(await part(page, 'doubled').textContent(), '0', 'none came twice')
    t.equal(await part(page, 'gaps').textContent(), String(gaps))
  }

  const page = await watch()
  const other = await watch()

  await t.test('both pages watch, and know it', async t => {
    for (const one of [page, other]) {
      await shows(one, 'open')
      await watching(one, 2)
      await one.locator('svg .line').nth(2).waitFor()
      t.match(await part(one, 'load').textContent(), /^\d+ %$/)
      t.match(await part(one, 'memory').textContent(), /^\d+\.\d GiB$/)
      t.match(await part(one, 'delay').textContent(), /^\d+\.\d ms$/)
      await one.getByText('None yet.').waitFor()
    }
  })

  await t.test('a page whose connection was dropped comes back by itself, and has missed nothing', async t => {
    const comesBack = page.waitForRequest(/\/samples/)
    await page.getByRole('button', { name: 'Drop the connection' }).click()
    await shows(page, 'connecting')
    await watching(other, 1)
    t.match((await (await comesBack).allHeaders())['last-event-id'], /^[\w-]+-\d+$/)
    await shows(page, 'open')

    const row = page.getByRole('row').filter({ hasText: '#' })
    const [first = NaN, last = first] = [...String(await row.textContent()).matchAll(/#(\d+)/g)].map(([, number]) => Number(number))
    t.ok(first <= last, `samples ${first} to ${last} were sent afterwards`)
    while (Number(await part(page, 'received').textContent()) <= last) await watching(page, 2)
    await page.locator('svg .replayed').nth(2).waitFor()
    t.equal(await page.locator('svg .line').count(), 3, 'the lines have no hole')
    t.equal(await part(page, 'connections').textContent(), '2')
    await isWhole(t, page)
    await isWhole(t, other)
    t.equal(await part(other, 'connections').textContent(), '1', 'the other page has noticed nothing')
  })

  await t.test('a page that is closed does not watch any more', async () => {
    await other.close()
    await watching(page, 1)
  })

  await t.test('a page is told of the gap when the server has started anew', async t => {
    await server.end('SIGKILL')
    await shows(page, 'connecting')
    await startExample(t, 'dashboard', server.port)
    await shows(page, 'open')
    await page.locator('svg .line').nth(5).waitFor()
    await isWhole(t, page, 1)
    await page.close()
  })

  t.same(complaints.filter(text => !text.includes('net::ERR_')), [], 'all there is to report are the lost connections')
})
