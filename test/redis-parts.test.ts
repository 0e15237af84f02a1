import { setImmediate } from 'node:timers/promises'
import { mock } from 'node:test'
import t, { type Test } from 'tap'
import { Commands } from '../plugin/backplane/redis/commands'
import type { CommandConnection, ConnectionEvents, Driver, LiveConnection, LiveEvents, Server } from '../plugin/backplane/redis/connection'
import { ownerOf } from '../plugin/backplane/redis/keys'
import { Link, type LinkOptions } from '../plugin/backplane/redis/link'
import { readEntry } from '../plugin/backplane/redis/message'
import { refusal } from '../plugin/backplane/redis/refusal'
import { POSITION } from '../plugin/backplane/redis/scripts'
import { problemOf } from '../plugin/backplane/redis/server'
import { Subscriptions } from '../plugin/backplane/redis/subscriptions'
import { clientOf } from '../plugin/backplane/redis/url'
import { Ear } from './helpers/backplane'
import { deferred, type Deferred } from './helpers/deferred'

// The parts of the Redis backplane, with connections whose answers come when the test says so.

const TIMEOUT = 1_000
const INFO = 'redis_version:7.0.15\r\nredis_mode:standalone\r\nrole:master\r\nmaster_replid:abc\r\n'
const REFUSED = { code: 'FST_ERR_SSE_BACKPLANE' }

/** A connection that writes down what it is asked, each of which waits for an answer. */
class FakeConnection implements CommandConnection, LiveConnection {
  readonly asked: Array<{ what: string, answer: Deferred<unknown> }> = []
  readonly events: ConnectionEvents & Partial<LiveEvents>
  readonly server: Server
  isClosed = false

  constructor (events: ConnectionEvents & Partial<LiveEvents>, server: Server) {
    this.events = events
    this.server = server
  }

  open = (): Promise<unknown> => this.#ask('open')
  ping = (): Promise<unknown> => this.#ask('ping')
  send = (key: string, [name]: [name: string, ...values: string[]]): Promise<unknown> => this.#ask(name)
  subscribe = (channel: string): Promise<unknown> => this.#ask(`subscribe ${channel}`)
  unsubscribe = (channel: string): Promise<unknown> => this.#ask(`unsubscribe ${channel}`)
  serverOf = async (): Promise<Server> => this.server

  close (): void {
    this.isClosed = true
  }

  /** What it is asked and has not answered. */
  get questions (): string[] {
    return this.asked.map(({ what }) => what)
  }

  /** Answers what it was asked first. */
  async answer (value: unknown = undefined): Promise<void> {
    this.asked.shift()?.answer.resolve(value instanceof Error ? Promise.reject(value) : value)
    await setImmediate()
  }

  #ask (what: string): Promise<unknown> {
    const answer = deferred<unknown>()
    this.asked.push({ what, answer })
    return answer.promise
  }
}

/** Servers that are one, and all the connections that were made to it. */
class FakeServer implements Driver, Server {
  readonly address = ''
  readonly isCluster: boolean
  readonly connections: FakeConnection[] = []

  constructor (isCluster = false) {
    this.isCluster = isCluster
  }

  connect (events: ConnectionEvents): FakeConnection {
    const connection = new FakeConnection(events, this)
    this.connections.push(connection)
    return connection
  }

  /** The connection that was made as the first, the second and so on. */
  at (index: number): FakeConnection {
    const connection = this.connections[index]
    if (connection === undefined) throw new Error(`there are only ${this.connections.length} connections`)
    return connection
  }
}

function mockTimers (t: Test): void {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => { mock.timers.reset() })
}

