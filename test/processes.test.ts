import type { EventSourceMessage } from 'eventsource-parser'
import t, { type Test } from 'tap'
import { Application, type Outcome } from './faults/application'
import { read, take } from './helpers/channels'
import type { Stream } from './helpers/client'
import { startRedis } from './helpers/redis'
import { redisServer } from './helpers/services'

const CHANNELS = ['news', 'sport']
const BEFORE = 3
const MEANWHILE = 30
const AFTER = 3

// Waits for processes to start: slow where the machine has other things to do.
t.setTimeout(60_000)

/** Starts a server in a process of its own. */
async function start (t: Test, name: string, redisPort: number, published: Outcome[]): Promise<Application> {
  const histories = { news: { size: 100 }, sport: { size: 100 } }
  const server = new Application({ name, library: 'redis', redisPort, timeout: 5_000, heartbeat: 1_000, histories }, {
    outcome: outcome => { published.push(outcome) },
    sample () {},
    state () {},
    failed (error) { throw error }
  })
  t.teardown(() => server.kill())
  await server.start()
  return server
}

/** Publishes to each channel in turn. */
async function publish (server: Application, times: number): Promise<void> {
  for (let n = 0; n < times; n++) for (const channel of CHANNELS) await server.publish(channel)
}

/** All events until the stream is torn. */
async function untilTorn (stream: Stream): Promise<EventSourceMessage[]> {
  const events: EventSourceMessage[] = []
  try {
    for (;;) events.push(...await take(stream, 1))
  } catch {
    return events
  }
}

t.test('a client that loses one process continues on another, without loss or repetition', async t => {
  const program = redisServer(t)
  if (program === undefined) return
  const { port } = await startRedis(t, program)
  const published: Outcome[] = []
  const [a, b] = await Promise.all([start(t, 'a', port, published), start(t, 'b', port, published)])
  await publish(a, BEFORE)

  const clients = await Promise.all([['news'], CHANNELS].map(async channels => {
    const stream = await read(t, `http://127.0.0.1:${a.port}/${channels.join()}`)
    return { channels, stream, seen: await take(stream, BEFORE * channels.length) }
  }))
  const publishing = publish(b, MEANWHILE)
  await Promise.all(clients.map(async ({ stream, seen }) => { seen.push(...await take(stream, 1)) }))
  await a.kill()
  await Promise.all(clients.map(async ({ stream, seen }) => { seen.push(...await untilTorn(stream)) }))
  await publishing
  await publish(b, 1)

  for (const { channels, seen } of clients) {
    await t.test(`of ${channels.join(' and ')}`, async t => {
      const wanted = published.filter(({ channel }) => channels.includes(channel))
      t.ok(seen.length < wanted.length, 'something was published while it had no connection')
      const stream = await read(t, `http://127.0.0.1:${b.port}/${channels.join()}`, seen.at(-1)?.id)
      seen.push(...await take(stream, wanted.length - seen.length))
      await publish(b, AFTER)
      seen.push(...await take(stream, AFTER * channels.length))
      for (const channel of channels) {
        const words = published.filter(outcome => outcome.channel === channel).map(({ serial }) => serial)
        t.strictSame(seen.map(({ data }) => data.split('\n')).flatMap(([of, word]) => of === channel ? word : []), words)
      }
    })
  }
})
