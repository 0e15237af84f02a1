'use strict'

const MIB = 1024 * 1024
const MAX_BUFFER = 1 * MIB
// What the memory of a server varies by that has no slow client.
const CONSTANT = 4 * MIB
// For some 60 MB, which all clients together are behind at most: what a machine may take that has other work to do.
const ON_TIME_MS = 5_000
const NEVER_MS = 3_600_000

/**
 * What is tried. `cut` is the reason why the stalled client is cut off, where it is; it wakes then, or when all is
 * published. `gaps` are the reasons of gaps that it may be told.
 */
const SCENARIOS = [
  { name: 'nobody is stalled', plugin: {}, isStalled: false, gaps: [] },
  { name: 'disconnect, back at once', plugin: { slow: 'disconnect', writeTimeout: NEVER_MS }, isStalled: true, cut: 'slow', wakes: 'when it is cut off', gaps: [] },
  { name: 'disconnect, back at the end', plugin: { slow: 'disconnect', writeTimeout: NEVER_MS }, isStalled: true, cut: 'slow', gaps: ['evicted'] },
  { name: 'drop-oldest', plugin: { slow: 'drop-oldest', writeTimeout: NEVER_MS }, isStalled: true, gaps: ['dropped'] },
  { name: 'latest', plugin: { slow: 'latest', writeTimeout: NEVER_MS }, isStalled: true, gaps: ['dropped'] },
  { name: 'writeTimeout', plugin: { slow: 'drop-oldest', writeTimeout: 1_000 }, isStalled: true, cut: 'stalled', gaps: ['evicted'] }
].map(scenario => ({ ...scenario, plugin: { ...scenario.plugin, maxBuffer: MAX_BUFFER } }))

/** What does not hold of what was seen in a scenario. */
function problemsOf ({ clients, published, others, memory, stalled, dropped, closed }, scenario) {
  const due = (clients - 1) * published
  const cut = scenario.cut === undefined ? {} : { [scenario.cut]: 1 }
  const problems = {
    [`the others have ${others.delivered} events of ${due}`]: others.delivered !== due,
    [`the others were told ${others.gaps} gaps`]: others.gaps > 0,
    [`an event took ${others.delay.worst} ms to one of the others`]: others.delay.worst > ON_TIME_MS,
    [`the server's memory grew by ${mib(memory.peak.heap - memory.before.heap)} MiB`]: memory.peak.heap - memory.before.heap > MAX_BUFFER + CONSTANT,
    [`the server's memory stayed larger by ${mib(memory.after.heap - memory.before.heap)} MiB`]: memory.after.heap - memory.before.heap > CONSTANT,
    [`the stalled client has ${stalled.received} events and knows of ${stalled.missing} that are missing, of ${published}`]: stalled.received + stalled.missing !== published,
    [`the stalled client was told gaps: ${stalled.gaps}`]: stalled.gaps.some(reason => !scenario.gaps.includes(reason)),
    [`${dropped} events were dropped, and ${stalled.missing} told`]: scenario.cut === undefined && dropped !== stalled.missing,
    [`the stalled client was cut off: ${stalled.cut}`]: stalled.cut !== scenario.cut,
    [`streams were closed: ${JSON.stringify(closed)}`]: Object.entries(closed).some(([reason, count]) => count !== (cut[reason] ?? 0))
  }
  return Object.keys(problems).filter(problem => problems[problem])
}

function mib (bytes) {
  return (bytes / MIB).toFixed(1)
}

module.exports = { SCENARIOS, problemsOf, mib }