t.test('a connection with a limit of time', async t => {
  const open = (options: Partial<LinkOptions> = {}) => {
    const server = new FakeServer()
    const told: string[] = []
    const link = new Link(events => server.connect(events), { timeout: TIMEOUT, onBroken: () => { told.push('broken') }, ...options })
    return { link, told, connection: server.at(0), ask: () => link.ask(connection => connection.ping()) }
  }

  t.test('gives the answers', async t => {
    mockTimers(t)
    const { link, told, connection, ask } = open()
    const asking = [ask(), ask(), t.rejects(ask(), { message: 'no' })]
    for (const answer of [1, 2, new Error('no')]) await connection.answer(answer)
    t.strictSame(await Promise.all(asking.slice(0, 2)), [1, 2])
    await asking[2]
    mock.timers.tick(TIMEOUT)
    t.ok(link.isWhole)
    t.strictSame(told, [])
  })

  t.test('is broken when there is no answer in time, and everything that was asked fails', async t => {
    mockTimers(t)
    const { link, told, connection, ask } = open()
    const late = { message: 'there was no answer within 1000 ms' }
    const asking = [t.rejects(ask(), late)]
    mock.timers.tick(TIMEOUT - 1)
    asking.push(t.rejects(ask(), late))
    t.ok(link.isWhole)
    mock.timers.tick(1)
    await Promise.all(asking)
    await t.rejects(ask(), late)
    t.notOk(link.isWhole)
    t.ok(connection.isClosed)
    connection.events.broken(new Error('again'))
    link.close()
    t.strictSame(told, ['broken'], 'and that is told once')
  })

  t.test('is left as it is where others may still answer', async t => {
    mockTimers(t)
    let late = 0
    const { link, connection, ask } = open({ onLate: () => { late++ } })
    const asking = t.rejects(ask(), { message: 'there was no answer within 1000 ms' })
    mock.timers.tick(TIMEOUT - 1)
    const other = ask()
    mock.timers.tick(1)
    await asking
    t.equal(late, 1)
    t.ok(link.isWhole)
    await connection.answer()
    await connection.answer('in time')
    t.equal(await other, 'in time')
  })

  t.test('fails as a whole when it breaks by itself', async t => {
    const { told, connection, ask } = open()
    const asking = [ask(), ask()].map(each => t.rejects(each, { message: 'cut' }))
    connection.events.broken(new Error('cut'))
    await Promise.all(asking)
    t.strictSame(told, ['broken'])
  })

  t.test('is closed when it is retired, after the answers to what was asked before', async t => {
    const idle = open()
    idle.link.retire()
    t.ok(idle.connection.isClosed)
    const { link, told, connection, ask } = open()
    const asking = [ask(), ask()]
    link.retire()
    await connection.answer(1)
    t.notOk(connection.isClosed)
    await connection.answer(2)
    t.strictSame(await Promise.all(asking), [1, 2])
    t.ok(connection.isClosed)
    t.strictSame(told, [])
  })

  t.test('is asked for one sign of life at a time, and a refusal is one', async t => {
    const { link, connection } = open()
    link.ping()
    link.ping()
    t.strictSame(connection.questions, ['ping'])
    await connection.answer(new Error('LOADING'))
    t.ok(link.isWhole)
    link.ping()
    t.strictSame(connection.questions, ['ping'])
  })

  t.test('is broken when it cannot be opened', async t => {
    const { link, connection } = open()
    const opening = t.rejects(link.open(), { message: 'refused' })
    await connection.answer(new Error('refused'))
    await opening
    t.notOk(link.isWhole)
  })
})

t.test('commands', async t => {
  const start = (server: FakeServer) => {
    const commands = new Commands({ driver: server, timeout: TIMEOUT, someKey: () => 'key', onChange: () => {} })
    return { commands, run: () => commands.run(POSITION, ['key'], []) }
  }
  const started = async (server: FakeServer) => {
    const { commands, run } = start(server)
    const connecting = commands.connect()
    await welcome(server.at(0))
    await connecting
    return { commands, run }
  }
  const welcome = async (connection: FakeConnection): Promise<void> => {
    await connection.answer()
    await connection.answer(INFO)
  }

  t.test('in a Cluster go on while one server does not answer, and then over a connection that knows it better', async t => {
    mockTimers(t)
    const server = new FakeServer(true)
    const { commands, run } = await started(server)
    const old = server.at(0)
    const late = t.rejects(run(), REFUSED)
    mock.timers.tick(TIMEOUT)
    await late
    t.ok(commands.isConnected)
    const meanwhile = run()
    t.strictSame(old.questions, ['EVALSHA', 'EVALSHA'])

    await welcome(server.at(1))
    t.notOk(old.isClosed, 'there is an answer to come')
    const afterwards = run()
    t.strictSame(server.at(1).questions, ['EVALSHA'])
    await old.answer()
    await old.answer(['meanwhile'])
    await server.at(1).answer(['afterwards'])
    t.strictSame([await meanwhile, await afterwards], [['meanwhile'], ['afterwards']])
    t.ok(old.isClosed)
    t.equal(server.connections.length, 2)
    commands.close()
  })

  t.test('in a Cluster go on as before, when there is no better connection to be had', async t => {
    mockTimers(t)
    const server = new FakeServer(true)
    const { commands, run } = await started(server)
    const late = t.rejects(run(), REFUSED)
    mock.timers.tick(TIMEOUT)
    await late
    await server.at(1).answer(new Error('no'))
    t.ok(server.at(1).isClosed)
    t.ok(commands.isConnected)
    t.equal(server.connections.length, 2)
    commands.close()
    t.notOk(commands.isConnected)
  })

  t.test('are refused while there is no connection, which is made anew at once and then when it is looked after', async t => {
    const server = new FakeServer()
    const { commands, run } = await started(server)
    server.at(0).events.broken(new Error('cut'))
    t.notOk(commands.isConnected)
    await t.rejects(run(), { ...REFUSED, message: 'The backplane: there is no connection to Redis' })
    await server.at(1).answer(new Error('no'))
    t.equal(server.connections.length, 2)
    commands.keep()
    commands.keep()
    t.equal(server.connections.length, 3, 'one at a time')
    await welcome(server.at(2))
    t.ok(commands.isConnected)
    commands.keep()
    t.strictSame(server.at(2).questions, ['ping'])
    commands.close()
  })

  t.test('are not connected after a close on the way to it', async t => {
    const server = new FakeServer()
    const { commands, run } = start(server)
    await t.rejects(run(), REFUSED)
    const connecting = t.rejects(commands.connect(), REFUSED)
    commands.close()
    await connecting
    t.ok(server.at(0).isClosed)
  })

  t.test('fail for an answer that is none', async t => {
    const server = new FakeServer()
    const { commands, run } = await started(server)
    const running = t.rejects(run(), { ...REFUSED, message: /an answer should have been a list, and is OK/ })
    await server.at(0).answer('OK')
    await running
    commands.close()
  })
})

