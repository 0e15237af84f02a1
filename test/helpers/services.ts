import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import type { Test } from 'tap'

/**
 * The path of a program that the test cannot do without. Where it is missing the test is skipped with the reason and
 * the path is undefined; with EVENT_STREAM_REQUIRE_SERVICES set, as in CI, the test fails instead.
 */
function service (t: Test, name: string): string | undefined {
  // Debian keeps servers where only root's path leads.
  const path = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin'].map(dir => join(dir, name)).find(existsSync)
  if (path !== undefined) return path

  const reason = `${name} is not installed: npm run services`
  if (process.env['EVENT_STREAM_REQUIRE_SERVICES']) throw new Error(reason)
  t.plan(0, reason)
  return undefined
}

/**
 *     const executablePath = chromium(t)
 *     if (executablePath === undefined) return
 */
export const chromium = (t: Test) => service(t, 'chromium')
export const redisServer = (t: Test) => service(t, 'redis-server')
export const nginx = (t: Test) => service(t, 'nginx')
export const haproxy = (t: Test) => service(t, 'haproxy')
