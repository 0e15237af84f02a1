/* global addEventListener, EventSource, location, Option, requestAnimationFrame, ResizeObserver */

const TICKS = 60
const ROWS = 8

const clocks = [
  {
    path: '/stream',
    note: 'As the bare Node server sent it: the time, once a second.',
    names: ['connecttime', 'message'],
    tick: 'message',
    retry: 10_000,
    every: 1000
  },
  {
    path: '/get',
    note: 'As the Java servlet sent it: events named cur-time.',
    names: ['cur-time'],
    tick: 'cur-time',
    retry: 1000,
    every: 1000,
    choices: [100, 250, 500, 1000, 5000]
  }
]

class Clock {
  #settings
  #every
  #source = null
  #state = ''
  #stateSince = 0
  #events = 0
  #connections = 0
  #ticks = 0
  #lastTick = 0
  #deviations = []
  #rows = []
  #time = null
  #angles = { hour: 0, minute: 0, second: 0 }
  #frame = 0
  #root
  #parts = {}
  #hands = {}

  constructor (settings) {
    this.#settings = settings
    this.#every = settings.every
    this.#root = document.getElementById('clock').content.cloneNode(true).firstElementChild
    for (const node of this.#root.querySelectorAll('[data-part]')) this.#parts[node.dataset.part] = node
    for (const node of this.#root.querySelectorAll('[data-hand]')) this.#hands[node.dataset.hand] = node

    const heading = this.#root.querySelector('h2')
    heading.textContent = settings.path
    heading.id = `clock${settings.path.replace('/', '-')}`
    this.#root.setAttribute('aria-labelledby', heading.id)
    this.#parts.subject.textContent = settings.path
    this.#parts.note.textContent = settings.note
    this.#parts.retry.textContent = interval(settings.retry)
    this.#parts.stop.addEventListener('click', () => this.close())
    this.#parts.reconnect.addEventListener('click', () => this.open())
    if (settings.choices) this.#offer(settings.choices)
    else this.#parts.every.textContent = interval(settings.every)

    document.getElementById('clocks').append(this.#root)
    new ResizeObserver(() => this.#drawSoon()).observe(this.#root)
    setInterval(() => this.#drawSince(), 1000)
  }

  open () {
    this.#source?.close()
    this.#setState('connecting')

    const url = new URL(this.#settings.path, location.href)
    if (this.#settings.choices) url.searchParams.set('every', this.#every)
    this.#parts.curl.textContent = `curl -N '${url}'`

    const source = this.#source = new EventSource(url)
    source.addEventListener('open', () => {
      this.#connections++
      this.#ticks = 0
      this.#setState('open')
    })
    // A lost connection is `connecting`: the browser comes back by itself. An answer that is no stream is final.
    source.addEventListener('error', () => {
      this.#setState(source.readyState === EventSource.CLOSED ? 'closed' : 'connecting')
    })
    for (const name of this.#settings.names) source.addEventListener(name, (event) => this.#receive(event))
  }

  close () {
    this.#source?.close()
    this.#source = null
    this.#setState('closed')
  }

  get isClosed () { return this.#state === 'closed' }

  #offer (choices) {
    const select = document.createElement('select')
    select.ariaLabel = 'Every'
    for (const ms of choices) select.add(new Option(interval(ms), ms, false, ms === this.#every))
    this.#parts.every.append(select)
    select.addEventListener('change', () => {
      this.#every = Number(select.value)
      this.#deviations = []
      this.open()
    })
  }

  #receive (event) {
    this.#events++
    this.#time = new Date(event.data)
    this.#rows.unshift([clockTime(new Date(performance.timeOrigin + event.timeStamp)), event])
    this.#rows.length = Math.min(this.#rows.length, ROWS)
    if (event.type === this.#settings.tick) this.#measure(event.timeStamp)
    this.#drawSoon()
  }

  // A connection's first tick is left out: it is sent as the stream opens, and waits for the page to load.
  #measure (now) {
    if (this.#ticks > 1) this.#deviations.push(now - this.#lastTick - this.#every)
    if (this.#deviations.length > TICKS) this.#deviations.shift()
    this.#lastTick = now
    this.#ticks++
  }

  #setState (state) {
    if (this.#state !== state) {
      this.#stateSince = Date.now()
      this.#parts.state.textContent = state
      this.#root.dataset.state = state
      this.#parts.stop.setAttribute('aria-disabled', state === 'closed')
    }
    this.#state = state
    this.#drawSince()
    this.#drawSoon()
  }

  // Once a frame at most, and not at all while nobody looks.
  #drawSoon () {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0
      this.#draw()
    })
  }

  #draw () {
    this.#parts.events.textContent = this.#events
    this.#parts.connections.textContent = this.#connections
    if (this.#time) this.#drawTime(this.#time)
    this.#drawEvents()
    this.#drawChart()
  }

  #drawSince () {
    this.#parts.since.textContent = `for ${duration(Date.now() - this.#stateSince)}`
  }

  #drawTime (time) {
    const seconds = time.getSeconds() + time.getMilliseconds() / 1000
    const minutes = time.getMinutes() + seconds / 60
    this.#turn('second', (this.#every < 1000 ? seconds : Math.floor(seconds)) * 6)
    this.#turn('minute', minutes * 6)
    this.#turn('hour', (time.getHours() % 12 + minutes / 60) * 30)

    const [whole, fraction] = clockTime(time).split('.')
    const small = document.createElement('small')
    small.textContent = `.${fraction}`
    this.#parts.time.replaceChildren(whole, small)
    this.#parts.time.dateTime = time.toISOString()
  }

  // The shorter way round, so that passing twelve does not spin a hand back over the whole dial.
  #turn (hand, angle) {
    const before = this.#angles[hand]
    const by = ((angle - before) % 360 + 540) % 360 - 180
    this.#angles[hand] = before + by
    this.#hands[hand].style.transform = `rotate(${this.#angles[hand]}deg)`
  }

  #drawEvents () {
    const rows = this.#rows.map(([arrived, event]) => {
      const row = document.createElement('tr')
      const id = event.lastEventId && `#${event.lastEventId} `
      for (const text of [arrived, event.type, `${id}${event.data}`]) row.insertCell().textContent = text
      return row
    })
    this.#root.querySelector('tbody').replaceChildren(...rows)
  }

  #drawChart () {
    const chart = this.#root.querySelector('.chart')
    const { width, height } = chart.getBoundingClientRect()
    if (width === 0) return

    const values = this.#deviations
    const scale = niceScale(Math.max(...values.map(Math.abs)))
    const [left, right, top, bottom] = [60, width - 2, 8, height - 24]
    const middle = (top + bottom) / 2
    const y = (value) => middle - value / scale * (middle - top)
    const step = (right - left) / TICKS
    const x = (ticksAgo) => right - (ticksAgo + 0.5) * step

    const nodes = []
    for (const value of [scale, scale / 2, 0, -scale / 2, -scale]) {
      nodes.push(svg('path', { class: value === 0 ? 'zero' : 'grid', d: `M${left} ${crisp(y(value))}H${right}` }))
      const label = value === scale ? `${signed(value)} ms` : signed(value)
      nodes.push(svg('text', { x: left - 8, y: y(value) + 4, 'text-anchor': 'end' }, label))
    }
    const bars = values.map((value, i) => `M${x(values.length - 1 - i).toFixed(1)} ${middle}V${y(value).toFixed(1)}`)
    nodes.push(svg('path', { class: 'bars', d: bars.join(''), 'stroke-width': Math.max(2, step - 3) }))
    nodes.push(svg('text', { x: left, y: height - 4 }, `${TICKS} ticks ago`))
    nodes.push(svg('text', { x: (left + right) / 2, y: height - 4, 'text-anchor': 'middle' }, `${TICKS / 2}`))
    nodes.push(svg('text', { x: right, y: height - 4, 'text-anchor': 'end' }, 'now'))
    chart.replaceChildren(...nodes)

    const summary = values.length === 0
      ? `off from ${this.#every} ms`
      : `off from ${this.#every} ms: median ${signed(median(values), 1)}, worst ${signed(worst(values), 1)} ms`
    this.#parts.jitter.textContent = summary
    chart.setAttribute('aria-label', `Bar chart of the last ${values.length} ticks, ${summary}`)
  }
}