t.test('subscriptions', async t => {
  const start = () => {
    const server = new FakeServer()
    return { server, subscriptions: new Subscriptions({ serverOf: async () => server, timeout: TIMEOUT, onChange: () => {} }) }
  }
  /** Listens to a channel, over the first connection. */
  const listen = async ({ server, subscriptions }: ReturnType<typeof start>, name: string) => {
    const ear = new Ear()
    const adding = subscriptions.add(name, name, ear)
    await setImmediate()
    while (server.at(0).questions.length > 0) await server.at(0).answer()
    return Object.assign(ear, { leave: await adding })
  }
  const message = (offset: number): string => `epoch ${offset} 5 1 1 1\nnd`

  t.test('are over one connection, also when they begin at the same time', async t => {
    const { server, subscriptions } = start()
    const adding = ['a', 'b', 'a'].map(name => subscriptions.add(name, name, new Ear()))
    await setImmediate()
    t.strictSame(server.at(0).questions, ['open'])
    await server.at(0).answer()
    t.strictSame(server.at(0).questions, ['subscribe a', 'subscribe b'])
    while (server.at(0).questions.length > 0) await server.at(0).answer()
    await Promise.all(adding)
    t.equal(server.connections.length, 1)
    t.strictSame(subscriptions.channels, ['a', 'b'])
    subscriptions.close()
  })

  t.test('that fail for one listener leave the others as they are', async t => {
    const all = start()
    const { server, subscriptions } = all
    const first = await listen(all, 'a')
    const adding = subscriptions.add('b', 'b', new Ear())
    await setImmediate()
    await Promise.all([t.rejects(adding, { ...REFUSED, message: 'The backplane: Redis: NOPERM' }), server.at(0).answer(new Error('NOPERM'))])
    t.strictSame(subscriptions.channels, ['a'])
    server.at(0).events.message?.('a', message(1))
    server.at(0).events.message?.('b', message(1))
    t.strictSame(first.data, ['d'])
    subscriptions.close()
  })

  t.test('that are cut are made anew, and nothing is heard any more over what was cut', async t => {
    const all = start()
    const { server, subscriptions } = all
    const ear = await listen(all, 'a')
    server.at(0).events.broken(new Error('cut'))
    t.notOk(subscriptions.isWhole)
    subscriptions.keep()
    await setImmediate()
    await server.at(1).answer(new Error('no'))
    t.notOk(subscriptions.isWhole)
    subscriptions.keep()
    await setImmediate()
    while (server.at(2).questions.length > 0) await server.at(2).answer()
    t.ok(subscriptions.isWhole)
    t.equal(ear.interruptions, 1)
    server.at(0).events.message?.('a', message(1))
    server.at(2).events.message?.('a', message(2))
    t.strictSame(ear.entries.map(({ offset }) => offset), [2])
    subscriptions.keep()
    t.strictSame(server.at(2).questions, ['ping'])
    subscriptions.close()
  })

  t.test('that are cut and that nobody wants any more are forgotten', async t => {
    const all = start()
    const { server, subscriptions } = all
    const ear = await listen(all, 'a')
    server.at(0).events.broken(new Error('cut'))
    await ear.leave()
    await setImmediate()
    while (server.at(1).questions.length > 0) await server.at(1).answer()
    t.strictSame(subscriptions.channels, [])
    t.ok(subscriptions.isWhole)
    t.equal(ear.interruptions, 0)
    subscriptions.close()
  })

  t.test('that cannot be ended cost the connection, and the last listener is told why', async t => {
    const all = start()
    const { server, subscriptions } = all
    const [ear, other] = [await listen(all, 'a'), await listen(all, 'b')]
    await Promise.all([t.rejects(ear.leave(), { ...REFUSED, message: 'The backplane: Redis: NOPERM' }), server.at(0).answer(new Error('NOPERM'))])
    t.ok(server.at(0).isClosed)
    await setImmediate()
    while (server.at(1).questions.length > 0) await server.at(1).answer()
    t.equal(other.interruptions, 1)
    t.strictSame(subscriptions.channels, ['b'])

    const leaving = other.leave()
    server.at(1).events.broken(new Error('cut'))
    await leaving
    t.strictSame(subscriptions.channels, [])
    subscriptions.close()
  })

  t.test('that are under way at the close make no connection', async t => {
    const server = new FakeServer()
    const subscriptions = new Subscriptions({
      timeout: TIMEOUT,
      onChange: () => {},
      serverOf: async () => {
        subscriptions.close()
        return server
      }
    })
    await t.rejects(subscriptions.add('a', 'a', new Ear()), { ...REFUSED, message: 'The backplane: Redis: the backplane was closed' })
    t.equal(server.connections.length, 0)
  })
})

