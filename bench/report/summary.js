'use strict'

const { contestants } = require('../contestants')
const { median, ratio } = require('./statistics')

/**
 * What was measured in a part, as it is reported: a row for each contestant, with a cell for each column that has a
 * value, the ratio to the same round of another contestant where the column is `over` that, and the samples behind it.
 */
function summarize (name, part, samples, rounds) {
  const samplesOf = (id, key) => samples.get(id).map(values => values[key])
  const row = ({ id, name }) => ({
    id,
    name,
    cells: part.columns.map(({ key, over }) => {
      const own = samplesOf(id, key)
      if (own.includes(undefined)) return null
      if (over !== undefined) return { value: ratio(own, samplesOf(over, key)) }
      return { value: median(own), min: Math.min(...own), max: Math.max(...own), samples: own }
    })
  })
  const { title, method, columns, chart = [], cannot = {} } = part
  const rows = contestants.filter(({ id }) => samples.has(id)).map(row)
  return { name, title, method, rounds, columns, chart, rows, cannot }
}

module.exports = { summarize }
