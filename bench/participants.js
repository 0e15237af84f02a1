'use strict'

const { contestants } = require('./contestants')
const { lackOf } = require('./programs')

/**
 * A part as it can be run here: with the tables of its size, and without those who lack a program.
 *
 * @param {object} part one of parts/
 * @param {'full' | 'quick' | 'tiny'} size
 * @param {object} options
 * @param {string[]} [options.only] the contestants that are asked for; those that they are compared to take part too
 * @param {(contestant: object, reason: string) => void} options.onLack called for each who cannot take part here
 */
function prepare (part, size, { only, onLack }) {
  const { tables = () => [{ columns: part.columns }], chart = () => [] } = part
  const amounts = part.sizes[size]
  const wanted = tables(amounts)
  const base = wanted.flatMap(({ columns }) => columns.flatMap(({ over }) => over ?? []))
  const taking = contestants.filter(({ id }) => part.contestants.includes(id) && (only === undefined || [...only, ...base].includes(id)))

  const cannot = { ...part.cannot }
  for (const contestant of taking) {
    const reason = lackOf(contestant)
    if (reason === undefined) continue
    cannot[contestant.id] = reason
    onLack(contestant, reason)
  }
  const isThere = id => taking.some(contestant => contestant.id === id) && !Object.hasOwn(cannot, id)
  return {
    ...part,
    cannot,
    contestants: part.contestants.filter(isThere),
    tables: wanted.map(table => ({ ...table, columns: table.columns.filter(({ over }) => over === undefined || isThere(over)) })),
    chart: typeof chart === 'function' ? chart(amounts) : chart
  }
}

module.exports = { prepare }
