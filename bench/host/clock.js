'use strict'

/** Milliseconds, with fractions, of a clock that all processes of the machine share. */
function now () {
  return Number(process.hrtime.bigint()) / 1e6
}

module.exports = { now }
