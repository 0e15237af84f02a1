import Fastify from 'fastify'
import { PassThrough } from 'node:stream'
import { ReadableStream } from 'node:stream/web'
import { expect, test } from 'tstyche'
import ssePlugin, { type SseEvent, type SseOptions } from '../../plugin/index'

const app = Fastify()

interface Clock {
  tick: { now: string }
  message: string
}

test('the plugin registers with its options', () => {
  expect(app.register).type.toBeCallableWith(ssePlugin)
  expect(app.register).type.toBeCallableWith(ssePlugin, { heartbeat: 1000 })
  expect(app.register).type.not.toBeCallableWith(ssePlugin, { heartbeat: 'often' })
})

test('one type goes by two names', () => {
  expect<SseOptions>().type.toBe<ssePlugin.SseOptions>()
})

app.get('/', (request, reply) => {
  test('request.lastEventId is a string', () => {
    expect(request.lastEventId).type.toBe<string>()
  })

  test('every kind of source is taken', () => {
    expect(reply.sse).type.toBeCallableWith(async function * ({ signal, lastEventId, log }: ssePlugin.StreamContext) {
      expect(signal).type.toBe<AbortSignal>()
      expect(lastEventId).type.toBe<string>()
      log.info('open')
      yield 'text'
      yield { id: 1, event: 'tick', data: { any: 'thing' }, retry: 5, comment: 'c' }
    })
    expect(reply.sse).type.toBeCallableWith((async function * () { yield 'text' })())
    expect(reply.sse).type.toBeCallableWith((function * () { yield 'text' })())
    expect(reply.sse).type.toBeCallableWith(['text', { data: 1 }])
    expect(reply.sse).type.toBeCallableWith([Promise.resolve('text')])
    expect(reply.sse).type.toBeCallableWith(new PassThrough({ objectMode: true }))
    expect(reply.sse).type.toBeCallableWith(new ReadableStream<Uint8Array>())
    expect(reply.sse).type.toBeCallableWith(new ReadableStream<SseEvent>())
    expect(reply.sse).type.toBeCallableWith(async () => new ReadableStream<Uint8Array>())
    expect(reply.sse).type.toBeCallableWith(async () => (await fetch('http://127.0.0.1/')).body ?? [])
    expect(reply.sse).type.not.toBeCallableWith(5)
    expect(reply.sse).type.not.toBeCallableWith({ data: 'an event is no source' })
  })

  test('what is not an event is not yielded', () => {
    expect(reply.sse).type.not.toBeCallableWith(async function * () { yield 5 })
    expect(reply.sse).type.not.toBeCallableWith(async function * () { yield undefined })
    expect(reply.sse).type.not.toBeCallableWith(async function * () { yield { evnt: 'tick' } })
    expect(reply.sse).type.not.toBeCallableWith(async function * () { yield { event: 'tick', dta: 1 } })
    expect(reply.sse).type.not.toBeCallableWith(async function * () { yield { data: 1, id: true } })
    expect(reply.sse).type.not.toBeCallableWith([{ data: 1, other: 2 }])
  })

  test('the context of a source function is inferred', () => {
    reply.sse(async function * (stream) {
      expect(stream).type.toBe<ssePlugin.StreamContext>()
      yield { data: stream.lastEventId }
    })
  })

  test('a map of events types what may be yielded', () => {
    reply.sse<Clock>(async function * () {
      yield { event: 'tick', data: { now: 'noon' }, id: 1 }
      yield { data: 'text' }
      yield 'text'
      yield { retry: 1000 }
      yield { id: '', comment: 'reset' }
    })
    expect(reply.sse<Clock>).type.not.toBeCallableWith(async function * () { yield { event: 'tock' as const, data: { now: '' } } })
    expect(reply.sse<Clock>).type.not.toBeCallableWith(async function * () { yield { event: 'tick' as const, data: { now: 1 } } })
    expect(reply.sse<Clock>).type.not.toBeCallableWith(async function * () { yield { event: 'tick' as const } })
    expect(reply.sse<Clock>).type.not.toBeCallableWith(async function * () { yield { data: 1 } })
    expect(reply.sse<{ tick: string }>).type.not.toBeCallableWith(async function * () { yield 'unnamed' })
  })

  test('options are checked', () => {
    expect(reply.sse).type.toBeCallableWith([], { retry: { min: 1, max: 2 }, maxAge: new Date(), heartbeat: false as const })
    expect(reply.sse).type.not.toBeCallableWith([], { hartbeat: 1 })
  })

  return reply
})
