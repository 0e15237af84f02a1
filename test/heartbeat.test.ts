import { once } from 'node:events'
import { mock } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { Ticker } from '../plugin/ticker'
import { turnIsOver } from '../plugin/turn'
import type { SseOptions, StreamContext } from '../plugin/types'
import { deferred } from './helpers/deferred'
import { serve } from './helpers/serve'
import { connectTo, get, type RawClient } from './helpers/socket'

const HEARTBEAT = 1_000

function mockTimers (t: Test): void {
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => { mock.timers.reset() })
}

/** Serves a stream that sends what is asked for, to a client of HTTP/1.0, to which the body goes as it is. */
async function openQuiet (t: Test, options: SseOptions): Promise<{ client: RawClient, send (text: string): Promise<unknown>, body (): string }> {
  let asked = deferred<string>()
  const { port } = await serve(t, app => app.get('/', (request, reply) => reply.sse(async function * ({ signal }) {
    signal.addEventListener('abort', () => { asked.resolve('') })
    while (!signal.aborted) {
      yield await asked.promise
      asked = deferred()
    }
  }, { prime: 0, ...options })))
  const client = await connectTo(t, port, get('/', {}, '1.0'))
  await client.until('\r\n\r\n:\n')
  return {
    client,
    send: text => {
      asked.resolve(text)
      return client.until(`data: ${text}\n\n`)
    },
    body: () => client.received.split('\r\n\r\n:\n')[1] ?? ''
  }
}

/** Waits until so much has come after the head and its first comment. */
async function untilBody ({ client, body }: Awaited<ReturnType<typeof openQuiet>>, expected: RegExp): Promise<void> {
  while (!expected.test(body())) await once(client.socket, 'data')
}

t.test('what a heartbeat is', async t => {
  t.test('a quiet stream is sent comment lines without a blank line, before its first event too', async t => {
    const stream = await openQuiet(t, { heartbeat: 20 })
    await untilBody(stream, /^:\n:\n/)
    await stream.send('first')
    await untilBody(stream, /first\n\n:\n:\n/)
    t.match(stream.body(), /^(:\n){2,}data: first\n\n(:\n){2,}$/)
  })

  t.test('a stream is not quiet for longer than the interval, whenever its last event was sent', async t => {
    mockTimers(t)
    const stream = await openQuiet(t, { heartbeat: HEARTBEAT })
    for (const phase of [0, 130, 260, 499, 740, 999]) {
      mock.timers.tick(phase)
      await stream.send(`at ${phase}`)
      mock.timers.tick(HEARTBEAT)
      await untilBody(stream, new RegExp(`at ${phase}\n\n:\n`))
    }
    t.pass('each was followed by a heartbeat')
  })

  t.test('a busy stream gets none', async t => {
    mockTimers(t)
    const { send, body } = await openQuiet(t, { heartbeat: HEARTBEAT })
    for (let event = 0; event < 10; event++) {
      mock.timers.tick(HEARTBEAT * 0.7)
      await send(`event ${event}`)
    }
    t.notMatch(body(), /^:/m)
  })

  t.test('`false` turns it off', async t => {
    mockTimers(t)
    const { send, body } = await openQuiet(t, { heartbeat: false })
    mock.timers.tick(3_600_000)
    await send('an hour later')
    t.equal(body(), 'data: an hour later\n\n')
  })

  t.test('while bytes wait for the client there is none, and afterwards there is', async t => {
    mockTimers(t)
    const written = deferred()
    const { port } = await serve(t, app => app.get('/', (request, reply) => reply.sse(async function * ({ signal }) {
      yield 'x'.repeat(48 * 1024 * 1024)
      written.resolve()
      await once(signal, 'abort')
    }, { heartbeat: HEARTBEAT })))
    const { socket } = await connectTo(t, port, get('/', {}, '1.0'))
    socket.pause()
    await written.promise
    mock.timers.tick(HEARTBEAT * 10)
    let text = ''
    socket.on('data', (chunk: string) => { text += chunk.replaceAll('x', '') })
    socket.resume()
    while (!text.includes('\n\n')) await once(socket, 'data')
    mock.timers.tick(HEARTBEAT)
    while (!text.endsWith(':\n')) await once(socket, 'data')
    t.equal(text.split('data: ')[1], '\n\n:\n', 'one heartbeat, for the quiet after the event')
  })
})

t.test('the timer', async t => {
  async function * parked ({ signal }: StreamContext): AsyncGenerator<string> {
    yield 'open'
    await once(signal, 'abort')
  }

  t.test('is one for all streams of an interval, and goes with the last of them', async t => {
    const set = mock.method(globalThis, 'setInterval')
    const clear = mock.method(globalThis, 'clearInterval')
    t.teardown(() => { mock.restoreAll() })
    const { port, log } = await serve(t, app => app.get<{ Params: { heartbeat: number } }>('/:heartbeat', (request, reply) =>
      reply.sse(parked, { heartbeat: Number(request.params.heartbeat) })))

    const openAt = async (path: string) => {
      const client = await connectTo(t, port, get(path))
      await client.until('data: open')
      return client
    }
    const clients = [await openAt('/60000')]
    const timers = set.mock.callCount()
    clients.push(await openAt('/60000'), await openAt('/60000'))
    t.equal(set.mock.callCount(), timers, 'none for those that follow')
    const other = await openAt('/90000')
    t.equal(set.mock.callCount(), timers + 1, 'one for another interval')

    for (const [index, client] of clients.entries()) {
      t.equal(clear.mock.callCount(), 0, `still runs for ${3 - index}`)
      client.socket.destroy()
      await log.take('event stream closed', index + 1)
    }
    t.equal(clear.mock.callCount(), 1)
    other.socket.destroy()
    await log.take('event stream closed', 4)
    t.same(new Set(clear.mock.calls.map(call => call.arguments[0])), new Set(set.mock.calls.map(call => call.result)), 'none is left')
  })

  t.test('goes on for those that stay, and starts anew for those that come later', async t => {
    mockTimers(t)
    const { port, log } = await serve(t, app => app.get('/', (request, reply) => reply.sse(parked, { heartbeat: HEARTBEAT })))
    const beats = async (client: RawClient) => {
      mock.timers.tick(HEARTBEAT)
      await client.until('data: open\n\n:\n')
    }
    const open = async () => {
      const client = await connectTo(t, port, get('/', {}, '1.0'))
      await client.until('data: open\n\n')
      return client
    }
    const [first, second] = [await open(), await open()]
    first.socket.destroy()
    await log.find('event stream closed')
    await beats(second)
    second.socket.destroy()
    await log.take('event stream closed', 2)
    await beats(await open())
    t.pass('all were kept warm')
  })

  t.test('visits many in more than one turn of the event loop, each once', async t => {
    mockTimers(t)
    const visited: number[] = []
    const ticker = new Ticker<number>(member => {
      visited.push(member)
      if (member === 99) while (!turnIsOver());
    })
    const members = Array.from({ length: 250 }, (_, member) => member)
    for (const member of members) ticker.add(member, HEARTBEAT)
    t.teardown(() => { for (const member of members) ticker.remove(member, HEARTBEAT) })

    for (const round of [1, 2]) {
      mock.timers.tick(HEARTBEAT / Ticker.TICKS)
      t.equal(visited.length, 100, `${round}: then others have their turn`)
      mock.timers.tick(HEARTBEAT / Ticker.TICKS)
      t.equal(visited.length, 100, 'and a round that is late is left out')
      while (visited.length < 250) await setImmediate()
      t.same(visited, members)
      visited.length = 0
    }
  })
})
