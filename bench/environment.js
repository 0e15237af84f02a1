'use strict'

// The machine: what the results are said to come from, and what is asked of it.

const { spawnSync } = require('node:child_process')
const { readFileSync } = require('node:fs')
const os = require('node:os')
const { join } = require('node:path')
const { PACKAGES } = require('./contestants')
const { programVersions } = require('./programs')

/**
 * Pins this process, which is the client, to one CPU.
 *
 * @returns {number | undefined} another CPU, for the servers; `undefined` where there is no second one, or no `taskset`
 */
function pin () {
  const [server, client] = allowedCpus()
  if (client === undefined) return undefined
  const { status } = spawnSync('taskset', ['-a', '-c', '-p', String(client), String(process.pid)])
  return status === 0 ? server : undefined
}

function allowedCpus () {
  if (process.platform !== 'linux') return []
  const [, list] = /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? []
  return (list ?? '').split(',').flatMap(range => {
    const [from, to = from] = range.split('-').map(Number)
    return Array.from({ length: to - from + 1 }, (_, i) => from + i)
  })
}

/** Whether so many files can be open in this process and in those it starts. Raises the limit where it may. */
function mayOpen (files) {
  if (openFiles() >= files) return true
  // Node has raised the soft limit to the hard one already; only root can raise that.
  spawnSync('prlimit', [`--nofile=${files}:${files}`, '--pid', String(process.pid)])
  return openFiles() >= files
}

function openFiles () {
  const { soft } = process.report.getReport().userLimits?.open_files ?? { soft: 'unlimited' }
  return soft === 'unlimited' ? Infinity : Number(soft)
}

function describe (serverCpu) {
  const cpus = os.cpus()
  return {
    cpu: `${cpus[0].model.trim()}, ${cpus.length} logical`,
    memory: `${Math.round(os.totalmem() / 2 ** 30)} GiB`,
    system: `${os.type()} ${os.release()} ${os.arch()}`,
    node: process.version,
    pinned: serverCpu !== undefined
  }
}

/** The versions of what is compared. */
function versions () {
  const versionOf = (...path) => JSON.parse(readFileSync(join(__dirname, ...path, 'package.json'), 'utf8')).version
  return {
    'fastify-event-stream': versionOf('..'),
    ...Object.fromEntries(PACKAGES.map(name => [name, versionOf('node_modules', name)])),
    ...programVersions()
  }
}

module.exports = { describe, mayOpen, pin, versions }
