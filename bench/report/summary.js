'use strict'

const { contestants } = require('../contestants')
const { median, ratio } = require('./statistics')

/**
 * What was measured in a part, as it is reported: in each table a row for each contestant that has a value in it, with a
 * cell for each column, the ratio to the same round of another contestant where the column is `over` that, and the
 * samples behind it.
 */
function summarize (name, part, samples, rounds) {
  const samplesOf = (id, key) => samples.get(id).map(values => values[key])
  const cellOf = (id, { key, over }) => {
    const own = samplesOf(id, key)
    if (own.includes(undefined)) return null
    if (over === undefined) return { value: median(own), min: Math.min(...own), max: Math.max(...own), samples: own }
    const base = samplesOf(over, key)
    return base.includes(undefined) ? null : { value: ratio(own, base) }
  }
  const rowsOf = columns => contestants
    .filter(({ id }) => samples.has(id))
    .map(({ id, name }) => ({ id, name, cells: columns.map(column => cellOf(id, column)) }))
    .filter(({ cells }) => cells.some(cell => cell !== null))
  const tables = part.tables.map(({ title, columns }) => ({ title, columns, rows: rowsOf(columns) }))
  const { title, method, chart, cannot } = part
  return { name, title, method, rounds, tables, chart, cannot }
}

module.exports = { summarize }
