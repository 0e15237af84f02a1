import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { Test } from 'tap'

const CONFIGURATIONS = join(__dirname, '..', '..', 'docs', 'proxies')

// Waits until its input ends, as it does when the process that started it is gone in whatever way. Then it cleans up.
const GUARD = 'cat > /dev/null; kill -9 "$0"; rm -rf "$1"'

/** A program that is started with a file of docs/proxies. */
export interface ProxyProgram {
  readonly file: string
  /** The command line, in one process and in the foreground. */
  command (configuration: string, folder: string): [string, ...string[]]
}

/** What stands in a configuration, and what it is to be in a test. */
export type Replacements = ReadonlyArray<readonly [find: string, put: string]>

/**
 * Starts a proxy with its configuration, in which some things are replaced, and waits until it takes connections on a port.
 * It ends with the test, whatever happens.
 *
 * @param files are put into its folder
 */
export async function startProxy (t: Test, { file, command }: ProxyProgram, port: number, replacements: Replacements, files: Record<string, string> = {}): Promise<void> {
  let text = await readFile(join(CONFIGURATIONS, file), 'utf8')
  for (const [find, put] of replacements) {
    const before = text
    text = text.replaceAll(find, put)
    if (text === before) throw new Error(`${file} has no ${find}`)
  }
  const folder = await mkdtemp(join(tmpdir(), 'fastify-event-stream-proxy-'))
  const configuration = join(folder, file)
  for (const [name, content] of Object.entries({ ...files, [file]: text })) await writeFile(join(folder, name), content)

  const [program, ...args] = command(configuration, folder)
  const child = spawn(program, args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] })
  const guard = spawn('sh', ['-c', GUARD, String(child.pid), folder], { stdio: ['pipe', 'ignore', 'ignore'] })
  const [exited, cleaned] = [once(child, 'exit'), once(guard, 'exit')]
  t.teardown(async () => {
    guard.stdin.end()
    await Promise.all([exited, cleaned])
    await rm(folder, { recursive: true, force: true })
  })
  let output = ''
  child.stderr.setEncoding('utf8').on('data', chunk => { output += chunk })
  while (!await isOpen(port)) {
    if (child.exitCode !== null) throw new Error(`${file} did not work:\n${output}`)
    await setTimeout(20)
  }
}

/** Ports that were free a moment ago. */
export async function freePorts (count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map(server => once(server, 'listening')))
  return Promise.all(servers.map(async server => {
    const address = server.address()
    server.close()
    await once(server, 'close')
    return address === null || typeof address === 'string' ? 0 : address.port
  }))
}

async function isOpen (port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
