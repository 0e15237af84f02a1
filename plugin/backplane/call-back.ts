import { inspect } from 'node:util'

/** Calls a listener. Where it throws, the process is warned: others are still to be told, and whoever publishes is not to blame. */
export function callBack (call: () => void): void {
  try {
    call()
  } catch (error) {
    process.emitWarning(`A listener of a backplane threw: ${inspect(error)}`)
  }
}
