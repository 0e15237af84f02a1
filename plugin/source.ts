import type { Readable } from 'node:stream'
import type { ReadableStream } from 'node:stream/web'
import { FST_ERR_SSE_SOURCE } from './errors'
import type { SseEvent } from './event'
import { FEED, hasFeed, type Feed, type FeedContext, type Sink } from './feed'
import { outline } from './inspect'
import { Pull, type AnyIterator } from './pull'
import { Push } from './push'
import type { StreamContext } from './context'
import { TextChunks } from './text-chunks'
import { ignoreRejection, isThenable } from './thenable'
import { nextTurn, turnIsOver } from './turn'

/**
 * What can be drained of its events: an async iterable or iterable (a generator object, an array), a web
 * `ReadableStream`, or a Node `Readable`. The chunks of a byte stream are text, decoded as UTF-8 across their borders.
 */
export type EventIterable<Event = SseEvent> =
  | AsyncGenerator<Event> // is an AsyncIterable; by its own name, the compiler says what is wrong with a generator's event
  | AsyncIterable<Event>
  | (Iterable<Event | Promise<Event>> & object) // text is iterable too, and no source
  | WebStream<NoInfer<Event> | Uint8Array | ArrayBuffer>
  | NodeStream

/** As much of a `ReadableStream` as is read here, so that it may be Node's or the one of TypeScript's DOM library. */
interface WebStream<Chunk> {
  readonly locked: boolean
  getReader (): { read (): Promise<{ done: boolean, value?: Chunk | undefined }>, cancel (): Promise<void> }
}

/** A `Readable` without its iterator of `any`, for which the compiler would not look at what a generator yields. */
type NodeStream = Pick<Readable, 'on' | 'read' | 'pause' | 'resume' | 'destroy'>

/**
 * Where a stream's events come from. A function, usually an async generator function, is called only when the stream
 * is really opened: not for HEAD, and not when the client has already gone.
 */
export type Source<Event = SseEvent> =
  EventIterable<Event> | ((stream: StreamContext) => EventIterable<Event> | Promise<EventIterable<Event>>)

/**
 * Takes a source, to be drained when the hooks have run. An error of a stream until then, or of a promise in an array
 * that is never reached, has nobody to go to; it must not end the process, and is found again by whoever drains.
 *
 * @throws FST_ERR_SSE_SOURCE when it can be seen at once that something is no source
 */
export function takeSource (source: unknown): asserts source is Source<unknown> {
  if (typeof source === 'function') return
  calm(source)
  if (isReadableStream(source) ? source.locked : !isReadable(source) && !isIterable(source)) throw noSource(source)
}

/** Makes that no error which nobody has waited for yet, or will, ends the process. */
function calm (source: unknown): void {
  if (isReadable(source)) source.off('error', ignore).on('error', ignore)
  else if (Array.isArray(source) || source instanceof Set) source.forEach(ignoreRejection)
  else ignoreRejection(source)
}

/**
 * Begins to drain an iterable: gives the feed, which waits for its first `resume`.
 *
 * @throws FST_ERR_SSE_SOURCE when it is not an iterable
 */
export function feedOf (source: unknown, sink: Sink, context: FeedContext): Feed {
  if (hasFeed(source)) return source[FEED](sink, context)
  calm(source)
  takeOnce(source)
  if (isReadable(source)) return new Push(source, sink, context.options.maxBuffer)
  if (isReadableStream(source)) return new Pull(readerOf(source), sink)
  if (isIterable(source)) return new Pull(iteratorOf(source), sink)
  throw noSource(source)
}

const taken = new WeakSet<object>()

/** Two streams that drain the same iterator would each get a part of its events. */
function takeOnce (source: unknown): void {
  if (!isObject(source) || !(isReadable(source) || typeof source['next'] === 'function')) return
  if (taken.has(source)) {
    throw new FST_ERR_SSE_SOURCE(`${outline(source)} that a stream has drained already: hand over the function that makes it, or a channel`)
  }
  taken.add(source)
}

function noSource (source: unknown): Error {
  return new FST_ERR_SSE_SOURCE(isThenable(source) ? 'a promise: await it, or hand over the function that gives it' : outline(source))
}

/** Lets a source go that will not be drained, so that what it holds is freed. Nothing is started for it. */
export function discard (source: unknown): void {
  if (typeof source === 'function') return
  calm(source)
  try {
    if (isReadable(source)) source.destroy()
    else if (isReadableStream(source)) ignoreRejection(source.cancel())
    else if (isObject(source) && typeof source['return'] === 'function') ignoreRejection(source['return']())
  } catch {
    // It is to be forgotten anyway.
  }
}

function ignore (): void {}

function isReadable (source: unknown): source is Readable {
  return isObject(source) && ['on', 'read', 'pause', 'resume', 'destroy'].every(name => typeof source[name] === 'function')
}

function isReadableStream (source: unknown): source is ReadableStream {
  return isObject(source) && typeof source['getReader'] === 'function'
}

function isIterable (source: unknown): source is AsyncIterable<unknown> | Iterable<unknown> {
  return isObject(source) && (Symbol.asyncIterator in source || Symbol.iterator in source)
}

function isObject (value: unknown): value is Record<string | symbol, unknown> {
  return typeof value === 'object' && value !== null
}

function iteratorOf (source: AsyncIterable<unknown> | Iterable<unknown>): AnyIterator {
  return Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]()
}

/** A web stream's own iterator waits for a pending read before it cancels; a reader cancels at once. */
function readerOf (stream: ReadableStream): AnyIterator {
  const reader = stream.getReader()
  const chunks = new TextChunks()
  return {
    async next (): Promise<IteratorResult<unknown>> {
      for (;;) {
        const { done, value } = await reader.read()
        if (!done && !(value instanceof Uint8Array || value instanceof ArrayBuffer)) return { done: false, value }
        const text = done ? chunks.end() : chunks.decode(value)
        if (text !== '') return { done: false, value: text }
        if (done) return { done: true, value: undefined }
        if (turnIsOver()) await nextTurn()
      }
    },
    return: () => reader.cancel()
  }
}
