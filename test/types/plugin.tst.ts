import Fastify from 'fastify'
import { expect, test } from 'tstyche'
import ssePlugin, { type SseOptions } from '../../plugin/index'

const app = Fastify()

test('the plugin registers with its options', () => {
  expect(app.register).type.toBeCallableWith(ssePlugin)
  expect(app.register).type.toBeCallableWith(ssePlugin, { heartbeat: 1000 })
  expect(app.register).type.not.toBeCallableWith(ssePlugin, { heartbeat: 'often' })
})

test('one type goes by two names', () => {
  expect<SseOptions>().type.toBe<ssePlugin.SseOptions>()
})
