import { once } from 'node:events'
import { createServer } from 'node:net'

/** A port that was free a moment ago. */
export async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('There is no free port')
  return address.port
}

/**
 * The ports of so many processes: the same for all, or one for each, which are those that come after it.
 *
 * @param port where 0 is any that is free
 */
export async function portsOf (count: number, port: number, kind: 'same' | 'own'): Promise<number[]> {
  const portOf = (place: number): number | Promise<number> => port === 0 ? freePort() : kind === 'own' ? port + 1 + place : port
  if (kind === 'own') return Promise.all(Array.from({ length: count }, (_, place) => portOf(place)))
  return Array.from<number>({ length: count }).fill(await portOf(0))
}
