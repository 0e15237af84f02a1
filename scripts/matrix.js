'use strict'

// Runs the tests on other versions of Node, each from the npm package that carries its binary:
//
//     npm run test:matrix             every supported major, at its newest release
//     npm run test:matrix -- 22 24    only these
//
// Coverage is left to `npm test`.

const { execFileSync, spawnSync } = require('node:child_process')
const { mkdtempSync, rmSync } = require('node:fs')
const { tmpdir } = require('node:os')
const { delimiter, join, resolve } = require('node:path')

const root = resolve(__dirname, '..')
const tap = join(root, 'node_modules', '.bin', 'tap')
const carrier = `node-${process.platform}-${process.arch}`
const majors = process.argv.length > 2 ? process.argv.slice(2) : ['20', '22', '24', '26']

function newest (major) {
  const found = JSON.parse(execFileSync('npm', ['view', '--json', `${carrier}@${major}`, 'version'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }))
  return [found].flat().sort((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1)
}

function run (version) {
  const dir = mkdtempSync(join(tmpdir(), 'node-matrix-'))
  try {
    const install = ['install', '--no-save', '--no-package-lock', '--silent', '--prefix', dir, `${carrier}@${version}`]
    execFileSync('npm', install, { stdio: 'inherit' })
    const bin = join(dir, 'node_modules', carrier, 'bin')
    const env = { ...process.env, PATH: bin + delimiter + process.env.PATH }
    return spawnSync(join(bin, 'node'), [tap, '--disable-coverage'], { cwd: root, env, stdio: 'inherit' }).status === 0
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

const rows = majors.map(major => {
  const started = Date.now()
  const row = { Node: major, passed: false, seconds: 0 }
  try {
    row.Node = newest(major)
    console.log(`\n== Node ${row.Node}`)
    row.passed = run(row.Node)
  } catch (error) {
    console.error(error.message)
  }
  row.seconds = Math.round((Date.now() - started) / 1000)
  return row
})

console.table(rows)
process.exitCode = rows.every(row => row.passed) ? 0 : 1
