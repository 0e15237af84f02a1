import t from 'tap'
import { request } from 'undici'
import { open } from './helpers/client'
import { startExample } from './helpers/example'

t.test('the market of examples/typed', async t => {
  const { url, end } = await startExample(t, 'typed')

  await t.test('streams quotes that have the shape of their schema', async t => {
    const stream = await open(t, `${url}/market/ACME`)
    const quote = await stream.next()
    t.equal(quote?.event, 'quote')
    const data = JSON.parse(String(quote?.data))
    t.equal(data.symbol, 'ACME')
    t.ok(data.bid < data.ask)
    t.equal(stream.retry(), 1000)
  })

  await t.test('ends when a client has as many quotes as it asked for', async t => {
    const events = await (await open(t, `${url}/market/ACME?count=2`)).rest()
    t.equal(events.filter(({ event }) => event === 'quote').length, 2)
    t.equal((await request(`${url}/market/ACME?count=0`)).statusCode, 400)
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

  await t.test('proposes in its description what ends soon', async t => {
    const { paths } = await (await request(`${url}/json`)).body.json() as { paths: Record<string, Record<string, any>> }
    const { parameters } = paths['/market/{symbol}']?.['get']
    t.match(parameters.find(({ name }: { name: string }) => name === 'count'), { example: 3, required: false })
    const { properties } = paths['/orders']?.['post'].requestBody.content['application/json'].schema
    const order = Object.fromEntries(Object.entries<{ examples: unknown[] }>(properties).map(([name, { examples }]) => [name, examples[0]]))
    const events = await (await open(t, `${url}/orders`, {
      method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(order)
    })).rest()
    t.same(events.map(({ event, data }) => event === 'trade' ? JSON.parse(data).volume : data), [10, 10, 10, 'filled'])
  })

  await t.test('ends at once and cleanly, with a stream open', async t => {
    const stream = await open(t, `${url}/market/ACME`)
    await stream.next()
    t.same(await end(), [0, null])
    t.ok((await stream.rest()).every(({ event }) => event === 'quote' || event === 'trade'))
  })
})

t.test('the numbers of examples/metrics', async t => {
  const { url, end } = await startExample(t, 'metrics')

  /** What is counted, by names as they are written there. */
  async function metrics (): Promise<Map<string, number>> {
    const { body } = await request(`${url}/metrics`)
    const lines = (await body.text()).split('\n').filter(line => line !== '' && !line.startsWith('#'))
    return new Map(lines.map(line => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]))
  }

  /** Asks until a number is as it is to become. */
  async function become (name: string, value: number): Promise<Map<string, number>> {
    for (;;) {
      const found = await metrics()
      if (found.get(name) === value) return found
    }
  }

  await t.test('are there before anything has happened', async t => {
    const { headers, body } = await request(`${url}/metrics`)
    t.match(headers['content-type'], /^text\/plain; version=0\.0\.4/)
    const text = await body.text()
    t.match(text, '# TYPE sse_streams_open gauge\nsse_streams_open 0\n')
    t.match(text, '# TYPE sse_streams_opened_total counter\nsse_streams_opened_total 0\n')
    t.match(text, 'sse_streams_closed_total{reason="client"} 0\n')
    t.match(text, 'sse_backplane_connected 1\n')
    t.notMatch(text, 'sse_channel_subscribers{', 'nobody reads the channel')
  })

  let seen = ''
  await t.test('count a stream while it is open, and its events', async t => {
    const stream = await open(t, `${url}/ticks`)
    const first = await stream.next()
    await stream.next()
    t.match(first, { event: 'tick', id: /./ })
    seen = String(first?.id)
    const found = await metrics()
    t.equal(found.get('sse_streams_open'), 1)
    t.equal(found.get('sse_streams_opened_total'), 1)
    t.equal(found.get('sse_channel_subscribers{channel="ticks"}'), 1)
    t.ok(Number(found.get('sse_channel_events_total{channel="ticks"}')) >= 2)
    t.equal(found.get('sse_queued_bytes'), 0)
    t.ok(Number(found.get('sse_events_total')) >= 2)
    t.ok(Number(found.get('sse_bytes_total')) > 0)
  })

  await t.test('count its end with the reason, and how long it lived', async t => {
    const found = await become('sse_streams_closed_total{reason="client"}', 1)
    t.equal(found.get('sse_streams_open'), 0)
    t.ok(Number(found.get('sse_bytes_total')) > 0)
    t.equal(found.get('sse_stream_duration_seconds_count{reason="client"}'), 1)
    const seconds = Number(found.get('sse_stream_duration_seconds_sum{reason="client"}'))
    t.ok(seconds > 0.5 && seconds < 60, `the two ticks took ${seconds} s`)
    t.notOk(found.has('sse_channel_subscribers{channel="ticks"}'))
  })

  await t.test('count what was replayed, and the gaps', async t => {
    const back = await open(t, `${url}/ticks`, { headers: { 'last-event-id': seen } })
    t.equal((await back.next())?.event, 'tick')
    t.ok(Number((await metrics()).get('sse_events_replayed_total')) >= 1, 'the second tick, and what came since')
    const astray = await open(t, `${url}/ticks`, { headers: { 'last-event-id': 'nonsense' } })
    t.equal((await astray.next())?.event, 'gap')
    const found = await metrics()
    t.equal(found.get('sse_gaps_total{reason="unknown"}'), 1)
    t.equal(found.get('sse_gaps_total{reason="evicted"}'), 0)
    t.equal(found.get('sse_channel_subscribers{channel="ticks"}'), 2)
    t.equal(found.get('sse_streams_opened_total'), 3)
  })

  await t.test('end with the server, with a stream open', async t => {
    const stream = await open(t, `${url}/ticks`)
    await stream.next()
    t.same(await end(), [0, null])
    t.ok((await stream.rest()).every(({ event }) => event === 'tick'))
  })
})
