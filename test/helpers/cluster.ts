import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'

const ROOT = join(__dirname, '..', '..')

/** The cluster of examples/cluster, in a process group of its own, as a terminal makes one. */
export interface ClusterExample {
  /** What it said until it had started. */
  readonly output: string
  readonly urls: readonly string[]
  /** What it says that one could kill. */
  readonly pids: readonly number[]
  /** What it says that one could stop. */
  readonly redisPid: number
  /** As Ctrl-C in its terminal: all of the group hear it. Gives the code and signal of the primary. */
  interrupt (): Promise<unknown>
}

/** Starts it on a free port; it ends with the test at the latest. */
export async function startClusterExample (t: Test, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<ClusterExample> {
  // Without the loaders of the test runner: the example runs as its reader starts it.
  const { NODE_OPTIONS: _runner, REDIS_URL: _redis, ...own } = process.env
  const child = spawn(process.execPath, ['--import', 'tsx', join('examples', 'cluster', 'start.ts'), ...args], {
    cwd: ROOT,
    detached: true,
    env: { ...own, HOST: '127.0.0.1', PORT: '0', ...env },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  const exited = once(child, 'exit')
  const signal = (name: NodeJS.Signals): void => { if (child.exitCode === null && child.signalCode === null) process.kill(-Number(child.pid), name) }
  t.teardown(async () => {
    signal('SIGKILL')
    await exited
  })

  let output = ''
  child.stderr.setEncoding('utf8').on('data', text => { output += text })
  for await (const line of createInterface(child.stdout)) {
    output += `${line}\n`
    if (!line.startsWith('Ctrl-C')) continue
    child.stdout.resume()
    const found = (pattern: RegExp): string[] => [...output.matchAll(pattern)].map(([, value = '']) => value)
    return {
      output,
      urls: found(/(http:\/\/[\d.]+:\d+)\/(?= or |$)/gm),
      pids: found(/kill -9 (\d+)/g).map(Number),
      redisPid: Number(found(/kill -STOP (\d+)/g)[0]),
      interrupt: () => {
        signal('SIGINT')
        return exited
      }
    }
  }
  throw new Error(`the cluster did not start:\n${output}`)
}
