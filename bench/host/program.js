'use strict'

// A program that is not Node, and what it costs as the operating system has it.

const { spawn } = require('node:child_process')
const { once } = require('node:events')
const { mkdtempSync, readdirSync, readFileSync } = require('node:fs')
const { createServer } = require('node:net')
const { tmpdir } = require('node:os')
const { join } = require('node:path')

// Waits until its input ends, as it does when the process that started it is gone in whatever way. Then it cleans up.
const GUARD = 'cat > /dev/null; kill -s KILL -- "-$0"; rm -rf "$1"'

/** A program in a folder of its own. Both are gone when this process is, however it ends. */
class Program {
  #child
  #guard

  /**
   * @param {string} file
   * @param {string[]} args
   * @param {string} folder of {@link makeFolder}
   */
  constructor (file, args, folder) {
    this.#child = spawn(file, args, { cwd: folder, detached: true, stdio: ['pipe', 'pipe', 'inherit'] })
    const { pid } = this.#child
    if (pid === undefined) throw new Error(`${file} cannot be started`)
    this.#guard = spawn('sh', ['-c', GUARD, String(pid), folder], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] })
  }

  get pid () { return this.#child.pid }
  get stdin () { return this.#child.stdin }
  get stdout () { return this.#child.stdout }
  get hasEnded () { return this.#child.exitCode !== null || this.#child.signalCode !== null }

  /** Ends it, and waits until it and its folder are gone. */
  async stop () {
    const gone = once(this.#guard, 'exit')
    this.#guard.stdin.end()
    await gone
  }
}

/** Makes a folder that goes with its program. */
function makeFolder () {
  return mkdtempSync(join(tmpdir(), 'fastify-event-stream-bench-'))
}

/** Microseconds of CPU time that a process has used, in user and system mode, all its threads together. */
function cpuOf (pid) {
  const threads = readdirSync(`/proc/${pid}/task`)
  return threads.reduce((sum, thread) => sum + parseInt(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8')) / 1000, 0)
}

/** Bytes of memory that a process has. */
function rssOf (pid) {
  return Number(/^VmRSS:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) * 1024
}

/** The processes that a process has started. */
function childrenOf (pid) {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number)
}

/** A port that nobody listens on. */
async function freePort () {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

module.exports = { Program, childrenOf, cpuOf, freePort, makeFolder, rssOf }
