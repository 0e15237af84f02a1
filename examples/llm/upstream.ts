/** Asks an OpenAI-compatible server for a completion, and reads its answer as it comes. */
import { EventSourceParserStream } from 'eventsource-parser/stream'

export interface Upstream {
  /** Up to and including the version, such as `https://api.openai.com/v1`. */
  readonly url: string
  readonly key: string
  readonly model: string
}

/** The part of a chunk that is read here. */
interface Chunk {
  choices?: { delta?: { content?: string | null } }[]
  error?: { message?: string }
}

/**
 * Asks, and gives the tokens once the upstream has taken the request.
 *
 * @throws an error with the upstream's status when it refuses, or 502
 */
export async function complete (prompt: string, { url, key, model }: Upstream, signal: AbortSignal): Promise<AsyncGenerator<string>> {
  const response = await fetch(`${url}/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model, messages: [{ role: 'user', content: prompt }], stream: true }),
    signal
  }).catch(error => {
    throw signal.aborted ? error : new Refusal(502, 'The model cannot be reached', error)
  })
  if (!response.ok) throw await refusalOf(response)
  return tokensOf(response.body)
}

async function * tokensOf (body: Response['body']): AsyncGenerator<string> {
  const events = body?.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream())
  for await (const { data } of events ?? []) {
    if (data === '[DONE]') return
    const { choices, error } = JSON.parse(data) as Chunk
    if (error !== undefined) throw new Error(`The model failed: ${error.message}`)
    const content = choices?.[0]?.delta?.content
    if (content) yield content
  }
  // A connection that is closed is not yet an answer that is complete.
  throw new Error('The model ended without [DONE]')
}

/** Fastify answers with its status and headers. */
class Refusal extends Error {
  constructor (readonly statusCode: number, message: string, cause: Error, readonly headers: Record<string, string> = {}) {
    super(message, { cause })
  }
}

async function refusalOf (response: Response): Promise<Refusal> {
  const { status, headers } = response
  // What it says is for the log: it may name the organization, or show a part of the key.
  const cause = new Error(`${status} ${(await response.text()).slice(0, 1000)}`)
  // It is the proxy's key that is not accepted, and nothing that whoever asks here could mend.
  if (status === 401 || status === 403) return new Refusal(502, 'The model does not let the proxy in', cause)
  const retryAfter = headers.get('retry-after')
  return new Refusal(status, 'The model refuses to answer', cause, retryAfter === null ? {} : { 'retry-after': retryAfter })
}
