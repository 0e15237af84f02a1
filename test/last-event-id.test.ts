import { once } from 'node:events'
import { connect, type ClientHttp2Session } from 'node:http2'
import type { AddressInfo } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { EventSource, request } from 'undici'
import ssePlugin from '../plugin/index'
import { open } from './helpers/client'
import { serve } from './helpers/serve'
import { connectTo, get } from './helpers/socket'

interface Question {
  path?: string
  header?: string
  /** How the characters of the header become bytes. */
  encoding?: 'utf8' | 'latin1'
}

interface Options {
  parameter?: string | false
  routes?: (app: FastifyInstance) => unknown
}

/** A server whose `/` answers with the request's last event ID, and a client that asks it. */
async function start (t: Test, { parameter, routes = app => app.get('/', request => ({ id: request.lastEventId })) }: Options = {}) {
  const { port, url } = await serve(t, routes, { plugin: { lastEventIdParameter: parameter } })

  async function ask ({ path = '/', header, encoding = 'utf8' }: Question): Promise<unknown> {
    const headers = header === undefined ? {} : { 'last-event-id': header }
    const client = await connectTo(t, port)
    client.socket.write(get(path, { connection: 'close', ...headers }), encoding)
    await client.closed
    const [head, body] = client.received.split('\r\n\r\n')
    t.match(head, /^HTTP\/1\.1 200 /)
    return JSON.parse(body ?? '').id
  }
  return { ask, url }
}

const query = (id: string, name = 'lastEventId'): string => `/?${name}=${encodeURIComponent(id)}`

t.test('the header', async t => {
  t.test('a request without one has the empty ID', async t => {
    const { ask } = await start(t)
    t.equal(await ask({}), '')
  })

  t.test('it is read as it was sent', async t => {
    const { ask } = await start(t)
    for (const id of ['42', '0', 'a b', '%20+&=', 'epoch-7']) t.equal(await ask({ header: id }), id)
  })

  t.test('its bytes are decoded as UTF-8', async t => {
    const { ask } = await start(t)
    for (const id of ['café-☃', '😀', 'Ä'.repeat(512)]) t.equal(await ask({ header: id }), id)
  })

  t.test('bytes that are no UTF-8 are taken for latin1', async t => {
    const { ask } = await start(t)
    t.equal(await ask({ header: 'caf\xe9-1', encoding: 'latin1' }), 'café-1')
    t.equal(await ask({ header: 'a\xf0\x9f\x98', encoding: 'latin1' }), 'að\x9f\x98')
  })

  t.test('it may have 1,024 bytes, and counts as none when it is longer', async t => {
    const { ask } = await start(t)
    t.equal(await ask({ header: 'x'.repeat(1024) }), 'x'.repeat(1024))
    t.equal(await ask({ header: 'x'.repeat(1025) }), '')
    t.equal(await ask({ header: 'é'.repeat(512) }), 'é'.repeat(512))
    t.equal(await ask({ header: 'é'.repeat(513) }), '')
  })

  t.test('it wins over the query parameter, also when it is empty', async t => {
    const { ask } = await start(t)
    t.equal(await ask({ path: query('old'), header: 'new' }), 'new')
    t.equal(await ask({ path: query('old'), header: '' }), '')
  })
})

t.test('the query parameter', async t => {
  t.test('it is for clients that cannot set a header', async t => {
    const { ask } = await start(t)
    for (const id of ['42', '0', 'café-☃', '%20+&=#?', 'a b']) t.equal(await ask({ path: query(id) }), id)
  })

  t.test('it is found among others, and only by its whole name', async t => {
    const { ask } = await start(t)
    t.equal(await ask({ path: '/?a=1&lastEventId=7&b=2' }), '7')
    t.equal(await ask({ path: '/?a=1&xlastEventId=7&lastEventIds=8&lasteventid=9' }), '')
    t.equal(await ask({ path: '/?lastEventId' }), '')
    t.equal(await ask({ path: '/?a=%3FlastEventId%3D7' }), '')
  })

  t.test('of a repeated one the first counts', async t => {
    const { ask } = await start(t)
    t.equal(await ask({ path: '/?lastEventId=1&lastEventId=2' }), '1')
  })

  t.test('it may have 1,024 bytes, and counts as none when it is longer', async t => {
    const { ask } = await start(t)
    t.equal(await ask({ path: query('x'.repeat(1024)) }), 'x'.repeat(1024))
    t.equal(await ask({ path: query('x'.repeat(1025)) }), '')
    t.equal(await ask({ path: query('☃'.repeat(341)) }), '☃'.repeat(341))
    t.equal(await ask({ path: query('☃'.repeat(342)) }), '')
  })

  for (const [name, character] of Object.entries({ CR: '\r', LF: '\n', NUL: '\0' })) {
    t.test(`with ${name} it counts as none: no client can have such an ID`, async t => {
      const { ask } = await start(t)
      t.equal(await ask({ path: query(`a${character}b`) }), '')
      t.equal(await ask({ path: query(character) }), '')
    })
  }

  t.test('an encoding that is broken fails no request', async t => {
    const { ask } = await start(t)
    t.equal(await ask({ path: '/?lastEventId=a%E9' }), 'a\ufffd')
    t.equal(await ask({ path: '/?lastEventId=a%zz%' }), 'a%zz%')
  })

  t.test('it is read where the schema of the query takes it out', async t => {
    const { ask } = await start(t, {
      routes (app) {
        const schema = { querystring: { type: 'object', properties: { a: { type: 'string' } }, additionalProperties: false } }
        app.get('/', { schema }, request => {
          t.strictSame({ ...request.query as object }, { a: '1' })
          return { id: request.lastEventId }
        })
      }
    })
    t.equal(await ask({ path: '/?a=1&lastEventId=7' }), '7')
  })

  t.test('its name is an option', async t => {
    const { ask } = await start(t, { parameter: 'last-event-id' })
    t.equal(await ask({ path: query('7', 'last-event-id') }), '7')
    t.equal(await ask({ path: query('7') }), '')
    t.equal(await ask({ path: query('old', 'last-event-id'), header: 'new' }), 'new')
  })

  t.test('with false none is looked at', async t => {
    const { ask } = await start(t, { parameter: false })
    t.equal(await ask({ path: query('7') }), '')
    t.equal(await ask({ path: query('7', 'false') }), '')
    t.equal(await ask({ path: query('7'), header: 'new' }), 'new')
  })
})

