import { EventEmitter, on } from 'node:events'
import type { Test } from 'tap'
import { redisBackplane, type RedisBackplaneOptions } from '../../plugin/backplane/redis'
import type { Backplane, BackplaneListener, BackplaneState, Entry, HistoryLimits, Message, Position, PublishOptions, Tail } from '../../plugin/backplane/types'

export const HISTORY: HistoryLimits = { size: 1_000, maxAge: 3_600_000, maxBytes: 1_000_000, isLatest: false }

/** A listener that writes down what it hears, and can be waited for. */
export class Ear implements BackplaneListener {
  readonly entries: Array<Entry & { epoch: string }> = []
  interruptions = 0
  readonly #events = new EventEmitter()

  entry (epoch: string, entry: Entry): void {
    this.entries.push({ ...entry, epoch })
    this.#events.emit('heard')
  }

  interrupted (): void {
    this.interruptions++
    this.#events.emit('heard')
  }

  get data (): string[] {
    return this.entries.map(({ data }) => data)
  }

  /** Waits until something is so of what was heard. */
  async until (isSo: (ear: this) => boolean): Promise<void> {
    const heard = on(this.#events, 'heard')
    while (!isSo(this)) await heard.next()
    await heard.return?.()
  }
}

/** A backplane that ends with the test, and one channel of it. */
export class Channel {
  readonly backplane: Backplane
  readonly name: string

  constructor (backplane: Backplane, name: string) {
    this.backplane = backplane
    this.name = name
  }

  publish (data: string, message: Partial<Message> = {}, options: Partial<PublishOptions> = {}): Promise<Position> {
    return this.backplane.publish(this.name,
      { event: '', data, isJson: false, isEnd: false, ...message },
      { history: HISTORY, idempotencyKey: undefined, idempotencyWindow: 60_000, ...options })
  }

  async publishAll (data: readonly string[]): Promise<void> {
    for (const each of data) await this.publish(each)
  }

  read (after = 0): Promise<Tail> {
    return this.backplane.read(this.name, after, HISTORY)
  }

  position (): Promise<Position> {
    return this.backplane.position(this.name)
  }

  /** Listens with an ear, and takes it off with the function that is given back. */
  async listen (): Promise<Ear & { leave: () => Promise<void> }> {
    const ear = new Ear()
    const leave = await this.backplane.subscribe(this.name, ear)
    return Object.assign(ear, { leave })
  }

  /** Another channel of the same backplane. */
  beside (name: string): Channel {
    return new Channel(this.backplane, name)
  }
}

/** Starts a backplane over Redis, which is closed at the end of the test. */
export async function openRedis (t: Test, options: RedisBackplaneOptions, name = 'news'): Promise<Channel> {
  const backplane = redisBackplane(options)
  t.teardown(() => backplane.close())
  await backplane.start?.()
  return new Channel(backplane, name)
}

/** Waits until a backplane is in a state. */
export async function untilState (channel: Channel, wanted: BackplaneState): Promise<void> {
  if (channel.backplane.state !== wanted) await nextState(channel, wanted)
}

/** Waits until a backplane comes into a state. */
export async function nextState ({ backplane }: Channel, wanted: BackplaneState): Promise<void> {
  await new Promise<void>(resolve => {
    backplane.onStateChange(state => { if (state === wanted) resolve() })
  })
}
