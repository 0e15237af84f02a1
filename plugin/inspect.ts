import { inspect } from 'node:util'

/** A value as it reads in an error message: one short line, whatever it is. */
export function show (value: unknown): string {
  return inspect(value, { depth: 1, breakLength: Infinity, maxArrayLength: 5, maxStringLength: 80 }).slice(0, 200)
}