t.test('where it is there', async t => {
  t.test('in every hook, in the handler and in the source', async t => {
    const seen: [where: string, id: string][] = []
    const { url } = await serve(t, app => {
      app.addHook('onRequest', async request => { seen.push(['onRequest', request.lastEventId]) })
      app.addHook('preHandler', async request => { seen.push(['preHandler', request.lastEventId]) })
      app.addHook('onSend', async request => { seen.push(['onSend', request.lastEventId]) })
      app.get('/', (request, reply) => {
        seen.push(['handler', request.lastEventId])
        return reply.sse(async function * ({ lastEventId, request }) {
          seen.push(['stream', lastEventId], ['its request', request.lastEventId])
          yield 'done'
        })
      })
    })
    const { body } = await request(url, { headers: { 'last-event-id': '7' } })
    t.equal(await body.text(), 'data: done\n\n')
    t.strictSame(seen, ['onRequest', 'preHandler', 'handler', 'onSend', 'stream', 'its request'].map(where => [where, '7']))
  })

  t.test('for each request on a connection its own', async t => {
    const { port } = await serve(t, app => app.get('/', request => `<${request.lastEventId}>`))
    const client = await connectTo(t, port)
    for (const id of ['1', '2', '']) {
      client.send(get('/', id === '' ? {} : { 'last-event-id': id }))
      await client.until(`<${id}>`)
    }
  })

  t.test('on HTTP/2, by the header and by the parameter', async t => {
    const app = Fastify({ http2: true })
    t.teardown(() => app.close())
    await app.register(ssePlugin)
    app.get('/', async request => ({ id: request.lastEventId }))
    await app.listen({ host: '127.0.0.1', port: 0 })
    const session = connect(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`)
    t.teardown(() => { session.destroy() })

    t.equal(await askHttp2(session, '/', { 'last-event-id': Buffer.from('café-☃').toString('latin1') }), 'café-☃')
    t.equal(await askHttp2(session, query('café-☃'), {}), 'café-☃')
    t.equal(await askHttp2(session, query('old'), { 'last-event-id': 'new' }), 'new')
  })

  t.test('when a client comes back, for every ID that an event may have', async t => {
    const ids = ['x'.repeat(1024), 'é'.repeat(512), '☃'.repeat(341) + 'x', '😀'.repeat(256), 'a\tb', 'a\t\tb', 'a  b', '~', '\x80\x9f', '%00', '{"n":1}', '7']
    const { url } = await serve(t, app => app.get('/', (request, reply) => reply.sse([{ id: ids[ids.indexOf(request.lastEventId) + 1], data: 'next' }])))
    let seen = ''
    for (const id of ids) {
      const [event] = await (await open(t, url, { headers: { 'last-event-id': Buffer.from(seen).toString('latin1') } })).rest()
      t.equal(event?.id, id)
      seen = id
    }
  })

  t.test('when an EventSource comes back, with the ID of the last event it has seen', async t => {
    const { url } = await serve(t, app => app.get('/', (request, reply) => reply.sse(async function * ({ lastEventId }) {
      yield { id: lastEventId === '' ? '41-a' : '42-b', data: `after <${lastEventId}>`, retry: 0 }
    })))
    const source = new EventSource(url)
    t.teardown(() => { source.close() })
    const received: string[] = []
    await new Promise<void>(resolve => {
      source.onmessage = ({ data }) => { if (received.push(data) === 3) resolve() }
    })
    t.strictSame(received, ['after <>', 'after <41-a>', 'after <42-b>'])
  })
})

async function askHttp2 (session: ClientHttp2Session, path: string, headers: Record<string, string>): Promise<unknown> {
  const stream = session.request({ ':path': path, ...headers })
  let body = ''
  stream.setEncoding('utf8').on('data', chunk => { body += chunk })
  await once(stream, 'end')
  return JSON.parse(body).id
}
