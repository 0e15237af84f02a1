import { inspect } from 'node:util'

/** A value as it reads in an error message: one short line, without the stack of an error, whose paths may be private. */
export function show (value: unknown): string {
  return inspect(value, { depth: 1, breakLength: Infinity, maxArrayLength: 5, maxStringLength: 80 })
    .replace(/\n\s+at .*/g, '')
    .replace(/\s*\n\s*/g, ' ')
    .slice(0, 200)
}
