import { EventEmitter, once } from 'node:events'
import { FST_ERR_SSE_BACKPLANE } from '../../errors'
import type { RedisBackplane } from './backplane'

const MESSAGE = { data: '', isJson: false, isEnd: false }
const HISTORY = { size: 1, maxAge: 60_000, maxBytes: 1_000, isLatest: true }

/**
 * Does everything once, on a channel that nobody uses: what is not allowed in this Redis is to be known at the start,
 * and not when it is needed.
 *
 * @param timeout for a message to be heard, in milliseconds
 * @throws FST_ERR_SSE_BACKPLANE with the reason
 */
export async function rehearse (backplane: RedisBackplane, channel: string, timeout: number): Promise<void> {
  const events = new EventEmitter()
  const tell = (): void => { events.emit('heard') }
  const heard = once(events, 'heard', { signal: AbortSignal.timeout(timeout) })
    .catch(() => { throw new FST_ERR_SSE_BACKPLANE('a message that was published to Redis was not heard from it') })
  try {
    await Promise.all([heard, useAll(backplane, channel, tell)])
  } finally {
    await backplane.forget(channel).catch(() => {})
  }
}

async function useAll (backplane: RedisBackplane, channel: string, tell: () => void): Promise<void> {
  const unsubscribe = await backplane.subscribe(channel, { entry: tell, interrupted: tell })
  // Another takes the place of the first, and a third, of another name, that of the second.
  for (const [key, event] of ['first', 'first', 'second'].entries()) {
    await backplane.publish(channel, { ...MESSAGE, event }, { history: HISTORY, idempotencyKey: String(key), idempotencyWindow: 1 })
  }
  await backplane.read(channel, 0, HISTORY)
  await backplane.position(channel)
  await unsubscribe()
}
