import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'
import { createClient } from 'redis'
import type { Test } from 'tap'

const SLOTS = 16_384

// Waits until its input ends, as it does when the process that started it is gone in whatever way. Then it cleans up.
const GUARD = 'cat > /dev/null; kill -9 "$0"; rm -rf "$1"'

/** A Redis on a port of its own, with its files in a folder of its own. It ends with the test, whatever happens. */
export class RedisServer {
  readonly port: number
  readonly #program: string
  readonly #folder: string
  readonly #options: readonly string[]
  #child: ChildProcess | undefined
  #guard: ChildProcess | undefined

  constructor (program: string, port: number, folder: string, options: readonly string[]) {
    this.#program = program
    this.port = port
    this.#folder = folder
    this.#options = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, ...options]
  }

  get url (): string {
    return `redis://127.0.0.1:${this.port}`
  }

  /** Starts it, or starts it again with the files that it has, and waits until it takes connections. */
  async start (): Promise<void> {
    const child = spawn(this.#program, this.#options, { stdio: ['ignore', 'pipe', 'inherit'] })
    this.#child = child
    this.#guard = spawn('sh', ['-c', GUARD, String(child.pid), this.#folder], { stdio: ['pipe', 'ignore', 'ignore'] })
    const lines: string[] = []
    for await (const line of createInterface(child.stdout)) {
      lines.push(line)
      if (line.includes('Ready to accept connections')) {
        child.stdout.resume()
        return
      }
    }
    throw new Error(`Redis did not start:\n${lines.join('\n')}`)
  }

  /** Ends it as if the power had gone, but for what the system has of its files. */
  async kill (): Promise<void> {
    await Promise.all([this.#guard, this.#child].map(end))
    this.#child = undefined
  }

  /** Lets it do nothing, with its connections open. */
  freeze (): void {
    this.#child?.kill('SIGSTOP')
  }

  thaw (): void {
    this.#child?.kill('SIGCONT')
  }

  /** Gives it a command over a connection of its own. */
  async command (...command: string[]): Promise<unknown> {
    const client = createClient({ url: this.url })
    client.on('error', () => {})
    await client.connect()
    try {
      return await client.sendCommand(command)
    } finally {
      client.destroy()
    }
  }

  /** What INFO says of something. */
  async info (field: string): Promise<string> {
    return new RegExp(`^${field}:(\\S*)`, 'm').exec(String(await this.command('INFO', 'everything')))?.[1] ?? ''
  }
}

interface RedisOptions {
  /** Whether every write is in a file before it is answered. Otherwise only SAVE writes one. */
  readonly isPersistent?: boolean
  readonly options?: readonly string[]
}

/** Starts a Redis that ends with the test. */
export async function startRedis (t: Test, program: string, { isPersistent = false, options = [] }: RedisOptions = {}): Promise<RedisServer> {
  const folder = await mkdtemp(join(tmpdir(), 'fastify-event-stream-redis-'))
  const server = new RedisServer(program, await freePort(), folder, [
    '--save', '', '--appendonly', isPersistent ? 'yes' : 'no', '--appendfsync', 'always', '--repl-diskless-sync-delay', '0', ...options
  ])
  t.teardown(async () => {
    await server.kill()
    await rm(folder, { recursive: true, force: true })
  })
  await server.start()
  return server
}

/** Starts a Cluster of servers that share the slots, and waits until all of them know it. */
export async function startCluster (t: Test, program: string, count: number): Promise<RedisServer[]> {
  const nodes = await Promise.all(Array.from({ length: count }, async () => {
    const bus = await freePort()
    const options = ['--cluster-enabled', 'yes', '--cluster-port', String(bus), '--cluster-node-timeout', '1000', '--cluster-require-full-coverage', 'no']
    return { bus, server: await startRedis(t, program, { options }) }
  }))
  const servers = nodes.map(({ server }) => server)
  const startOf = (index: number): number => Math.floor(SLOTS * index / count)
  await Promise.all(servers.map(async (server, index) => {
    await server.command('CLUSTER', 'ADDSLOTSRANGE', String(startOf(index)), String(startOf(index + 1) - 1))
    await server.command('CLUSTER', 'SET-CONFIG-EPOCH', String(index + 1))
  }))
  for (const { bus, server: { port } } of nodes) await servers[0]?.command('CLUSTER', 'MEET', '127.0.0.1', String(port), String(bus))
  for (const server of servers) {
    while (!/cluster_state:ok[^]*cluster_slots_ok:16384/.test(String(await server.command('CLUSTER', 'INFO')))) await setTimeout(20)
  }
  return servers
}

async function end (child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGKILL')
  await once(child, 'exit')
}

/** A port of loopback that was free a moment ago. */
export async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
