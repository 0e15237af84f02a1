'use strict'

// Programs that some contestants consist of, beside Node. Where one is missing, its rows are left out.

const { spawnSync } = require('node:child_process')
const { existsSync } = require('node:fs')
const { join } = require('node:path')

const PROGRAMS = {
  nchan: {
    isThere: () => nchanModule() !== undefined,
    lack: 'nginx and its module nchan are not installed (Debian: libnginx-mod-nchan)',
    version: () => [first('nginx', '-v', /nginx\/(\S+)/), first('dpkg-query', ['-W', 'libnginx-mod-nchan'], /:?([\d.]+)[^:]*$/)].filter(Boolean).join(' with nchan ')
  },
  gcc: {
    isThere: () => output('gcc', '--version') !== undefined,
    lack: 'there is no gcc to compile it',
    version: () => first('gcc', '-dumpfullversion', /(\S+)/)
  },
  'redis-server': {
    isThere: () => output('redis-server', '--version') !== undefined,
    lack: 'redis-server is not installed',
    version: () => first('redis-server', '--version', /v=(\S+)/)
  }
}

/** Why a contestant cannot take part here, `undefined` where it can. */
function lackOf ({ needs }) {
  if (needs === undefined) return undefined
  // What such a program costs is read from there.
  if (!existsSync('/proc/self/schedstat')) return 'this system does not have the /proc that its CPU time is read from'
  return PROGRAMS[needs].isThere() ? undefined : PROGRAMS[needs].lack
}

/** The versions of those that are there. */
function programVersions () {
  const there = Object.entries(PROGRAMS).filter(([, { isThere }]) => isThere())
  return Object.fromEntries(there.map(([name, { version }]) => [name === 'nchan' ? 'nginx' : name, version()]))
}

/** The file of nginx's module nchan. */
function nchanModule () {
  const folder = /--modules-path=(\S+)/.exec(output('nginx', '-V') ?? '')?.[1]
  const file = join(folder ?? '', 'ngx_nchan_module.so')
  return folder !== undefined && existsSync(file) ? file : undefined
}

function first (program, args, pattern) {
  return pattern.exec(output(program, args) ?? '')?.[1]
}

function output (program, args) {
  const { status, stdout, stderr } = spawnSync(program, [args].flat(), { encoding: 'utf8' })
  return status === 0 ? stdout + stderr : undefined
}

module.exports = { lackOf, nchanModule, programVersions }
