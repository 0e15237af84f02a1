'use strict'

const { nameOf } = require('./names')

const CAVEATS = {
  quick: 'Small counts and few rounds: rough figures.',
  tiny: 'Tiny counts, only to see that everything works: the figures mean nothing.'
}

/** A result as tables in Markdown. */
function toMarkdown ({ command, date, size, machine, versions, parts }) {
  const packages = Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(', ')
  return [
    `\`${command}\`, ${date.slice(0, 10)}, on Node ${machine.node.slice(1)}; ${machine.cpu}; ${machine.memory}; ${machine.system}; ` +
    (machine.pinned ? 'server and client on a CPU each.' : 'server and client not pinned to a CPU.'),
    `${packages}.`,
    ...size in CAVEATS ? [CAVEATS[size]] : [],
    'Medians of the rounds, the lowest and the highest in brackets. A ratio is the median of the ratios of each round.',
    ...parts.flatMap(section)
  ].join('\n\n') + '\n'
}

function section ({ title, method, note, rounds, tables, cannot }) {
  return [
    `### ${title}`,
    `${method} ${rounds === 1 ? '1 round' : `${rounds} rounds`}.`,
    ...tables.flatMap(table),
    ...Object.entries(cannot).map(([id, reason]) => `${nameOf(id)}: not measured, ${reason}.`),
    ...note === undefined ? [] : [note]
  ]
}

function table ({ title, columns, rows }) {
  if (rows.length === 0) return []
  const lines = [
    ['', ...columns.map(heading)],
    ['---', ...columns.map(() => '---:')],
    ...rows.map(({ id, name, cells }) => [name, ...cells.map((cell, i) => format(cell, columns[i], id))])
  ]
  return [
    ...title === undefined ? [] : [`${title}:`],
    lines.map(cells => `| ${cells.join(' | ')} |`).join('\n')
  ]
}

function heading ({ title, unit, over }) {
  if (over !== undefined) return `÷ ${nameOf(over)}`
  return unit === undefined ? title : `${title}, ${unit}`
}

function format (cell, { digits = 2, over, yesNo }, id) {
  if (cell === null) return '–'
  if (yesNo) return cell.value > 0 ? 'yes' : 'no'
  if (over !== undefined) return over === id ? '1' : cell.value.toFixed(2)
  const [value, min, max] = [cell.value, cell.min, cell.max].map(number => rounded(number, digits))
  return min === max ? value : `${value} (${min}–${max})`
}

function rounded (number, digits) {
  return number.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

module.exports = { toMarkdown, rounded }
