'use strict'

// The figures as bars, in an SVG that brings its own background, light or dark as the reader has it.

const { contestant } = require('./names')
const { rounded } = require('./markdown')

const WIDTH = 420
const PADDING = 16
const NAMES = 168
const VALUES = 44
const BAR = 11
const ROW = 17
const TITLE = 26

const STYLE = `
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 } .value { font-size: 11px; fill: #59636e }
.card { fill: #ffffff } .peer { fill: #8c959f } .limit { fill: #d1d9e0 } .ours { fill: #0969da }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc } .value { fill: #9198a1 }
  .card { fill: #0d1117 } .peer { fill: #6e7681 } .limit { fill: #3d444d } .ours { fill: #4493f8 }
}`

/** A result as an SVG image, `undefined` where no part of it has a chart. Shorter bars are better in all of them. */
function toChart ({ parts }) {
  const panels = parts
    .flatMap(part => part.chart.map(({ key, title }) => ({ title, bars: barsOf(part, key) })))
    .filter(({ bars }) => bars.length > 0)
  if (panels.length === 0) return undefined

  const columns = Math.min(2, panels.length)
  const heights = []
  for (let i = 0; i < panels.length; i += columns) {
    heights.push(Math.max(...panels.slice(i, i + columns).map(({ bars }) => TITLE + bars.length * ROW)) + PADDING)
  }
  const width = columns * WIDTH
  const height = heights.reduce((sum, height) => sum + height, PADDING)
  const drawn = panels.map((panel, i) => {
    const top = heights.slice(0, Math.floor(i / columns)).reduce((sum, height) => sum + height, PADDING)
    return `<g transform="translate(${i % columns * WIDTH + PADDING} ${top})">\n${draw(panel)}\n</g>`
  })
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">`,
    `<title>${panels.map(({ title }) => title).join('; ')}</title>`,
    `<style>${STYLE}\n</style>`,
    `<rect class="card" width="${width}" height="${height}" rx="8"/>`,
    ...drawn,
    '</svg>'
  ].join('\n') + '\n'
}

function barsOf ({ tables }, key) {
  return tables
    .flatMap(({ columns, rows }) => {
      const column = columns.findIndex(column => column.key === key && column.over === undefined)
      return rows
        .filter(({ cells }) => column >= 0 && cells[column] !== null)
        .map(({ id, name, cells }) => ({ name, value: cells[column].value, kind: kindOf(contestant(id)) }))
    })
    .sort((a, b) => a.value - b.value)
}

function kindOf ({ ours, limit }) {
  if (ours) return 'ours'
  return limit ? 'limit' : 'peer'
}

function draw ({ title, bars }) {
  const longest = Math.max(...bars.map(({ value }) => value))
  const scale = (WIDTH - 2 * PADDING - NAMES - VALUES) / longest
  const rows = bars.map(({ name, value, kind }, i) => {
    const top = TITLE + i * ROW
    const length = Math.max(1, value * scale)
    return `<text x="${NAMES - 8}" y="${top + BAR - 1}" text-anchor="end">${name}</text>` +
      `<rect class="${kind}" x="${NAMES}" y="${top}" width="${length.toFixed(1)}" height="${BAR}" rx="2"/>` +
      `<text class="value" x="${(NAMES + length + 5).toFixed(1)}" y="${top + BAR - 1}">${rounded(value, longest < 100 ? 2 : 0)}</text>`
  })
  return [`<text class="title" y="12">${title}</text>`, ...rows].join('\n')
}

module.exports = { toChart }
