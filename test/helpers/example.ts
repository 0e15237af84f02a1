import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'

const ROOT = join(__dirname, '..', '..')

/** An example in a process of its own. */
export interface ExampleProcess {
  readonly url: string
  readonly port: string
  /** Sends a signal and waits for the process to end: its code and signal. */
  end (signal?: NodeJS.Signals): Promise<unknown>
}

/** Starts an example on a free port, or on the given one, and ends it with the test at the latest. */
export async function startExample (t: Test, name: string, port = '0'): Promise<ExampleProcess> {
  // Without the loaders of the test runner: the example runs as its reader starts it.
  const { NODE_OPTIONS: _runner, ...env } = process.env
  const child = spawn(process.execPath, ['--import', 'tsx', join('examples', name, 'server.ts')], {
    cwd: ROOT, env: { ...env, HOST: '127.0.0.1', PORT: port }, stdio: ['ignore', 'pipe', 'inherit']
  })
  const exited = once(child, 'exit')
  t.teardown(() => { child.kill('SIGKILL') })
  const end = (signal: NodeJS.Signals = 'SIGTERM'): Promise<unknown> => {
    child.kill(signal)
    return exited
  }
  for await (const line of createInterface(child.stdout)) {
    const url = /http:\/\/[\d.]+:\d+/.exec(line)?.[0]
    if (url !== undefined) return { url, port: new URL(url).port, end }
  }
  throw new Error(`the example ${name} did not start`)
}
