import { EventEmitter, on } from 'node:events'

export interface Line {
  level: number
  msg: string
  [field: string]: unknown
}

/** The lines of a pino log, kept, and to be waited for. */
export class Lines {
  readonly all: Line[] = []
  readonly #events = new EventEmitter()

  write (text: string): void {
    const line: Line = JSON.parse(text)
    this.all.push(line)
    this.#events.emit('line', line)
  }

  /** The first line with this message, past or to come. */
  async find (msg: string): Promise<Line> {
    return (await this.take(msg, 1))[0] as Line
  }

  /** The first `count` lines with this message, past or to come. */
  async take (msg: string, count: number): Promise<Line[]> {
    const found = (): Line[] => this.all.filter(line => line.msg === msg)
    const lines = on(this.#events, 'line')
    while (found().length < count) await lines.next()
    await lines.return?.()
    return found().slice(0, count)
  }

  /** The lines at warning level or above. */
  get complaints (): Line[] {
    return this.all.filter(line => line.level >= 40)
  }
}
