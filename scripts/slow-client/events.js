'use strict'

// The events that are published: all of one size, their names in turn.

const NAMES = ['spring', 'summer', 'autumn', 'winter']
const DATA_BYTES = 16_000

const TIME_DIGITS = 13
const FILL = 'x'.repeat(DATA_BYTES - TIME_DIGITS)

/** @param time in milliseconds since 1970, which has so many digits until 2286 */
function toData (time) {
  return time + FILL
}

module.exports = { NAMES, DATA_BYTES, TIME_DIGITS, toData }
