'use strict'

// What a schema costs or saves: `node bench/schema.js`, after `npm run build`. Two routes drain the same array of
// objects, one with an event schema and so by fast-json-stringify, one without and so by JSON.stringify. Both are
// injected in turn, so that no network is measured; the figure is the CPU time of the process for an event, and the
// ratio is the median of the ratios of the rounds. The bodies must be equal, or it fails.

const Fastify = require('fastify')
const ssePlugin = require('..')

const EVENTS = 50_000
const ROUNDS = 15

const SHAPES = {
  'small: 3 properties': {
    schema: {
      type: 'object',
      properties: { symbol: { type: 'string' }, bid: { type: 'number' }, ask: { type: 'number' } }
    },
    make: i => ({ symbol: 'ACME', bid: i, ask: i + 0.5 })
  },
  'large: 20 properties, and a list of 10 objects': {
    schema: {
      type: 'object',
      properties: {
        ...Object.fromEntries(Array.from({ length: 20 }, (_, n) => [`field${n}`, { type: n % 2 ? 'integer' : 'string' }])),
        list: { type: 'array', items: { type: 'object', properties: { id: { type: 'integer' }, name: { type: 'string' } } } }
      }
    },
    make: i => ({
      ...Object.fromEntries(Array.from({ length: 20 }, (_, n) => [`field${n}`, n % 2 ? i + n : `value ${i}`])),
      list: Array.from({ length: 10 }, (_, id) => ({ id, name: `name ${id}` }))
    })
  }
}

async function main () {
  for (const [name, { schema, make }] of Object.entries(SHAPES)) {
    const events = Array.from({ length: EVENTS }, (_, i) => ({ event: 'quote', data: make(i) }))
    const app = Fastify()
    await app.register(ssePlugin)
    app.get('/schema', { sse: true, schema: { events: { quote: schema } } }, () => events)
    app.get('/plain', { sse: true }, () => events)
    await compare(name, app)
    await app.close()
  }
}

async function compare (name, app) {
  const [withSchema, plain, ratios] = [[], [], []]
  for (let round = -2; round < ROUNDS; round++) {
    const order = round % 2 === 0 ? ['/schema', '/plain'] : ['/plain', '/schema']
    const cost = {}
    const bodies = new Set()
    for (const url of order) {
      const before = process.cpuUsage()
      const { body } = await app.inject(url)
      const { user, system } = process.cpuUsage(before)
      cost[url] = (user + system) / EVENTS
      bodies.add(body)
    }
    if (bodies.size !== 1) throw new Error(`${name}: the bodies differ`)
    if (round < 0) continue
    withSchema.push(cost['/schema'])
    plain.push(cost['/plain'])
    ratios.push(cost['/schema'] / cost['/plain'])
  }
  console.log(`${name}: with a schema ${median(withSchema)} µs an event, without ${median(plain)}, ratio ${median(ratios)}`)
}

function median (values) {
  return values.sort((a, b) => a - b)[values.length >> 1].toFixed(2)
}

main()
