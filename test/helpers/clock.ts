import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const ROOT = join(__dirname, '..', '..')

/** The clock example in a process of its own. */
export interface ClockProcess {
  readonly url: string
  readonly port: string
  /** Waits until the server has logged that so many of its streams have been closed, and gives their reasons. */
  closeReasons (count: number): Promise<string[]>
  /** Sends a signal and waits for the process to end. */
  end (signal: NodeJS.Signals): Promise<{ code: number | null, signal: NodeJS.Signals | null }>
}

/** Starts the clock example on a free port, or on the given one, and ends it with the test at the latest. */
export async function startClock (t: { teardown (end: () => unknown): void }, port = '0'): Promise<ClockProcess> {
  // Without the loaders of the test runner: the example runs as its reader starts it.
  const { NODE_OPTIONS: _runner, ...env } = process.env
  const child = spawn(process.execPath, ['--import', 'tsx', join('examples', 'clock', 'server.ts')], {
    cwd: ROOT,
    env: { ...env, HOST: '127.0.0.1', PORT: port, LOG_LEVEL: 'debug' },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const kill = () => child.kill('SIGKILL')
  const exited = once(child, 'close').then(([code, signal]) => ({ code, signal }))
  process.once('exit', kill)
  t.teardown(async () => {
    kill()
    await exited
    process.off('exit', kill)
  })

  const lines: string[] = []
  const output = createInterface(child.stdout)
  const ended = new AbortController()
  output.on('line', (line) => lines.push(line))
  output.once('close', () => ended.abort())

  /** Waits until what `find` looks for is among the lines. */
  async function seen<Found> (find: () => Found | undefined): Promise<Found> {
    for (;;) {
      const found = find()
      if (found !== undefined) return found
      await once(output, 'line', ended)
    }
  }

  const url = await seen(() => /^Two clocks .* (http:\S+)\/$/m.exec(lines.join('\n'))?.[1])
  return {
    url,
    port: new URL(url).port,
    closeReasons: (count) => seen(() => {
      const reasons = lines.flatMap((line) => /"reason":"(\w+)".*"event stream closed"/.exec(line)?.[1] ?? [])
      return reasons.length < count ? undefined : reasons
    }),
    end (signal) {
      child.kill(signal)
      return exited
    }
  }
}
