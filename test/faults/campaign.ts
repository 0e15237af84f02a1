import { setTimeout } from 'node:timers/promises'
import { type Fault, type Kind, KINDS } from './faults'
import { Random } from './random'
import { Tally } from './tally'
import { World } from './world'

export interface Plan {
  readonly seed: number
  /** Whether what takes long is made shorter. */
  readonly isShort: boolean
  /** How many milliseconds. All faults are injected once at least. */
  readonly duration: number
  /** It fails when it has not ended after so many milliseconds. */
  readonly longest: number
  readonly say: (line: string) => void
}

const CATCH_UP_MS = 20_000
const BEFORE_MS = 800
const AFTER_MS = 1_200

/** Injects one fault after the other, and sees each time that all is well again. */
export class Campaign {
  /** What was seen, one fault after the other. */
  readonly tallies: Tally[] = []
  readonly #plan: Plan

  constructor (plan: Plan) {
    this.#plan = plan
  }

  /** @throws what was wrong */
  async run (): Promise<void> {
    const { seed, longest } = this.#plan
    const world = await World.open(seed + 1)
    const ended = new AbortController()
    const late = setTimeout(longest, undefined, { signal: ended.signal }).then(() => { throw new Error(`it took more than ${longest} ms`) })
    try {
      await Promise.race([this.#live(world), late])
    } finally {
      ended.abort()
      await world.close()
    }
  }

  async #live (world: World): Promise<void> {
    const { seed, isShort, duration, say } = this.#plan
    const random = new Random(seed)
    const start = performance.now()
    await this.#begin(world)
    do {
      for (const kind of random.shuffle(KINDS)) {
        const fault = kind.draw(random, isShort)
        say(`${((performance.now() - start) / 1_000).toFixed(1).padStart(7)} s  ${fault.title}`)
        await this.#undergo(world, kind, fault)
      }
    } while (performance.now() - start < duration)
    await this.#finish(world)
  }

  /** All clients are there before the first event, and are given it. */
  async #begin (world: World): Promise<void> {
    await Promise.all(world.applications.map(application => world.start(application)))
    world.crowd.gather()
    await world.until(() => world.tally.opened >= world.crowd.size, CATCH_UP_MS, () => 'each client has a stream')
    await this.#agree(world)
  }

  async #undergo (world: World, kind: Kind, fault: Fault): Promise<void> {
    const tally = world.tally = new Tally(kind.name)
    this.tallies.push(tally)
    world.crowd.stir()
    await world.load(true)
    await world.wait(BEFORE_MS)
    await fault.run(world)
    const healed = performance.now()
    await world.wait(AFTER_MS)
    await world.load(false)
    await this.#agree(world)
    tally.healed = performance.now() - healed - AFTER_MS
    if (!kind.isSeen(tally)) throw new Error(`it had no effect: ${kind.name}`)
    if (kind.keepsStreams && tally.lost > 0) throw new Error(`${tally.lost} streams were lost`)
  }

  /** One more event is published to each channel, which is the newest then, and all clients come to have everything. */
  async #agree (world: World): Promise<void> {
    world.crowd.gather()
    await world.publish()
    await world.until(() => world.crowd.behind.length === 0, CATCH_UP_MS, () => `each client has the newest event; behind are ${world.crowd.behind.join('; ')}`)
    world.assertSettled()
    for (const application of world.applications) {
      const { state } = await world.settled(application.sample(), 5_000, 'a process answers')
      if (state !== 'connected') throw new Error(`the backplane of a process is ${state} still`)
    }
  }

  /** When the clients have gone nothing is left of them, here or in Redis, and the processes end. */
  async #finish (world: World): Promise<void> {
    this.#plan.say('            the clients leave, and the processes end')
    this.tallies.push(world.tally = new Tally('the end'))
    world.crowd.leave()
    let left: unknown[]
    const end = performance.now() + CATCH_UP_MS
    do {
      await world.wait(100)
      left = await world.left()
    } while (left.length > 0 && performance.now() < end)
    if (left.length > 0) throw new Error(`the clients have gone, and there are still ${left.join(', ')}`)
    await Promise.all(world.applications.map(application => world.leave(application)))
  }
}
