/**
 * A proxy for the tokens of a language model: it keeps the key, limits who may ask, and passes the tokens on as they come.
 * When the client leaves, the upstream's work ends too.
 *
 *     npm run example:llm        and open what it prints; the environment's PORT and HOST are heeded
 *
 * The model is a stand-in that needs no network and no key. A real one is asked, with MODEL and API_KEY, at UPSTREAM:
 *
 *     UPSTREAM=https://api.openai.com/v1 API_KEY=… MODEL=… npm run example:llm
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Type, type TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import fastify from 'fastify'
import ssePlugin from 'fastify-event-stream'
import { Activity, Model } from './model'
import { complete } from './upstream'

const { HOST = '127.0.0.1', PORT = '8849', LOG_LEVEL = 'warn', UPSTREAM, API_KEY = '', MODEL = 'stand-in' } = process.env

// A browser opens spare connections that never ask for anything: close() is not to wait for those.
const app = fastify({ logger: { level: LOG_LEVEL }, forceCloseConnections: true }).withTypeProvider<TypeBoxTypeProvider>()

app.register(ssePlugin)

const standIn = UPSTREAM === undefined ? new Model() : undefined
const upstream = { url: UPSTREAM ?? '', key: API_KEY, model: MODEL }

if (standIn !== undefined) {
  app.addHook('onReady', async () => { upstream.url = await standIn.listen() })
  app.addHook('onClose', () => standIn.close())
}

app.after(() => {
  app.post('/chat', {
    schema: {
      body: Type.Object({ prompt: Type.String({ minLength: 1, maxLength: 4000 }) }, { additionalProperties: false }),
      events: {
        token: Type.String(),
        done: Type.Object({ tokens: Type.Integer(), characters: Type.Integer() }),
        failed: Type.Object({ message: Type.String() })
      }
    },
    sse: {
      // So long may the upstream take to refuse, and the answer is a status still. Who waits longer has headers then,
      // and heartbeats: proxies give up on an answer that does not begin (nginx after 60 s).
      prime: 20_000,
      maxAge: 300_000,
      // With a proxy in front, Fastify's trustProxy makes this the address of the client.
      key: ({ ip }) => ip,
      maxStreamsPerKey: 3,
      onError: () => ({ event: 'failed', data: { message: 'The model broke off' } })
    }
  }, async function * (request, _reply, { signal }) {
    const answer = await complete(request.body.prompt, upstream, signal)
    // Opens the stream: whoever asks can tell that the model has begun, and thinks.
    yield { comment: 'accepted' }
    let tokens = 0
    let characters = 0
    for await (const token of answer) {
      tokens++
      characters += token.length
      yield { event: 'token', data: token }
    }
    yield { event: 'done', data: { tokens, characters } }
  })

  // What the stand-in does, for the page to show. Of another nothing is known: a stream without an event is a 204, after
  // which an EventSource does not come back.
  app.get('/upstream', { schema: { events: { activity: Activity } }, sse: { retry: 1000 } }, async function * (_request, _reply, { signal }) {
    if (standIn === undefined) return
    for await (const data of standIn.activity(signal)) yield { event: 'activity', data }
  })
})

for (const [url, file, type] of [
  ['/', 'index.html', 'text/html'],
  ['/llm.css', 'llm.css', 'text/css'],
  ['/llm.js', 'llm.js', 'text/javascript'],
  ['/answer.js', 'answer.js', 'text/javascript'],
  ['/events.js', 'events.js', 'text/javascript'],
  ['/upstream.js', 'upstream.js', 'text/javascript']
] as const) {
  const body = readFileSync(join(__dirname, 'public', file))
  app.get(url, (_request, reply) => reply.type(`${type}; charset=utf-8`).send(body))
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => app.close())

app.listen({ host: HOST, port: Number(PORT) }, (error, address) => {
  if (error) throw error
  console.log(`The model is listening. Open ${address}/, or ask it in a shell:

  curl -N ${address}/chat --json '{ "prompt": "In short: what is a token?" }'
`)
})
