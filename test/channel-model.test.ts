import { mock } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import t from 'tap'
import { NAMES, PLENTY, World, type ClientSetup, type Setup } from './helpers/channel-world'

// The same runs each time, so that it is the change that fails, not the day; others by FC_SEED and FC_RUNS.
fc.configureGlobal({ seed: Number(process.env['FC_SEED'] ?? 20_261_122) })
const numRuns = Number(process.env['FC_RUNS'] ?? 300)

const TEXTS = ['', 'one\ntwo\r\n\rthree', '\n', ' ☃ 😀 \ud800', 'id: 1\n\ndata: x\n\n', '\0']

const which = fc.nat(5)
const part = fc.oneof(fc.double({ min: 0, max: 1, noNaN: true }), fc.constant(1))
const channel = fc.constantFrom(NAMES[0], NAMES[0], ...NAMES)
const message = fc.record({
  event: fc.constantFrom(undefined, 'a', 'b', 'c'),
  text: fc.oneof(fc.constantFrom(...TEXTS), fc.nat(1_500).map(length => 'x'.repeat(length))),
  isJson: fc.boolean()
})

const doing = <Name extends string>(name: Name) => ({ do: fc.constant(name) })
const steps = [
  { weight: 40, arbitrary: fc.record({ ...doing('publish'), server: which, channel, message, times: fc.oneof(fc.constant(1), fc.integer({ min: 2, max: 12 })) }) },
  { weight: 15, arbitrary: fc.record({ ...doing('connect'), client: which, server: which }) },
  { weight: 5, arbitrary: fc.record({ ...doing('cut'), client: which, part }) },
  { weight: 25, arbitrary: fc.record({ ...doing('move'), client: which, part, server: which }) },
  { weight: 5, arbitrary: fc.record({ ...doing('receive'), client: which }) },
  { weight: 10, arbitrary: fc.record({ ...doing('slow'), client: which, isSlow: fc.boolean() }) },
  { weight: 30, arbitrary: fc.record({ ...doing('turns'), count: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 5, arbitrary: fc.record({ ...doing('settle') }) },
  { weight: 4, arbitrary: fc.record({ ...doing('tick'), milliseconds: fc.nat(150) }) },
  { weight: 4, arbitrary: fc.record({ ...doing('restart'), server: which, part }) },
  { weight: 3, arbitrary: fc.record({ ...doing('forge'), client: which, kind: fc.constantFrom('rubbish', 'long', 'ahead', 'foreign') }) },
  { weight: 1, arbitrary: fc.record({ ...doing('close'), channel }) }
] as const
const faults = [
  { weight: 4, arbitrary: fc.record({ ...doing('fall'), server: which, isReachable: fc.boolean() }) },
  { weight: 6, arbitrary: fc.record({ ...doing('rise'), server: which }) },
  { weight: 12, arbitrary: fc.record({ ...doing('hold'), server: which, isHeld: fc.boolean() }) },
  { weight: 4, arbitrary: fc.record({ ...doing('replace'), channel, part: fc.option(part, { nil: undefined }) }) }
] as const
const step = fc.oneof(...steps)
const faultyStep = fc.oneof(...steps, ...faults)

type Step = typeof faultyStep extends fc.Arbitrary<infer Step> ? Step : never

const histories = fc.array(fc.oneof(
  fc.constantFrom({}, false as const),
  fc.record({
    size: fc.option(fc.integer({ min: 1, max: 8 }), { nil: undefined }),
    maxBytes: fc.option(fc.integer({ min: 1, max: 3_000 }), { nil: undefined }),
    maxAge: fc.option(fc.integer({ min: 1, max: 200 }), { nil: undefined }),
    mode: fc.constantFrom('all' as const, 'latest' as const)
  })
), { minLength: NAMES.length, maxLength: NAMES.length })
const clients: fc.Arbitrary<ClientSetup[]> = fc.array(fc.record({
  channels: fc.oneof(fc.constant([NAMES[0]]), fc.subarray([...NAMES], { minLength: 1 })),
  from: fc.constantFrom('latest', 'earliest'),
  slow: fc.constantFrom('disconnect', 'drop-oldest', 'latest'),
  reads: fc.constantFrom('all', 'all', 'filtered', 'mapped')
}), { minLength: 1, maxLength: 4 })
const maxBuffer = fc.constantFrom(300, 2_000, PLENTY)
const inProcess: fc.Arbitrary<Setup> = fc.record({ histories, maxBuffer, clients })
const remote: fc.Arbitrary<Setup> = fc.record({ histories, maxBuffer, clients, delays: fc.array(fc.oneof(fc.nat(2), fc.nat(12)), { minLength: 1, maxLength: 8 }) })

async function take (world: World, step: Step): Promise<void> {
  const client = 'client' in step ? world.clients[step.client % world.clients.length] : undefined
  switch (step.do) {
    case 'publish':
      for (let n = 0; n < step.times; n++) world.publish(step.server, step.channel, step.message)
      return
    case 'connect': return client && world.connect(client, step.server)
    case 'cut': return client && world.cut(client, step.part)
    case 'move':
      if (client === undefined) return
      world.cut(client, step.part)
      return world.connect(client, step.server)
    case 'receive': return client?.sink?.state === 'open' ? client.sink.receive() : undefined
    case 'slow': return client && world.setSlow(client, step.isSlow)
    case 'forge': return client && world.forge(client, step.kind)
    case 'turns':
      for (let turn = 0; turn < step.count; turn++) await setImmediate()
      return
    case 'settle':
      await world.settle(tick)
      return world.assertBounded()
    case 'tick': return tick(step.milliseconds)
    case 'restart': return world.restart(step.server, step.part)
    case 'close': return world.close(step.channel)
    case 'fall': return world.fall(step.server, step.isReachable)
    case 'rise': return world.rise(step.server)
    case 'hold': return world.hold(step.server, step.isHeld)
    case 'replace': return world.replace(step.channel, step.part)
  }
}

function tick (milliseconds: number): void {
  mock.timers.tick(milliseconds)
}

async function live (setup: Setup, steps: readonly Step[]): Promise<void> {
  mock.timers.enable({ apis: ['Date', 'setTimeout'], now: 1_000_000 })
  let world: World | undefined
  try {
    world = await World.open(setup)
    for (const step of steps) {
      await take(world, step)
      world.assertRight()
    }
    await world.heal(tick)
    world.assertComplete()
    await world.assertReleased()
    world.assertRight()
  } finally {
    await world?.end()
    mock.timers.reset()
  }
}

t.test('each subscriber sees a contiguous run of its channels or is told what is missing, whatever happens to a server', async t => {
  await fc.assert(fc.asyncProperty(inProcess, fc.array(step, { maxLength: 80, size: 'max' }), live), { numRuns })
  t.pass('in all runs')
})

t.test('and so over a backplane that is far away, and fails', async t => {
  await fc.assert(fc.asyncProperty(remote, fc.array(faultyStep, { maxLength: 80, size: 'max' }), live), { numRuns })
  t.pass('in all runs')
})
