import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { createInterface } from 'node:readline'
import { mock } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { memoryBackplane } from '../plugin/backplane/memory'
import type { Backplane } from '../plugin/backplane/types'
import { turnIsOver } from '../plugin/turn'
import { dataOf, publishAll, read, serveChannel, take, type ServedChannel } from './helpers/channels'
import type { Stream } from './helpers/client'
import { deferred } from './helpers/deferred'
import { FaultyBackplane } from './helpers/faulty-backplane'
import { serve } from './helpers/serve'
import { connectTo, get, type RawClient } from './helpers/socket'

const MIB = 1024 * 1024

/** What scripts/slow-client.js has seen. */
interface Seen {
  clients: number
  published: number
  others: { delivered: number, gaps: number }
  /** In bytes, with the buffers outside of the heap. */
  memory: Record<'before' | 'peak' | 'after', { heap: number }>
  stalled: { received: number, missing: number, gaps: string[], cut?: string }
  dropped: number
}

/**
 * Has the script publish to 40 clients of which one is stalled. It fails by itself where a client is sent anything twice,
 * out of order, or after a hole of which no gap event tells exactly.
 */
async function stallOne (t: Test, scenario: string): Promise<Seen> {
  const { NODE_OPTIONS: _runner, ...env } = process.env
  const script = join(__dirname, '..', 'scripts', 'slow-client.js')
  const child = spawn(process.execPath, [script, '--clients', '40', '--megabytes', '10', '--json', scenario], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  t.teardown(() => { child.kill('SIGKILL') })
  const lines: string[] = []
  for await (const line of createInterface(child.stdout)) lines.push(line)
  await exited
  t.equal(lines.length, 1, 'the clients were sent what they should be, in order')
  return JSON.parse(lines[0] ?? '{}')
}

t.test('one stalled client of many', async t => {
  const fates: Record<string, { title: string, cut?: string, gaps: string[][], isLossless?: boolean }> = {
    'disconnect, back at once': { title: 'that is disconnected misses nothing when it comes back', cut: 'slow', gaps: [[]], isLossless: true },
    'drop-oldest': { title: 'is told what was dropped for it, and goes on', gaps: [['dropped']] },
    latest: { title: 'is left the newest event of each name, and goes on', gaps: [['dropped']] },
    writeTimeout: { title: 'that takes nothing for writeTimeout is cut off, and goes on when it comes back', cut: 'stalled', gaps: [[], ['evicted']] }
  }

  for (const [scenario, { title, cut, gaps, isLossless = false }] of Object.entries(fates)) {
    t.test(title, async t => {
      const { clients, published, others, memory, stalled, dropped } = await stallOne(t, scenario)
      t.match(others, { delivered: (clients - 1) * published, gaps: 0 }, 'the others have everything')
      const growth = (now: { heap: number }): number => now.heap - memory.before.heap
      t.ok(growth(memory.peak) < (1 + 4) * MIB, `the server has ${growth(memory.peak)} bytes more meanwhile, a maxBuffer and some`)
      t.ok(growth(memory.after) < 4 * MIB, `and ${growth(memory.after)} bytes more in the end`)
      t.equal(stalled.cut, cut)
      t.ok(gaps.some(reasons => `${reasons}` === `${stalled.gaps}`), `gaps: ${stalled.gaps}`)
      t.equal(stalled.received + stalled.missing, published)
      if (isLossless) t.equal(stalled.missing, 0)
      if (cut === undefined) t.equal(dropped, stalled.missing)
    })
  }
})

t.test('a storm of clients that come back reads the tail of each channel once', async t => {
  const EVENTS = 40
  const CROWD = 80
  const NAMES = ['news', 'prices', 'weather']
  const backplane = memoryBackplane()
  const readFrom = backplane.read.bind(backplane)
  let answers = Promise.resolve()
  const reading = mock.method(backplane, 'read', async (...asked: Parameters<Backplane['read']>) => {
    await answers
    return readFrom(...asked)
  })
  let requested = (): void => {}
  const { app, port, url, log } = await serve(t, app => {
    app.addHook('onRequest', async () => { requested() })
    for (const name of NAMES) app.get(`/${name}`, (request, reply) => reply.sse(app.sse.channel(name)))
    app.get('/all', (request, reply) => reply.sse(app.sse.subscribe(NAMES.map(name => app.sse.channel(name)))))
  }, { plugin: { backplane } })

  const idsOf: Record<string, string[]> = {}
  const first = await read(t, `${url}/all`)
  for (const name of NAMES) idsOf[`/${name}`] = await publishAll(app.sse.channel(name), ...Array(EVENTS).keys())
  idsOf['/all'] = (await take(first, NAMES.length * EVENTS)).map(({ id }) => String(id))
  first.close()
  await log.find('event stream closed')

  /** Comes back to every path a crowd strong, each client after another event, and reads all that it has missed. */
  async function storm (): Promise<RawClient[]> {
    reading.mock.resetCalls()
    const paths = Object.entries(idsOf)
    const allAreThere = deferred()
    let missing = paths.length * CROWD
    answers = allAreThere.promise
    requested = () => { if (--missing === 0) allAreThere.resolve() }
    return Promise.all(paths.flatMap(([path, ids]) => Array.from({ length: CROWD }, async (_, index) => {
      const at = index % (ids.length - 1)
      const missed = ids.slice(at + 1)
      const client = await connectTo(t, port, get(path, { 'last-event-id': ids[at] ?? '' }))
      await client.until(`id: ${missed.at(-1)}\n`)
      const seen = [...client.received.matchAll(/^id: (.*)$/gm)].map(([, id]) => id)
      if (`${seen}` !== `${missed}`) t.fail(`${missed} came as ${seen}`)
      return client
    })))
  }

  function asked (): string[] {
    return reading.mock.calls.map(({ arguments: [name, after] }) => `${name} ${after}`).sort()
  }

  /** Each is asked where it stands, and what it has. */
  function onceOf (names: readonly string[]): string[] {
    return names.flatMap(name => [`${name} 0`, `${name} ${Number.MAX_SAFE_INTEGER}`])
  }

  const clients = await storm()
  t.same(asked(), onceOf(NAMES), `by ${clients.length} clients`)
  for (const client of clients.slice(1)) client.socket.destroy()
  await log.take('event stream closed', clients.length)
  await storm()
  t.same(asked(), onceOf(NAMES.slice(1)), 'and not again what somebody still reads')
})

t.test('what is published in one turn of the event loop is written to each client at once, and to all in the same memory', async t => {
  const { clients, sockets, channel } = await crowd(t, 30)
  const written: unknown[] = []
  for (const socket of sockets) onWrite(socket, chunk => { written.push(chunk) })
  for (const names of [['one', 'two', 'three'], ['four']]) {
    const ids = await Promise.all(names.map(data => channel.publish({ data })))
    const text = names.map((data, index) => `id: ${ids[index]}\ndata: ${data}\n\n`).join('')
    const chunk = `${text.length.toString(16)}\r\n${text}\r\n`
    for (const client of clients) await client.until(chunk)
    t.equal(written.length, clients.length)
    t.equal(String(written[0]), chunk)
    t.equal(new Set(written).size, 1, 'one buffer')
    written.length = 0
  }
})

t.test('the event loop is given back', async t => {
  const CROWD = 100

  t.test('while an event is written to a crowd', async t => {
    const { clients, sockets, channel, port } = await crowd(t, CROWD)
    const { work, assertInTime } = await withRequest(t, port)
    for (const socket of sockets) onWrite(socket, work)
    const id = await channel.publish('event')
    for (const client of clients) await client.until(`id: ${id}\n`)
    await assertInTime()
  })

  for (const [what, path] of Object.entries({ 'a channel': '/', 'a part of a channel': '/part' })) {
    t.test(`while a crowd that comes back to ${what} is let in`, async t => {
      const [asked, answer] = [deferred(), deferred<boolean>()]
      const sockets: Socket[] = []
      let count = 0
      let work = (): void => {}
      const served = await serveChannel(t, {
        authorize: () => {
          if (++count === CROWD) asked.resolve()
          return answer.promise
        }
      }, {}, (app, channel) => {
        const part = channel.subscribe({ filter: () => { work(); return true } })
        app.get('/part', (request, reply) => reply.sse(part))
        app.get('/one', () => 'one')
        app.server.on('connection', socket => { sockets.push(socket) })
      })
      const ids = await served.publishAll('one', 'two', 'three')
      const clients = await Promise.all(Array.from({ length: CROWD }, () => connectTo(t, served.port, get(path, { 'last-event-id': ids[0] ?? '' }))))
      await asked.promise
      const request = await withRequest(t, served.port)
      if (path === '/part') work = request.work
      else for (const socket of sockets) onWrite(socket, request.work)
      answer.resolve(true)
      for (const client of clients) await client.until(`id: ${ids[2]}\n`)
      await request.assertInTime()
    })
  }
})

t.test('when the turn of the event loop is used up', async t => {
  t.test('the generators that wait for the next share it, however much each does at a time', async t => {
    const COUNT = 10
    const order: string[] = []
    const { port } = await serve(t, app => {
      app.get('/:name', (request, reply) => reply.sse(async function * ({ signal }) {
        const { name } = request.params as { name: string }
        while (!signal.aborted) {
          order.push(name)
          useUpTurn()
          yield name
        }
      }))
    })
    const clients = await Promise.all(Array.from({ length: COUNT }, (_, index) => connectTo(t, port, get(`/${index}`))))
    for (const [index, client] of clients.entries()) await client.until(`data: ${index}\n\n`)
    order.length = 0
    let turns = 0
    while (order.length < 3 * COUNT) {
      await setImmediate()
      turns++
    }
    t.ok(turns > 2 * COUNT, `${order.length} times in ${turns} turns`)
    t.equal(new Set(order.slice(0, COUNT)).size, COUNT, 'first come, first served')
  })

  t.test('who comes back begins in another', async t => {
    const { comeBack } = await late(t)
    const order: string[] = []
    const opened = (): void => { order.push('opened') }
    subscribe('fastify-event-stream:opened', opened)
    t.teardown(() => unsubscribe('fastify-event-stream:opened', opened))
    const stream = await comeBack(() => { order.push('a turn') })
    t.same(dataOf(await take(stream, 2)), ['two', 'three'])
    t.same(order, ['a turn', 'opened'])
  })

  t.test('who comes back and leaves before the next is let go', async t => {
    const { comeBack, channel } = await late(t)
    const stream = await comeBack(() => { t.equal(channel.disconnect(() => true), 1) })
    t.same(await stream.rest(), [])
    t.equal(channel.subscribers, 0)
  })

  t.test('who comes back and waits for the next hears that the channel cannot be read', async t => {
    const { comeBack, backplane, kept, channel } = await late(t)
    const { response } = await comeBack(() => {
      backplane.failure = new Error('no')
      kept.interrupt()
    })
    t.equal(response.status, 500)
    t.equal(channel.subscribers, 0)
  })

  t.test('streams are written to in another, and not where they have ended by then', async t => {
    const { url, channel } = await serveChannel(t)
    const [leaving, staying] = [await read(t, `${url}?leaving`), await read(t, url)]
    await setImmediate()
    globalThis.setImmediate(useUpTurn)
    await channel.publish('one')
    globalThis.setImmediate(() => { channel.disconnect(({ url }) => url.endsWith('leaving')) })
    t.match(await staying.next(), { data: 'one' })
    t.same(await leaving.rest(), [])
  })
})

/** Clients of a channel whose streams are open, and their sockets on the side of the server. */
async function crowd (t: Test, count: number): Promise<ServedChannel & { clients: RawClient[], sockets: readonly Socket[] }> {
  const sockets: Socket[] = []
  const served = await serveChannel(t, {}, { heartbeat: false }, app => {
    app.get('/one', () => 'one')
    app.server.on('connection', socket => { sockets.push(socket) })
  })
  const clients = await Promise.all(Array.from({ length: count }, () => connectTo(t, served.port, get('/'))))
  for (const client of clients) await client.until('\n:\n')
  return { ...served, clients, sockets: [...sockets] }
}

/** Has each write to a socket told before it is done. */
function onWrite (socket: Socket, tell: (chunk: unknown) => void): void {
  const { write } = socket
  mock.method(socket, 'write', (...written: unknown[]) => {
    tell(written[0])
    return Reflect.apply(write, socket, written)
  })
}

/** Work that takes a millisecond each time, and a request that comes as the first of it is done. */
async function withRequest (t: Test, port: number) {
  const client = await connectTo(t, port)
  let done = 0
  const doneWhenAnswered = client.until('\r\n\r\none').then(() => done)
  return {
    work () {
      if (done++ === 0) client.send(get('/one'))
      for (const end = performance.now() + 1; performance.now() < end;);
    },
    /** Of the work that is done by now, most came after the answer. */
    async assertInTime () {
      t.ok(await doneWhenAnswered < done / 2, `${await doneWhenAnswered} of ${done} times it was done when the request was answered`)
    }
  }
}

function useUpTurn (): void {
  while (!turnIsOver());
}

/** A channel over which a client comes back, whose answer is there when the turn is used up. */
async function late (t: Test) {
  const backplane = new FaultyBackplane()
  const kept = backplane.of('news')
  kept.lose('one', 'two', 'three')
  const { channel, read } = await serveChannel(t, {}, { backplane })
  return {
    backplane,
    kept,
    channel,
    /** @param turn done in the turn between, before the stream begins */
    async comeBack (turn: () => void): Promise<Stream> {
      const held = backplane.hold('read')
      const stream = read('first-1')
      await held.asked
      await setImmediate()
      globalThis.setImmediate(turn)
      held.release()
      useUpTurn()
      return await stream
    }
  }
}
