import t from 'tap'
import { setInterval } from 'node:timers/promises'
import { serve } from './helpers/serve'
import { open } from './helpers/client'
import { deferred } from './helpers/deferred'

t.test('smoke: a generator is drained, and its finally runs when the client leaves', async t => {
  const ended = deferred()
  const { url, log } = await serve(t, app => app.get('/', (request, reply) => reply.sse(async function * ({ signal }) {
    try {
      for await (const _ of setInterval(10, null, { signal })) yield { event: 'tick', data: 'x' }
    } finally {
      ended.resolve()
    }
  })))
  const stream = await open(t, url)
  t.match(await stream.next(), { event: 'tick', data: 'x' })
  stream.close()
  await ended.promise
  t.match(await log.find('event stream closed'), { reason: 'client' })
  t.same(log.complaints, [])
})
