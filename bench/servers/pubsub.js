'use strict'

// The least that Redis costs: PUBLISH, and a subscriber. There are no clients: this process checks what it hears itself.

const { createClient } = require('redis')
const { MixedTally } = require('../client/tally')
const { now } = require('../host/clock')
const { Counter } = require('../host/workload')

const CHANNEL = 'prices'

module.exports = async function ({ redis, broadcaster }) {
  const client = createClient({ url: redis })
  const subscriber = client.duplicate()
  await Promise.all([client.connect(), subscriber.connect()])
  broadcaster.by(({ data }) => client.publish(CHANNEL, data))

  let tally
  let heard
  let arrivals
  await subscriber.subscribe(CHANNEL, data => {
    arrivals.push(now())
    tally.size(data.length)
    tally.events++
    tally.check(data)
    heard.add()
  })

  const commands = {
    /** Begins anew. */
    listen (each) {
      tally = new MixedTally(each)
      heard = new Counter()
      arrivals = []
    },

    /** Resolves when so many events have arrived, with when each of them did. */
    async heard (count) {
      await heard.reach(count)
      return arrivals
    }
  }
  return { address: () => ({ port: 0 }), commands }
}
