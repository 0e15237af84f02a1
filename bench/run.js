'use strict'

// The benchmark: `npm run bench` in the root for all of it, `npm run bench -- burst --quick` for one part with smaller
// counts, `npm run bench -- --tiny` only to see that it works. README.md explains the method and the parts.

const { mkdirSync, writeFileSync } = require('node:fs')
const { join } = require('node:path')
const { parseArgs } = require('node:util')
const { describe, mayOpen, pin, versions } = require('./environment')
const { prepare } = require('./participants')
const parts = require('./parts')
const { toChart } = require('./report/chart')
const { toMarkdown } = require('./report/markdown')
const { summarize } = require('./report/summary')
const { runPart } = require('./rounds')
const { Servers } = require('./server-process')

const RESULTS = join(__dirname, 'results')

async function main () {
  const { names, size, only } = readArguments()
  const cpu = pin()
  if (cpu === undefined) say('Server and client are not pinned to a CPU each: that takes two CPUs and taskset.')

  const result = {
    command: ['npm run bench', ...process.argv.length > 2 ? ['--', ...process.argv.slice(2)] : []].join(' '),
    date: new Date().toISOString(),
    size,
    machine: describe(cpu),
    versions: versions(),
    parts: []
  }
  const servers = new Servers({ cpu, isKept: size === 'tiny' })
  try {
    for (const name of names) result.parts.push(await run(name, only, size, servers))
  } catch (error) {
    write(result, 'unfinished')
    throw error
  } finally {
    await servers.close()
  }
  write(result, only === undefined ? fileName(names, size) : 'quick')
}

function readArguments () {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { quick: { type: 'boolean' }, tiny: { type: 'boolean' }, only: { type: 'string' } }
  })
  const unknown = positionals.find(name => !Object.hasOwn(parts, name))
  if (unknown !== undefined) throw new Error(`There is no part '${unknown}'; there are ${Object.keys(parts).join(', ')}`)
  return {
    names: Object.keys(parts).filter(name => positionals.length === 0 || positionals.includes(name)),
    size: values.tiny ? 'tiny' : values.quick ? 'quick' : 'full',
    only: values.only?.split(',')
  }
}

async function run (name, only, size, servers) {
  const part = prepare(parts[name], size, {
    only,
    onLack ({ name: contestant }, reason) { say(`${name}: ${contestant} IS LEFT OUT: ${reason}.`) }
  })
  const files = part.files?.(part.sizes[size]) ?? 0
  if (files > 0 && !mayOpen(files)) {
    const note = `Not measured: it takes ${files} open files, and this system does not allow as many (\`ulimit -n\`).`
    say(`${name}: ${note}`)
    return { ...summarize(name, part, new Map(), 0), note }
  }
  const { rounds } = part.sizes[size]
  const samples = await runPart(part, size, {
    servers,
    onMeasured (round, contestant, values) {
      const figures = Object.entries(values).map(([key, value]) => `${key} ${Number(value.toPrecision(3))}`)
      say(`${name} ${round + 1}/${rounds}  ${contestant.name}: ${figures.join(', ')}`)
    }
  })
  return summarize(name, part, samples, rounds)
}

/** Runs of full size keep their names; others share one, since only their last is of interest. */
function fileName (names, size) {
  if (size !== 'full') return size
  return names.length === Object.keys(parts).length ? 'all' : names.join('-')
}

function write (result, name) {
  const markdown = toMarkdown(result)
  const files = { md: markdown, json: JSON.stringify(result, null, 2) + '\n', svg: toChart(result) }
  mkdirSync(RESULTS, { recursive: true })
  for (const [extension, text] of Object.entries(files)) {
    if (text !== undefined) writeFileSync(join(RESULTS, `${name}.${extension}`), text)
  }
  process.stdout.write(markdown)
  say(`Written to bench/results/${name}.*`)
}

function say (line) {
  process.stderr.write(line + '\n')
}

main().catch(error => {
  console.error(error)
  process.exitCode = 1
})
