import { types } from 'node:util'

/** Whether a value is to be waited for, as `await` sees it. */
export function isThenable (value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}

/**
 * Nobody may wait for it: its rejection, if it is a promise, must not end the process. Other thenables are left alone:
 * there are queries that are run by `then`.
 */
export function ignoreRejection (value: unknown): void {
  if (types.isPromise(value)) value.catch(ignore)
}

function ignore (): void {}
