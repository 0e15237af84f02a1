import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { request } from 'undici'
import { textFor, tokensOf } from '../examples/llm/text'
import { startBrowser } from './helpers/browser'
import { EVENT_SOURCE, open, type Stream } from './helpers/client'
import { startExample, type ExampleProcess } from './helpers/example'

t.setTimeout(120_000)

const post = (prompt: unknown) => ({
  method: 'POST' as const,
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ prompt })
})

const parsed = (event: { data: string } | undefined) => JSON.parse(String(event?.data))

/** Reads what the model does until it is as expected. */
async function until (activity: Stream, isSo: (now: { answers: number, tokens: number }) => boolean): Promise<{ answers: number, tokens: number }> {
  for (;;) {
    const now = parsed(await activity.next())
    if (isSo(now)) return now
  }
}

/** All events of a stream that is torn. */
async function untilTorn (t: Test, stream: Stream): Promise<{ event?: string | undefined, data: string }[]> {
  const events = []
  try {
    for (let event = await stream.next(); event !== undefined; event = await stream.next()) events.push(event)
    t.fail('the response has an end')
  } catch {}
  return events
}

t.test('over a socket', async t => {
  const { url, end } = await startExample(t, 'llm')
  const ask = (t: Test, prompt: string) => open(t, `${url}/chat`, post(prompt))

  await t.test('tokens come one by one and in order, and the last event counts them', async t => {
    const prompt = 'In short: what is a “token”?'
    const stream = await ask(t, prompt)
    t.match(stream.response.headers.get('content-type'), /^text\/event-stream/)
    const events = await stream.rest()
    const done = events.pop()
    t.equal(done?.event, 'done')
    t.ok(events.every(({ event }) => event === 'token'))
    const tokens = events.map(({ data }) => data)
    t.same(tokens, tokensOf(textFor(prompt, true)))
    t.same(parsed(done), { tokens: tokens.length, characters: tokens.join('').length })
  })

  await t.test('a client that leaves stops the work of the model', async t => {
    const activity = await open(t, `${url}/upstream`)
    const { tokens: before } = await until(activity, ({ answers }) => answers === 0)
    const stream = await ask(t, 'At length, please')
    while ((await stream.next())?.data !== '\n\n');
    t.equal((await until(activity, ({ tokens }) => tokens > before)).answers, 1)
    stream.close()
    const left = await until(activity, ({ answers }) => answers === 0)
    t.ok(left.tokens - before < tokensOf(textFor('At length, please', false)).length)

    const { length } = (await (await ask(t, 'In short')).rest()).filter(({ event }) => event === 'token')
    const now = await until(activity, ({ answers, tokens }) => answers === 0 && tokens > left.tokens)
    t.equal(now.tokens, left.tokens + length, 'nothing else was written since')
  })

  await t.test('a model that thinks has its stream open before the first token', async t => {
    const activity = await open(t, `${url}/upstream`)
    const { tokens } = await until(activity, ({ answers }) => answers === 0)
    const stream = await ask(t, 'Slowly, and in short')
    t.equal(stream.response.status, 200)
    t.same(await until(activity, ({ answers }) => answers === 1), { answers: 1, tokens })
    t.equal((await stream.next())?.data, 'You')
  })

  await t.test('a model that refuses, even after a while, is a status, and what it said stays here', async t => {
    for (const prompt of ['Refuse', 'Refuse, but slowly']) {
      const { statusCode, headers, body } = await request(`${url}/chat`, post(prompt))
      t.equal(statusCode, 429)
      t.equal(headers['retry-after'], '20')
      t.same(await body.json(), { statusCode: 429, error: 'Too Many Requests', message: 'The model refuses to answer' })
    }
  })

  await t.test('one that breaks off is told, and the connection is torn', async t => {
    const events = await untilTorn(t, await ask(t, 'Break off'))
    const failed = events.pop()
    t.equal(failed?.event, 'failed')
    t.same(parsed(failed), { message: 'The model broke off' })
    t.ok(events.length > 0 && events.length <= 40)
    t.ok(events.every(({ event }) => event === 'token'))
    await until(await open(t, `${url}/upstream`), ({ answers }) => answers === 0)
  })

  await t.test('a question that is none is refused', async t => {
    for (const prompt of ['', 'x'.repeat(4001), ['Hello', 'again'], undefined]) t.equal((await request(`${url}/chat`, post(prompt))).statusCode, 400)
  })

  await t.test('one address has three answers at a time, and nobody more is asked for', async t => {
    const streams = await Promise.all([1, 2, 3].map(() => ask(t, 'At length')))
    const { statusCode, headers } = await request(`${url}/chat`, post('At length'))
    t.equal(statusCode, 503)
    t.match(headers['retry-after'], /^\d+$/)
    const activity = await open(t, `${url}/upstream`)
    t.equal(parsed(await activity.next()).answers, 3)
    for (const stream of streams) stream.close()
    await until(activity, ({ answers }) => answers === 0)
  })

  await t.test('the server ends at once, and no answer that it cuts short is taken for a whole one', async t => {
    const stream = await ask(t, 'At length')
    await stream.next()
    t.same(await end(), [0, null])
    t.ok((await stream.rest()).every(({ event }) => event === 'token'))
  })
})