function svg (name, attributes, text = '') {
  const node = document.createElementNS('http://www.w3.org/2000/svg', name)
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value)
  node.textContent = text
  return node
}

// The next of 2, 5, 10, 20, 50 …: the scale then changes seldom, and its half is a number one can read.
function niceScale (max) {
  let scale = 2
  for (let i = 0; scale < max; i++) scale *= i % 3 === 0 ? 2.5 : 2
  return scale
}

const interval = (ms) => ms < 1000 ? `${ms} ms` : `${ms / 1000} s`
const crisp = (value) => Math.round(value) + 0.5
const worst = (values) => values.reduce((a, b) => Math.abs(b) > Math.abs(a) ? b : a)
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1]

function signed (value, digits) {
  const text = digits === undefined ? String(Math.abs(value)) : Math.abs(value).toFixed(digits)
  return Number(text) === 0 ? text : `${value < 0 ? '\u2212' : '+'}${text}`
}

function clockTime (date) {
  const pad = (value, digits = 2) => String(value).padStart(digits, '0')
  const whole = [date.getHours(), date.getMinutes(), date.getSeconds()].map((value) => pad(value)).join(':')
  return `${whole}.${pad(date.getMilliseconds(), 3)}`
}

function duration (ms) {
  const seconds = Math.floor(ms / 1000)
  if (seconds < 60) return `${seconds} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`
  return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds % 3600 / 60)} min`
}

const all = clocks.map((settings) => new Clock(settings))
for (const clock of all) clock.open()

// In the back/forward cache a page needs no streams, and without them it can be kept there.
let paused = []
addEventListener('pagehide', () => {
  paused = all.filter((clock) => !clock.isClosed)
  for (const clock of paused) clock.close()
})
addEventListener('pageshow', (event) => {
  if (event.persisted) for (const clock of paused) clock.open()
})
