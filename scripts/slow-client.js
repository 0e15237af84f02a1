'use strict'

// Publishes to many clients of which one reads nothing, for each way of treating it, and shows what became of the
// others, of the server's memory and of the one:
//
//     npm run test:slow-client                                     500 clients, 100 MB for each
//     npm run test:slow-client -- --clients 100 --megabytes 10     less
//     npm run test:slow-client -- latest                           only scenarios with this in their name
//
// With --json a line of JSON for each in place of the table. It fails where something does not hold.

const { parseArgs } = require('node:util')
const { run } = require('./slow-client/run')
const { SCENARIOS, problemsOf, mib } = require('./slow-client/scenarios')

async function main () {
  const { scenarios, size, isJson } = readArguments()
  const rows = []
  for (const scenario of scenarios) {
    const { row, problems } = await attempt(scenario, size, isJson)
    rows.push(row)
    if (problems.length > 0) process.exitCode = 1
    for (const problem of problems) console.error(`${scenario.name}: ${problem}`)
  }
  if (!isJson) console.table(rows)
}

function readArguments () {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { clients: { type: 'string', default: '500' }, megabytes: { type: 'string', default: '100' }, json: { type: 'boolean', default: false } }
  })
  const [clients, megabytes] = [Number(values.clients), Number(values.megabytes)]
  if (!(Number.isInteger(clients) && clients > 1 && megabytes > 0)) throw new Error('It takes 2 clients or more, and some megabytes')
  const scenarios = SCENARIOS.filter(({ name }) => positionals.length === 0 || positionals.some(part => name.includes(part)))
  if (scenarios.length === 0) throw new Error(`There are the scenarios ${SCENARIOS.map(({ name }) => `'${name}'`).join(', ')}`)
  return { scenarios, size: { clients, megabytes }, isJson: values.json }
}

async function attempt (scenario, size, isJson) {
  try {
    const result = await run(scenario, size)
    if (isJson) console.log(JSON.stringify(result))
    else console.log(`${scenario.name}: ${result.seconds.toFixed(1)} s`)
    return { row: toRow(result), problems: problemsOf(result, scenario) }
  } catch (error) {
    return { row: { scenario: scenario.name }, problems: [error.message] }
  }
}

function toRow ({ scenario, published, others, memory, stalled }) {
  const { before, peak, after } = memory
  return {
    scenario,
    published,
    'to the others': others.delivered,
    'delay, ms': `${others.delay.median}, at worst ${others.delay.worst}`,
    'heap and buffers, MiB': [before, peak, after].map(({ heap }) => mib(heap)).join(' / '),
    'process, MiB': [before, peak, after].map(({ rss }) => mib(rss)).join(' / '),
    'the stalled one': stalled.cut ?? 'stays',
    'has got': stalled.received,
    'was told is missing': stalled.missing === 0 ? 0 : `${stalled.missing} (${stalled.gaps})`
  }
}

main()
