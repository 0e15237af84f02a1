/* global EventSource */

const BARS = 80
const BAR_MS = 125
const TALLEST = 6

/** The line that shows what the model does, and its pulse: the tokens of the last ten seconds. */
export class Upstream {
  #parts
  #source = null
  #written
  #bars = []
  #stops = []
  #growing = 0

  constructor (parts) {
    this.#parts = parts
    setInterval(() => this.#beat(), BAR_MS)
  }

  open () {
    this.#source?.close()
    const source = this.#source = new EventSource('/upstream')
    source.addEventListener('activity', ({ data }) => this.#show(JSON.parse(data)))
    source.addEventListener('error', () => {
      this.#written = undefined
      this.#setState('unknown', source.readyState === EventSource.CLOSED
        ? 'What the model does is not known here'
        : 'The server cannot be reached')
    })
  }

  close () {
    this.#source?.close()
  }

  /** Marks the moment at which the page has stopped an answer. */
  markStop () {
    this.#stops.push(-1)
  }

  #show ({ answers, tokens }) {
    this.#setState(answers === 0 ? 'idle' : 'writing', `The model is writing ${answers} ${answers === 1 ? 'answer' : 'answers'}`)
    this.#parts.total.textContent = tokens.toLocaleString('en')
    // What was written before this page looked is no pulse, and a server that has started anew counts anew.
    this.#growing += Math.max(0, tokens - (this.#written ?? tokens))
    this.#written = tokens
  }

  #setState (state, text) {
    this.#parts.upstream.dataset.state = state
    if (this.#parts.activity.textContent !== text) this.#parts.activity.textContent = text
  }

  #beat () {
    const wasQuiet = this.#bars.every((bar) => bar === 0) && this.#stops.length === 0
    this.#bars = [...this.#bars, this.#growing].slice(-BARS)
    this.#stops = this.#stops.map((age) => age + 1).filter((age) => age < BARS)
    if (wasQuiet && this.#growing === 0) return
    this.#growing = 0
    this.#draw()
  }

  #draw () {
    const { pulse } = this.#parts
    const { width, height } = pulse.getBoundingClientRect()
    const x = (age) => (width - (age + 0.5) * width / BARS).toFixed(1)
    const tall = Math.max(TALLEST, ...this.#bars)
    const bars = this.#bars.map((count, i) => count === 0 ? '' : `M${x(this.#bars.length - 1 - i)} ${height}v${(-count / tall * height).toFixed(1)}`)
    pulse.replaceChildren(
      path('bars', bars.join(''), Math.max(1, width / BARS - 1)),
      path('stops', this.#stops.map((age) => `M${x(age - 0.5)} 0V${height}`).join(''), 2)
    )
  }
}

function path (name, d, width) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', 'path')
  for (const [key, value] of Object.entries({ class: name, d, 'stroke-width': width })) node.setAttribute(key, value)
  return node
}