t.test('an entry of the history that no script has put there is an error', async t => {
  t.match(readEntry(['7-0', ['m', '5 1 2 3\né.data']]), { offset: 7, time: 5, event: 'é.', data: 'data', isJson: true, isEnd: false })
  t.throws(() => readEntry(['7-0', ['m', 'text']]), { message: 'the entry 7-0 of the history cannot be read' })
  t.throws(() => readEntry('text'), { message: 'an answer should have been a list, and is text' })
})

t.test('a slot that no server of a Cluster has is an error', async t => {
  t.throws(() => ownerOf(5, undefined), { message: 'no server of the Cluster has the slot 5' })
  t.equal(ownerOf(5, 'server'), 'server')
})

t.test('whatever goes wrong with Redis becomes an error of the backplane, with its reason', async t => {
  t.match(refusal(new Error('OOM')), { ...REFUSED, message: 'The backplane: Redis: OOM' })
  t.match(refusal(new AggregateError([], '')), { ...REFUSED, message: /^The backplane: Redis: .*AggregateError/ })
  t.match(refusal('what'), { ...REFUSED, message: "The backplane: Redis: 'what'" })
  t.equal(refusal(refusal('what')).message, "The backplane: Redis: 'what'")
})

t.test('a URL needs the package redis', async t => {
  const missing = (): unknown => { throw new Error("Cannot find module 'redis'") }
  for (const [load, reason] of [[missing, "Cannot find module 'redis'"], [() => null, 'it is another'], [() => 5, 'it is another'], [() => ({}), 'it is another']] as const) {
    t.throws(() => clientOf('redis://127.0.0.1', load), {
      code: 'FST_ERR_SSE_BACKPLANE', message: `The backplane: the option 'url' needs the package redis: npm install redis (Error: ${reason})`
    })
  }
})

t.test('what INFO says of a server decides whether it will do', async t => {
  const info = (fields: object): string => Object.entries({
    redis_version: '7.0.15', redis_mode: 'standalone', role: 'master', master_replid: 'abc', ...fields
  }).map(([name, value]) => `${name}:${value}\r\n`).join('')
  t.equal(problemOf(info({}), false), undefined)
  t.equal(problemOf(info({ redis_version: '10.1.0' }), false), undefined)
  t.equal(problemOf(info({ redis_version: '7.2.4', valkey_version: '8.0.1' }), false), undefined)
  t.equal(problemOf(info({ redis_version: '', valkey_version: '9.0.0' }), false), undefined)
  t.equal(problemOf(info({ redis_mode: 'cluster' }), true), undefined)
  t.match(problemOf(info({ redis_version: '6.2.14' }), false), 'Redis 7 or later is needed, or Valkey; this is 6.2.14')
  t.match(problemOf('', false), 'Redis 7 or later is needed, or Valkey; this is neither')
  t.match(problemOf(info({ redis_mode: 'cluster' }), false), 'a server of a Cluster, which needs a client made for one')
  t.match(problemOf(info({ role: 'slave' }), false), 'is a replica')
  t.match(problemOf(info({ master_replid: '' }), false), "does not tell a 'master_replid'")
})