t.test('with an upstream elsewhere', async t => {
  let answer: (request: IncomingMessage, response: ServerResponse) => void | Promise<void> = () => {}
  const server = createServer((request, response) => answer(request, response))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { url, end } = await startWith(t, { UPSTREAM: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`, API_KEY: 'sk-1', MODEL: 'm-1' })
  const ask = (t: Test) => open(t, `${url}/chat`, post('Hello'))
  const sayHi = 'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n'

  await t.test('it is asked with the key, and read however its bytes come', async t => {
    answer = async (request, response) => {
      t.equal(request.url, '/v1/chat/completions')
      t.equal(request.headers.authorization, 'Bearer sk-1')
      t.same(await json(request), { model: 'm-1', messages: [{ role: 'user', content: 'Hello' }], stream: true })
      response.flushHeaders()
      const rest = `${sayHi}: still here\n\ndata: {"choices":[]}\n\ndata: {"choices":[{"delta":{"content":" ☃"}}]}\n\ndata: [DONE]\n\n`
      for (const byte of Buffer.from(rest.replaceAll('\n', '\r\n'))) if (!response.write(Buffer.of(byte))) await once(response, 'drain')
      response.end()
    }
    t.same((await (await ask(t)).rest()).map(({ event, data }) => `${event} ${data}`), ['token Hi', 'token  ☃', 'done {"tokens":2,"characters":4}'])
  })

  await t.test('its connection is closed when the client leaves', async t => {
    const closed = new Promise(resolve => {
      answer = (_request, response) => {
        response.on('close', resolve)
        response.write(sayHi)
      }
    })
    const stream = await ask(t)
    await stream.next()
    stream.close()
    await closed
  })

  await t.test('an answer that ends early, and one with an error in it, have failed', async t => {
    for (const rest of ['', 'data: {"error":{"message":"sk-1 has no credit"}}\n\n']) {
      answer = (_request, response) => { response.end(sayHi + rest) }
      const events = await untilTorn(t, await ask(t))
      t.match(events.at(-1), { event: 'failed', data: '{"message":"The model broke off"}' })
    }
  })

  await t.test('what is wrong between the proxy and it is a 502', async t => {
    answer = (_request, response) => { response.writeHead(401).end('Incorrect API key provided: sk-1') }
    const refused = await request(`${url}/chat`, post('Hello'))
    t.equal(refused.statusCode, 502)
    t.notMatch(await refused.body.text(), /sk-1/)

    server.close()
    server.closeAllConnections()
    t.equal((await request(`${url}/chat`, post('Hello'))).statusCode, 502)
  })

  await t.test('nothing is known of what it does, and an EventSource does not ask again', async t => {
    t.equal((await request(`${url}/upstream`, { headers: EVENT_SOURCE })).statusCode, 204)
    t.same(await end(), [0, null])
  })
})

/** Starts the example in an environment that is like ours but for some names. */
function startWith (t: Test, env: Record<string, string>): Promise<ExampleProcess> {
  Object.assign(process.env, env)
  const started = startExample(t, 'llm')
  for (const name in env) delete process.env[name]
  return started
}

t.test('in a browser', async t => {
  const browser = await startBrowser(t)
  if (browser === undefined) return
  const server = await startExample(t, 'llm')
  const complaints: string[] = []
  const page = await browser.newPage()
  page.on('console', message => { if (['error', 'warning'].includes(message.type())) complaints.push(message.text()) })
  page.on('pageerror', error => complaints.push(error.message))
  await page.goto(server.url)

  const button = (name: string) => page.getByRole('button', { name, exact: true })
  const writes = (page: Page, answers: string) => page.getByText(`The model is writing ${answers}`, { exact: true }).waitFor()
  const turn = (state: string) => page.locator(`.turn:last-child[data-state="${state}"]`)
  const text = () => page.locator('.turn:last-child .text')
  const has = (state: string) => turn(state).waitFor()

  await t.test('a question is answered, and the answer is whole', async t => {
    await writes(page, '0 answers')
    await page.getByLabel('Your question').fill('In short: what is <b>this</b>?')
    await page.keyboard.press('Enter')
    await has('done')
    const whole = textFor('In short: what is <b>this</b>?', true)
    t.equal(await text().textContent(), whole)
    t.equal(await turn('done').locator('[data-part="tokens"]').textContent(), String(tokensOf(whole).length))
    t.match(await turn('done').locator('[data-part="first"]').textContent(), /^\d+(\.\d)? m?s$/)
    t.match(await turn('done').locator('[data-part="rate"]').textContent(), /^\d+\.\d$/)
    await writes(page, '0 answers')
  })

  await t.test('the answer comes token by token, and Stop stops the model too', async t => {
    await button('Answer').click()
    await has('writing')
    await writes(page, '1 answer')
    await text().locator('span').nth(60).waitFor()
    await button('Stop').click()
    await has('stopped')
    await writes(page, '0 answers')
    const whole = textFor('How does a token get from a model to this page?', false)
    const written = String(await text().textContent())
    t.ok(whole.startsWith(written) && written.length < whole.length)
  })

  await t.test('one that thinks can be stopped before the first token', async t => {
    await button('Think first').click()
    await has('thinking')
    await writes(page, '1 answer')
    await page.keyboard.press('Escape')
    await has('stopped')
    await writes(page, '0 answers')
    t.equal(await text().textContent(), '')
  })

  await t.test('one that is refused says the status, and one that breaks that it is not whole', async t => {
    await button('Refuse').click()
    await has('refused')
    await page.getByText('Refused: 429 Too Many Requests').waitFor()
    await page.getByText('The model refuses to answer. It may be asked again in 20 s.').waitFor()
    await button('Break off').click()
    await has('broken')
    t.match(await turn('broken').locator('.reason').textContent(), /./)
    t.match(await text().textContent(), /^You asked: “Break off/)
    await writes(page, '0 answers')
  })

  await t.test('its parser takes each end of a line, wherever the chunks are cut', async t => {
    const found: unknown[] = await page.evaluate(`(async () => {
      const { readEvents } = await import('/events.js')
      const blocks = ['\\uFEFF: comment', 'event:token', 'data:  a: ☃', 'data', 'id: 1', '', 'event: none', '', 'data', '', 'data: no end']
      const found = new Set()
      for (const end of ['\\n', '\\r', '\\r\\n']) {
        const bytes = new TextEncoder().encode(blocks.join(end))
        for (let first = 0; first <= bytes.length; first++) {
          for (const second of [first, first + 1, bytes.length]) {
            const chunks = [bytes.slice(0, first), bytes.slice(first, second), bytes.slice(second)]
            const events = []
            for await (const event of readEvents(streamOf(chunks))) events.push(event)
            found.add(JSON.stringify(events))
          }
        }
      }
      return [...found].map(JSON.parse)
      function streamOf (chunks) {
        return new ReadableStream({ pull (controller) { chunks.length > 0 ? controller.enqueue(chunks.shift()) : controller.close() } })
      }
    })()`)
    t.same(found, [[{ type: 'token', data: ' a: ☃\n' }, { type: 'message', data: '' }]])
  })

  await t.test('an answer that the end of the server cuts short is not whole', async t => {
    await button('Answer').click()
    await has('writing')
    t.same(await server.end(), [0, null])
    await has('broken')
    await page.getByText('The server cannot be reached').waitFor()
    await startExample(t, 'llm', server.port)
    await writes(page, '0 answers')
  })

  await page.close()
  t.same(complaints.filter(text => !/net::ERR_|status of 429/.test(text)), [], 'all there is to report is what was to fail')
})
