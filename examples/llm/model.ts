/**
 * Stands in for the upstream of the proxy: an OpenAI-compatible server with a model that knows one text by heart, and is
 * told what to do by words in the prompt: `slow`, `short`, `refuse`, `break`. It counts what it writes, so that one can
 * see it stop when whoever asked has gone.
 */
import { EventEmitter, once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { Type, type Static, type TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import fastify from 'fastify'
import ssePlugin from 'fastify-event-stream'
import { textFor, tokensOf } from './text'

const SLOW_START_MS = 3000
const BREAK_AFTER = 40

/** What the model does. */
export const Activity = Type.Object({
  /** Answers that are being written. */
  answers: Type.Integer(),
  /** Tokens of all answers so far. */
  tokens: Type.Integer()
})

const Completion = Type.Object({
  model: Type.String(),
  messages: Type.Array(Type.Object({ role: Type.String(), content: Type.String() }), { minItems: 1 }),
  stream: Type.Literal(true)
})

export class Model {
  readonly #app = fastify({ forceCloseConnections: true }).withTypeProvider<TypeBoxTypeProvider>()
  readonly #changes = new EventEmitter<{ change: [] }>().setMaxListeners(0)
  #activity: Static<typeof Activity> = { answers: 0, tokens: 0 }

  constructor () {
    const app = this.#app
    app.register(ssePlugin)
    app.after(() => {
      app.post('/v1/chat/completions', { schema: { body: Completion }, sse: true }, async (request, reply, { signal }) => {
        const { model, messages } = request.body
        const prompt = messages.at(-1)?.content ?? ''
        if (!asksFor('refuse', prompt)) return this.#write(model, prompt, signal)
        if (asksFor('slow', prompt)) await setTimeout(SLOW_START_MS, null, { signal })
        const error = { message: 'Rate limit reached for requests of this organization', type: 'requests', code: 'rate_limit_exceeded' }
        return reply.code(429).header('retry-after', 20).send({ error })
      })
    })
  }

  /** Starts to listen, on a port that is free: the base of its URLs. */
  async listen (): Promise<string> {
    await this.#app.listen({ host: '127.0.0.1', port: 0 })
    return `http://127.0.0.1:${(this.#app.server.address() as AddressInfo).port}/v1`
  }

  async close (): Promise<void> {
    await this.#app.close()
  }

  /** What it does now, and again whenever that has changed. Who is slow gets the newest: it is a state, not a history. */
  async * activity (signal: AbortSignal): AsyncGenerator<Static<typeof Activity>> {
    for (let seen; ;) {
      if (seen === this.#activity) await once(this.#changes, 'change', { signal })
      yield seen = this.#activity
    }
  }

  async * #write (model: string, prompt: string, signal: AbortSignal) {
    const head = { id: 'chatcmpl-1', object: 'chat.completion.chunk', created: Math.floor(Date.now() / 1000), model }
    const chunk = (delta: object, reason: string | null = null) => ({
      data: { ...head, choices: [{ index: 0, delta, finish_reason: reason }] }
    })

    this.#count({ answers: +1 })
    try {
      yield chunk({ role: 'assistant', content: '' })
      if (asksFor('slow', prompt)) await setTimeout(SLOW_START_MS, null, { signal })
      let written = 0
      for (const content of tokensOf(textFor(prompt, asksFor('short', prompt)))) {
        await setTimeout(pauseBefore(content), null, { signal })
        if (asksFor('break', prompt) && ++written > BREAK_AFTER) throw new Error('out of memory')
        this.#count({ tokens: +1 })
        yield chunk({ content })
      }
      yield chunk({}, 'stop')
      yield '[DONE]'
    } finally {
      this.#count({ answers: -1 })
    }
  }

  #count ({ answers = 0, tokens = 0 }): void {
    this.#activity = { answers: this.#activity.answers + answers, tokens: this.#activity.tokens + tokens }
    this.#changes.emit('change')
  }
}

function asksFor (word: string, prompt: string): boolean {
  return new RegExp(`\\b${word}`, 'i').test(prompt)
}

/** Milliseconds: now quick, now hesitant, most of all before a new sentence. */
function pauseBefore (token: string): number {
  return Math.random() ** 3 * 90 + (/^\s?\p{Lu}/u.test(token) ? 60 : 12)
}
