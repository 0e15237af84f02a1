import { chromium, type Browser } from 'playwright-core'
import type { Test } from 'tap'
import { chromium as chromiumPath } from './services'

const ARGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync'
]

/** Starts a headless Chromium, and ends it with the test. Where there is none, the test is skipped: see `services`. */
export async function startBrowser (t: Test): Promise<Browser | undefined> {
  const executablePath = chromiumPath(t)
  if (executablePath === undefined) return undefined
  const browser = await chromium.launch({ executablePath, args: ARGS })
  t.teardown(() => browser.close())
  return browser
}
