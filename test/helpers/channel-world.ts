import { setImmediate } from 'node:timers/promises'
import type { FastifyRequest } from 'fastify'
import { memoryBackplane } from '../../plugin/backplane/memory'
import type { Backplane } from '../../plugin/backplane/types'
import { ChannelFeed } from '../../plugin/channel/channel-feed'
import { type HistoryOptions, resolveChannelOptions } from '../../plugin/channel/channel-options'
import { EventChannels } from '../../plugin/channel/channels'
import { Flows } from '../../plugin/channel/flows'
import type { ChannelEvent } from '../../plugin/channel/item'
import { tagsOf, toCursor, toId } from '../../plugin/channel/position'
import { FEED } from '../../plugin/feed'
import { DEFAULTS } from '../../plugin/options'
import { FakeSink } from './fake-sink'
import { Ledger, type Published } from './ledger'
import { RemoteBackplane } from './remote-backplane'
import { type Interest, Subscriber } from './subscriber'

export interface ClientSetup {
  readonly channels: readonly string[]
  readonly from: 'latest' | 'earliest'
  readonly slow: Interest['slow']
  readonly reads: 'all' | 'filtered' | 'mapped'
}

export interface Setup {
  readonly histories: ReadonlyArray<HistoryOptions | false>
  readonly maxBuffer: number
  readonly clients: readonly ClientSetup[]
  /** Of a remote backplane; without them it is the one in the process. */
  readonly delays?: readonly number[]
}

/** Bytes of which not so many come that they could wait for a client that is not slow. */
export const PLENTY = 1_000_000
const LONGEST_GAP = 700
export const NAMES: readonly [string, ...string[]] = ['ash', 'birch', 'cedar']

/** A server without Fastify: what `app.sse` is, for each policy. */
class Server {
  readonly flows: Flows
  readonly backplane: Backplane
  readonly #channels: Map<Interest['slow'], EventChannels>

  constructor (backplane: Backplane, { histories, maxBuffer }: Setup) {
    const flows = this.flows = new Flows(backplane, 10)
    this.backplane = backplane
    const compile = (): never => { throw new Error('there are no schemas') }
    const totals = () => ({ events: 0, bytes: 0, queued: 0 })
    this.#channels = new Map((['disconnect', 'drop-oldest', 'latest'] as const).map(slow => {
      const options = { ...DEFAULTS, maxBuffer, slow }
      const channels = new EventChannels({ flows, options, backplane, compile, totals })
      NAMES.forEach((name, index) => channels.channel(name, { history: histories[index] }))
      return [slow, channels]
    }))
  }

  /** Its connection to a backplane that is far away, if it is. */
  get remote (): RemoteBackplane | undefined {
    return this.backplane instanceof RemoteBackplane ? this.backplane : undefined
  }

  sse (slow: Interest['slow']): EventChannels {
    const channels = this.#channels.get(slow)
    if (channels === undefined) throw new Error(`there is no policy ${slow}`)
    return channels
  }
}

/** A client, which keeps its last event ID between its connections. */
class Client {
  readonly setup: ClientSetup
  readonly subscriber: Subscriber
  isSlow = false
  sink: FakeSink | undefined
  server: Server | undefined

  constructor (setup: ClientSetup, ledger: Ledger, isExact: boolean) {
    this.setup = setup
    const wants = ({ event }: Published): boolean => setup.reads === 'all' || event !== 'b'
    const dataOf = (published: Published): string => {
      const original: unknown = published.isJson ? JSON.parse(published.data) : published.data
      const text = setup.reads === 'mapped' ? JSON.stringify({ mapped: original }) : published.data
      return text.replace(/\r\n?/g, '\n')
    }
    this.subscriber = new Subscriber({ ...setup, wants, dataOf }, ledger, isExact)
  }
}

/** Servers on one backplane, their clients, and the ledger that the clients are measured by. */
export class World {
  readonly ledger: Ledger
  readonly clients: readonly Client[]
  readonly #setup: Setup
  readonly #connections = new Set<RemoteBackplane>()
  readonly #servers: Server[] = []
  readonly #failures: unknown[] = []
  #serial = 0
  #publishing = 0
  #epoch = 0

