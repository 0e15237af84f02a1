'use strict'

// Interleaves the contestants of a part: each round measures all of them, each in a server process of its own
// (but for the tiny size), and begins with another one than the round before. What slows the machine for a while hits all alike.

const { contestants } = require('./contestants')

// A server that hangs is to fail the run, not to stop it.
const PATIENCE_MS = 120_000

/**
 * @param {object} part one of parts/, prepared
 * @param {'full' | 'quick' | 'tiny'} size
 * @param {object} options
 * @param {import('./server-process').Servers} options.servers
 * @param {(round: number, contestant: object, values: object) => void} options.onMeasured
 * @returns {Promise<Map<string, object[]>>} for each contestant what was measured, round by round
 */
async function runPart (part, size, { servers, onMeasured }) {
  const { rounds, ...amounts } = part.sizes[size]
  const taking = contestants.filter(({ id }) => part.contestants.includes(id))
  const samples = new Map(taking.map(({ id }) => [id, []]))
  for (let round = 0; round < rounds; round++) {
    const first = Math.floor(round * taking.length / rounds)
    for (const contestant of [...taking.slice(first), ...taking.slice(0, first)]) {
      try {
        const values = await measure(part, contestant, amounts, servers)
        samples.get(contestant.id).push(values)
        onMeasured(round, contestant, values)
      } catch (cause) {
        throw new Error(`${contestant.name}: ${cause.message}`, { cause })
      }
    }
  }
  return samples
}

/** With a server, or with those that the part starts. */
async function measure (part, contestant, amounts, servers) {
  const started = []
  const start = async options => {
    const server = await servers.start(contestant.server, options)
    started.push(server)
    return server
  }
  const server = part.startsServers ? undefined : await servers.take(contestant.server, part.options?.(amounts))
  try {
    return await patiently(part.measure({ server, contestant, start }, amounts))
  } finally {
    if (server !== undefined) await servers.giveBack(server)
    await Promise.all(started.map(server => server.stop()))
  }
}

function patiently (measured) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`nothing was measured in ${PATIENCE_MS / 1000} s`)), PATIENCE_MS)
    measured.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}

module.exports = { runPart }
