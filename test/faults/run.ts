import { parseArgs } from 'node:util'
import { Campaign } from './campaign'
import { tableOf } from './tally'

const USAGE = 'npm run faults -- [--short | --minutes 20] [--seed 1]'

async function main (): Promise<void> {
  const { values } = parseArgs({ options: { short: { type: 'boolean', default: false }, minutes: { type: 'string', default: '20' }, seed: { type: 'string' } } })
  const isShort = values.short
  const seed = Number(values.seed ?? Math.floor(Math.random() * 1_000_000_000))
  const duration = isShort ? 0 : Number(values.minutes) * 60_000
  const longest = isShort ? 105_000 : duration + 300_000
  if (!Number.isSafeInteger(seed) || !(duration >= 0)) throw new Error(USAGE)
  console.log(`Faults, with the seed ${seed}\n`)
  const campaign = new Campaign({ seed, isShort, duration, longest, say: line => { console.log(line) } })
  try {
    await campaign.run()
    console.log(`\n${tableOf(campaign.tallies)}\n\nEach client was given a contiguous run of its channels, or was told what it missed.`)
  } catch (error) {
    console.log(`\n${tableOf(campaign.tallies)}\n\nViolated with the seed ${seed}: ${error instanceof Error ? error.stack ?? error.message : String(error)}`)
    process.exitCode = 1
  }
}

main().catch(error => {
  console.error(error.message)
  process.exitCode = 1
})
