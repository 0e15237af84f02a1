'use strict'

// The events of every workload: what the time is, one millisecond later in each. So a client can tell from its count
// alone what the data of the event that has just arrived must be, and a lost, doubled or misplaced one shows.

const FIRST = Date.UTC(2026, 0, 1)
const STAMP = /2026-\d\d-\d\dT[\d:.]+Z/

/** The data of the n-th event of a stream, counted from 0; always of the same length. */
function stamp (n) {
  return new Date(FIRST + n).toISOString()
}

/** Which event it is whose data this is or contains; `NaN` if it is none. */
function numberOf (data) {
  return Date.parse(STAMP.exec(data)?.[0]) - FIRST
}

/** A small event, as a clock would send it. */
function tick (n) {
  return { event: 'tick', data: stamp(n) }
}

const FILLING = '.'.repeat(200 - 'event: tick\ndata: \n\n'.length - stamp(0).length)

/** An event of 200 bytes, as it goes over the wire without an ID. */
function medium (n) {
  return { event: 'tick', data: stamp(n) + FILLING }
}

const PADDING = '.'.repeat(4096 - stamp(0).length)

/** An event with 4 KiB of data: of its own, not a string that refers to the padding of all. */
function large (n) {
  return { event: 'tick', data: Buffer.from(stamp(n) + PADDING).toString('latin1') }
}

module.exports = { stamp, numberOf, tick, medium, large }
