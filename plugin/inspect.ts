import { inspect, types } from 'node:util'

const SHOWN_KEYS = 10

/** A value as it reads in an error message: one short line, without the stack of an error, whose paths may be private. */
export function show (value: unknown): string {
  return oneLine(inspect(value, { depth: 1, breakLength: Infinity, maxArrayLength: 5, maxStringLength: 80 }).replace(/\n\s+at .*/g, ''))
}

/**
 * As `show`, without what lies within an object: for values that may be meant for one client only, or not for clients as
 * they are, in messages that an error handler may send.
 */
export function outline (value: unknown): string {
  if (typeof value !== 'object' || value === null || value instanceof Date) return show(value)
  if (types.isProxy(value)) return 'a Proxy'
  if (Array.isArray(value)) return `an array of ${value.length}`
  if (ArrayBuffer.isView(value)) return `${value.byteLength} bytes`
  if (value instanceof Error) return oneLine(String(value))
  const keys = Object.keys(value)
  if (keys.length === 0) return Object.prototype.toString.call(value)
  return oneLine(`an object with ${keys.slice(0, SHOWN_KEYS).join(', ')}${keys.length > SHOWN_KEYS ? ', …' : ''}`)
}

function oneLine (text: string): string {
  return text.replace(/\s*\n\s*/g, ' ').slice(0, 200)
}
