/* global ResizeObserver */

const WINDOW_MS = 60_000
const RIGHT = 2
const LEFT = 52
const TOP = 8
const BOTTOM = 22

/** A line over the last minute, drawn into an SVG element. */
export class Chart {
  #svg
  #valueOf
  #scaleOf
  #label
  #drawn = { samples: [], now: 0 }

  /**
   * @param svg the element to draw into
   * @param valueOf gives the value of a sample
   * @param scaleOf gives the top of the scale for some samples
   * @param label gives the text of a value at the scale
   */
  constructor (svg, { valueOf, scaleOf, label }) {
    this.#svg = svg
    this.#valueOf = valueOf
    this.#scaleOf = scaleOf
    this.#label = label
    new ResizeObserver(() => this.draw(this.#drawn)).observe(svg)
  }

  /** @param now the time at the right edge, on the clock of the samples */
  draw ({ samples, now }) {
    this.#drawn = { samples, now }
    const { width, height } = this.#svg.getBoundingClientRect()
    if (width === 0) return

    const top = samples.length === 0 ? 1 : this.#scaleOf(samples)
    const [right, bottom] = [width - RIGHT, height - BOTTOM]
    const x = ({ time }) => right - (now - time) / WINDOW_MS * (right - LEFT)
    const y = (value) => bottom - value / top * (bottom - TOP)
    const point = (sample) => `${x(sample).toFixed(1)} ${y(this.#valueOf(sample)).toFixed(1)}`

    const nodes = []
    for (const run of replayedRuns(samples)) {
      const from = Math.max(LEFT, x(run[0]))
      nodes.push(svg('rect', { class: 'away', x: from, y: TOP, width: Math.max(0, x(run.at(-1)) - from), height: bottom - TOP }))
    }
    for (const value of [0, top / 2, top]) {
      nodes.push(svg('path', { class: value === 0 ? 'zero' : 'grid', d: `M${LEFT} ${crisp(y(value))}H${right}` }))
      nodes.push(svg('text', { x: LEFT - 8, y: y(value) + 4, 'text-anchor': 'end' }, this.#label(value)))
    }
    for (const run of contiguousRuns(samples)) {
      const line = run.map(point).join('L')
      nodes.push(svg('path', { class: 'area', d: `M${x(run[0])} ${bottom}L${line}L${x(run.at(-1))} ${bottom}Z` }))
      nodes.push(svg('path', { class: 'line', d: `M${line}` }))
    }
    for (const sample of samples.filter(({ isReplayed }) => isReplayed)) {
      nodes.push(svg('circle', { class: 'replayed', cx: x(sample), cy: y(this.#valueOf(sample)), r: 3 }))
    }
    nodes.push(svg('text', { x: LEFT, y: height - 4 }, '1 min ago'))
    nodes.push(svg('text', { x: (LEFT + right) / 2, y: height - 4, 'text-anchor': 'middle' }, '30 s'))
    nodes.push(svg('text', { x: right, y: height - 4, 'text-anchor': 'end' }, 'now'))
    this.#svg.replaceChildren(...nodes)
  }
}

/** Only the samples that are in the chart's time. */
export function inWindow (samples, now) {
  return samples.filter(({ time }) => now - time <= WINDOW_MS)
}

/** Samples without a hole between them: where one is missing the line is broken. */
function contiguousRuns (samples) {
  return runsOf(samples, (before, sample) => sample.number === before.number + 1)
}

function replayedRuns (samples) {
  return runsOf(samples, (before, sample) => sample.isReplayed).filter((run) => run.length > 1)
}

function runsOf (samples, continues) {
  const runs = []
  for (const sample of samples) {
    const run = runs.at(-1)
    if (run !== undefined && continues(run.at(-1), sample)) run.push(sample)
    else runs.push([sample])
  }
  return runs
}

function svg (name, attributes, text = '') {
  const node = document.createElementNS('http://www.w3.org/2000/svg', name)
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value)
  node.textContent = text
  return node
}

const crisp = (value) => Math.round(value) + 0.5
