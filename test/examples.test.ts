import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { request } from 'undici'
import { open } from './helpers/client'

const ROOT = join(__dirname, '..')

/** Starts the market in a process of its own, on a free port, and ends it with the test. */
async function startMarket (t: Test): Promise<{ url: string, end: () => Promise<unknown> }> {
  // Without the loaders of the test runner: the example runs as its reader starts it.
  const { NODE_OPTIONS: _runner, ...env } = process.env
  const child = spawn(process.execPath, ['--import', 'tsx', join('examples', 'typed', 'server.ts')], {
    cwd: ROOT, env: { ...env, PORT: '0' }, stdio: ['ignore', 'pipe', 'inherit']
  })
  const exited = once(child, 'exit')
  t.teardown(() => { child.kill('SIGKILL') })
  const end = (): Promise<unknown> => {
    child.kill('SIGTERM')
    return exited
  }
  for await (const line of createInterface(child.stdout)) {
    const url = /at (http:\S+)\/,/.exec(line)?.[1]
    if (url !== undefined) return { url, end }
  }
  throw new Error('the market did not open')
}

t.test('the market of examples/typed', async t => {
  const { url, end } = await startMarket(t)

  await t.test('streams quotes that have the shape of their schema', async t => {
    const stream = await open(t, `${url}/market/ACME`)
    const quote = await stream.next()
    t.equal(quote?.event, 'quote')
    const data = JSON.parse(String(quote?.data))
    t.equal(data.symbol, 'ACME')
    t.ok(data.bid < data.ask)
    t.equal(stream.retry(), 1000)
  })

  await t.test('fills an order that comes as JSON, and ends', async t => {
    const stream = await open(t, `${url}/orders`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ symbol: 'ACME', volume: 20, limit: 1000 })
    })
    const events = await stream.rest()
    t.same(events.map(({ event, data }) => event === 'trade' ? JSON.parse(data).volume : data), [10, 10, 'filled'])
  })

  await t.test('refuses a bad symbol and a bad order with a 400', async t => {
    t.equal((await request(`${url}/market/lower`)).statusCode, 400)
    const headers = { 'content-type': 'application/json' }
    t.equal((await request(`${url}/orders`, { method: 'POST', headers, body: '{ "symbol": "ACME" }' })).statusCode, 400)
  })

  await t.test('shows its description', async t => {
    const page = await request(`${url}/`)
    t.match(await page.body.text(), /swagger-ui/)
    const document = await (await request(`${url}/json`)).body.json()
    t.match(document, { openapi: '3.1.0', paths: { '/market/{symbol}': { get: { responses: { 200: { content: { 'text/event-stream': {} } } } } } } })
  })

  await t.test('ends at once and cleanly, with a stream open', async t => {
    const stream = await open(t, `${url}/market/ACME`)
    await stream.next()
    t.same(await end(), [0, null])
    t.ok((await stream.rest()).every(({ event }) => event === 'quote' || event === 'trade'))
  })
})
