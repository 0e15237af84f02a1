'use strict'

const LONGEST_WAIT_MS = 60_000

/** Waits for a promise, but not for ever: then it fails with what did not happen. */
function within (what, promise) {
  let timer
  const late = new Promise((resolve, reject) => {
    timer = setTimeout(() => { reject(new Error(`Waited in vain for ${what}`)) }, LONGEST_WAIT_MS)
  })
  return Promise.race([promise, late]).finally(() => { clearTimeout(timer) })
}

module.exports = { within }
