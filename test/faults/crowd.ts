import { Client, type ClientEvents } from './client'
import type { Chronicle } from './chronicle'
import { Reader } from './oracle'
import type { Random } from './random'

const CLIENTS = 200
/** Of one channel, or of several in one stream. */
const INTERESTS = [
  ['orders'], ['orders'], ['prices'], ['news'], ['chat'], ['chat'],
  ['orders', 'prices'], ['chat', 'news'], ['chat', 'news', 'orders'], ['chat', 'news', 'orders', 'prices']
]
// The events of this one are large.
const BULKY = [['bulk'], ['bulk'], ['bulk', 'chat'], ['bulk', 'chat', 'news']]

const CHURN_MS = 200
const LONGEST_AWAY_MS = 4_000

/** The clients, some of which leave and come back all the time. */
export class Crowd {
  readonly #clients: readonly Client[]
  readonly #random: Random
  #timer: NodeJS.Timeout | undefined

  constructor (chronicles: ReadonlyMap<string, Chronicle>, random: Random, events: ClientEvents) {
    this.#random = random
    this.#clients = Array.from({ length: CLIENTS }, (_, index) => {
      return new Client(new Reader(BULKY[index] ?? INTERESTS[index % INTERESTS.length] ?? [], chronicles), events)
    })
  }

  get size (): number {
    return this.#clients.length
  }

  /** All connect, or come back at once. */
  gather (): void {
    clearInterval(this.#timer)
    for (const client of this.#clients) client.settle()
  }

  /** Half of them leave, and from now on one after the other, until they are gathered; each comes back after a while. */
  stir (): void {
    for (const client of this.#random.shuffle(this.#clients).slice(this.#clients.length / 2)) this.#sendAway(client)
    this.#timer = setInterval(() => { this.#sendAway(this.#random.pick(this.#clients)) }, CHURN_MS)
  }

  /** Those who do not have all that there is. */
  get behind (): string[] {
    return this.#clients.filter(({ reader }) => !reader.isComplete).map(({ reader }) => `${reader.channels.join()} after '${reader.lastId}'`)
  }

  /** The longest that one of those who are connected was given no byte, in milliseconds. */
  get quiet (): number {
    return Math.max(...this.#clients.map(({ quiet }) => quiet))
  }

  #sendAway (client: Client): void {
    client.leave(this.#random.integer(0, LONGEST_AWAY_MS))
  }

  /** All go for good. */
  leave (): void {
    clearInterval(this.#timer)
    for (const client of this.#clients) client.stop()
  }
}
