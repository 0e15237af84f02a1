import type { BackplaneListener } from '../types'
import type { LiveConnection, Server } from './connection'
import { Link } from './link'
import { PubSubChannel } from './pubsub-channel'
import { refusal } from './refusal'

export interface SubscriptionsOptions {
  /** Gives the server that a Pub/Sub channel is on, or throws, in bounded time. */
  readonly serverOf: (channel: string) => Promise<Server>
  /** Milliseconds. */
  readonly timeout: number
  /** Called when messages may be missed from now on, and when they come again. */
  readonly onChange: () => void
}

/**
 * What this process listens to: over one connection to each server, by one subscription to each channel, whatever the
 * number of listeners. What breaks is subscribed to anew, and its listeners are told that they may have missed something.
 */
export class Subscriptions {
  readonly #options: SubscriptionsOptions
  readonly #channels = new Map<string, PubSubChannel>()
  readonly #links = new Map<string, OpenLink>()
  // Those that were subscribed to, and are not although they are wanted.
  readonly #cut = new Set<PubSubChannel>()
  #isClosed = false

  constructor (options: SubscriptionsOptions) {
    this.#options = options
  }

  /** The names of the channels that are listened to. */
  get channels (): string[] {
    return [...this.#channels.values()].map(({ name }) => name)
  }

  /** Whether nothing is cut off. */
  get isWhole (): boolean {
    return this.#cut.size === 0
  }

  /**
   * @param live the Pub/Sub channel that the channel's messages are published on
   * @throws FST_ERR_SSE_BACKPLANE in bounded time
   */
  async add (name: string, live: string, listener: BackplaneListener): Promise<() => Promise<void>> {
    const channel = this.#channels.get(live) ?? new PubSubChannel(name, live)
    this.#channels.set(live, channel)
    const remove = channel.add(listener)
    try {
      await this.#settle(channel)
    } catch (error) {
      remove()
      this.#forget(channel)
      throw refusal(error)
    }
    return async () => {
      remove()
      await this.#settle(channel).catch(error => { throw refusal(error) })
    }
  }

  /** Sees that the connections work, and subscribes again to what is cut off. */
  keep (): void {
    for (const { link } of this.#links.values()) link.ping()
    for (const channel of this.#cut) {
      if (channel.work === undefined) this.#settle(channel).catch(() => {})
    }
  }

  close (): void {
    this.#isClosed = true
    for (const { link } of this.#links.values()) link.close()
    this.#links.clear()
    this.#channels.clear()
  }

  /** Brings the subscription in line with the listeners, one step at a time. */
  async #settle (channel: PubSubChannel): Promise<void> {
    try {
      while (channel.isWanted !== channel.isSubscribed) {
        channel.work ??= this.#step(channel).finally(() => { channel.work = undefined })
        await channel.work
      }
    } finally {
      this.#forget(channel)
    }
  }

  async #step (channel: PubSubChannel): Promise<void> {
    const { live, link } = channel
    if (link === undefined) {
      const link = await this.#linkTo(live)
      await link.ask(connection => connection.subscribe(live))
      channel.link = link
      if (this.#cut.delete(channel)) channel.tellOfInterruption()
    } else {
      channel.link = undefined
      await link.ask(connection => connection.unsubscribe(live)).catch(error => { endBy(link, error) })
    }
  }

  /** Lets go of a channel that is done with. */
  #forget (channel: PubSubChannel): void {
    if (!channel.isWanted && channel.work === undefined) {
      this.#channels.delete(channel.live)
      this.#cut.delete(channel)
    }
    this.#options.onChange()
  }

  async #linkTo (live: string): Promise<Link<LiveConnection>> {
    const server = await this.#options.serverOf(live)
    const { link, opened } = this.#links.get(server.address) ?? this.#open(server)
    await opened
    return link
  }

  #open (server: Server): OpenLink {
    if (this.#isClosed) throw new Error('the backplane was closed')
    const link: Link<LiveConnection> = new Link(({ broken }) => server.connect({
      broken,
      message: (live, text) => {
        const channel = this.#channels.get(live)
        if (channel?.link === link) channel.tell(text)
      }
    }), { timeout: this.#options.timeout, onBroken: () => { this.#lost(server.address, link) } })
    const opening = { link, opened: link.open() }
    this.#links.set(server.address, opening)
    return opening
  }

  #lost (address: string, link: Link<LiveConnection>): void {
    this.#links.delete(address)
    for (const channel of this.#channels.values()) {
      if (channel.link !== link) continue
      channel.link = undefined
      this.#cut.add(channel)
    }
    this.#options.onChange()
    this.keep()
  }
}

/**
 * Ends a subscription that could not be ended otherwise.
 *
 * @throws the reason, unless it was that there is no connection, and so no subscription either
 */
function endBy (link: Link<LiveConnection>, reason: Error): void {
  if (!link.isWhole) return
  link.break(reason)
  throw reason
}

interface OpenLink {
  readonly link: Link<LiveConnection>
  readonly opened: Promise<void>
}