  private constructor (setup: Setup) {
    this.#setup = setup
    this.ledger = new Ledger(new Map(NAMES.map((name, index) => [name, resolveChannelOptions({ history: setup.histories[index] }).history])))
    this.clients = setup.clients.map(client => new Client(client, this.ledger, setup.delays === undefined))
  }

  static async open (setup: Setup): Promise<World> {
    const world = new World(setup)
    if (setup.delays === undefined) world.#servers.push(await world.#serve())
    else {
      for (const channel of NAMES) world.ledger.begin(channel, `e${++world.#epoch}`)
      world.#servers.push(await world.#serve(), await world.#serve())
    }
    return world
  }

  async #serve (): Promise<Server> {
    const { delays } = this.#setup
    if (delays !== undefined) return new Server(new RemoteBackplane(this.ledger, delays, this.#connections), this.#setup)
    const backplane = memoryBackplane()
    await this.ledger.follow(backplane)
    return new Server(backplane, this.#setup)
  }

  publish (server: number, channel: string, { event, text, isJson }: { event: string | undefined, text: string, isJson: boolean }): void {
    const serial = ++this.#serial
    const data = isJson ? [serial, text] : `${serial} ${text}`
    this.#publishing++
    this.#server(server).sse('disconnect').channel(channel).publish({ event, data })
      .catch(error => { if (error.code !== 'FST_ERR_SSE_CHANNEL_CLOSED' && error.code !== 'FST_ERR_SSE_BACKPLANE') throw error })
      .finally(() => { this.#publishing-- })
  }

  close (channel: string): void {
    this.#publishing++
    this.#server(0).sse('disconnect').channel(channel).close()
      .catch(error => { if (error.code !== 'FST_ERR_SSE_BACKPLANE') throw error })
      .finally(() => { this.#publishing-- })
  }

  connect (client: Client, server: number): void {
    if (client.sink?.state === 'open') return
    const { setup: { channels, from, slow, reads }, subscriber } = client
    const sse = (client.server = this.#server(server)).sse(slow)
    const filter = reads === 'all' ? {} : { filter: ({ event }: ChannelEvent) => event !== 'b' }
    const map = reads === 'mapped' ? { map: ({ event, data }: ChannelEvent) => ({ event, data: { mapped: data } }) } : {}
    const isPlain = reads === 'all' && from === 'latest' && channels.length === 1
    const source = isPlain ? sse.channel(channels[0] ?? '') : sse.subscribe(channels, { from, ...filter, ...map })
    const { lastId } = subscriber
    subscriber.connect()
    subscriber.wasSlow = client.isSlow || this.#setup.maxBuffer < PLENTY
    const sink = client.sink = new FakeSink(subscriber, this.ledger, client.isSlow, error => { this.#failures.push(error) })
    const request: Pick<FastifyRequest, 'lastEventId' | 'headers'> = { lastEventId: lastId, headers: {} }
    sink.feed = source[FEED](sink, { request: request as FastifyRequest, options: { ...DEFAULTS, maxBuffer: this.#setup.maxBuffer, slow } })
    sink.feed.resume()
  }

  cut ({ sink }: Client, part: number): void {
    if (sink?.state === 'open') sink.cut(part)
  }

  setSlow (client: Client, isSlow: boolean): void {
    client.isSlow = isSlow
    if (isSlow) client.subscriber.wasSlow = true
    client.sink?.setSlow(isSlow)
  }

  /** The client comes back with an ID that is none, of an event that has not come yet, or of an epoch that nobody knows. */
  forge (client: Client, kind: 'rubbish' | 'long' | 'ahead' | 'foreign'): void {
    if (client.sink?.state === 'open') return
    const { channels } = client.setup
    const positions = channels.toSorted().map(channel => {
      const { epoch, top } = this.ledger.current(channel)
      return { epoch: kind === 'foreign' ? 'nowhere' : epoch, offset: top + 1_000_000 }
    })
    const [only] = positions
    if (only === undefined) throw new Error('it reads nothing')
    const id = positions.length > 1 ? toCursor(tagsOf(channels.toSorted()), positions) : toId(only)
    client.subscriber.forge(kind === 'rubbish' ? 'rubbish' : kind === 'long' ? 'x'.repeat(200) : id)
  }

  /** A new server in the place of another; where the backplane is in the process, that is new too. */
  async restart (server: number, part: number): Promise<void> {
    const old = this.#server(server)
    for (const client of this.clients) if (client.server === old) this.cut(client, part)
    await old.backplane.close()
    this.#servers[this.#servers.indexOf(old)] = await this.#serve()
  }

  fall (server: number, isReachable: boolean): void {
    this.#server(server).remote?.fall(isReachable)
  }

  rise (server: number): void {
    this.#server(server).remote?.rise()
  }

  hold (server: number, isHeld: boolean): void {
    this.#server(server).remote?.hold(isHeld)
  }

  /** Another backplane, with a part of what the one had, or nothing. */
  replace (channel: string, part: number | undefined): void {
    const { top, isEnded } = this.ledger.current(channel)
    if (isEnded) return
    this.ledger.begin(channel, `e${++this.#epoch}`, part === undefined ? undefined : Math.floor(part * top))
    for (const connection of this.#connections) connection.interrupt(channel)
  }

  /** From now on all goes well. */
  async heal (tick: (milliseconds: number) => void): Promise<void> {
    for (const { remote } of this.#servers) {
      remote?.rise()
      remote?.hold(false)
    }
    for (const client of this.clients) this.setSlow(client, false)
    await this.settle(tick)
    this.clients.forEach((client, index) => { this.connect(client, index) })
    await this.settle(tick)
  }

  /** Waits until nothing is under way. */
  async settle (tick: (milliseconds: number) => void): Promise<void> {
    let turns = 0
    let ticks = 3
    for (let quiet = 0; quiet < 5; quiet++) {
      await setImmediate()
      if (++turns > 5_000) throw new Error('it never comes to rest')
      const remotes = [...this.#connections]
      // Who was not answered asks again after a while.
      if (quiet === 3 && remotes.length > 0 && ticks-- > 0) tick(1_000)
      const isBusy = this.#publishing > 0 || remotes.some(({ pending }) => pending > 0) || this.clients.some(({ sink }) => sink?.isBusy)
      if (isBusy) quiet = 0
    }
  }

  /** Nobody was given what is wrong. */
  assertRight (): void {
    if (this.#failures.length > 0) throw this.#failures[0]
  }

  /** Everyone who reads has everything. */
  assertComplete (): void {
    for (const { sink, subscriber } of this.clients) {
      if (sink?.state !== 'open') continue
      sink.receive()
      this.assertRight()
      subscriber.assertComplete()
      if (subscriber.interest.channels.every(channel => this.ledger.current(channel).isEnded)) throw new Error('its stream did not end')
    }
  }

  /** No more waits for a client than may, unless it came with what the client was sent last. */
  assertBounded (): void {
    for (const { sink, setup, subscriber } of this.#setup.delays === undefined ? this.clients : []) {
      if (sink?.state !== 'open' || !(sink.feed instanceof ChannelFeed) || sink.feed.waiting <= this.#setup.maxBuffer + LONGEST_GAP) continue
      const hasNews = setup.channels.some(channel => {
        return this.ledger.current(channel).messages.slice(sink.heldAt?.get(channel)?.top).some(message => !message.isEnd && subscriber.interest.wants(message))
      })
      if (hasNews) throw new Error(`${sink.feed.waiting} bytes wait for a client`)
    }
  }

  /** Nothing is held of those who have gone. */
  async assertReleased (): Promise<void> {
    for (const client of this.clients) this.cut(client, 1)
    await setImmediate()
    for (const { flows } of this.#servers) {
      const left = Object.keys(flows.channels)
      if (left.length > 0) throw new Error(`${left.join(', ')} is read by nobody, and still held`)
    }
  }

  async end (): Promise<void> {
    for (const { backplane } of this.#servers) await backplane.close()
  }

  #server (index: number): Server {
    const server = this.#servers[index % this.#servers.length]
    if (server === undefined) throw new Error('there is no server')
    return server
  }
}
