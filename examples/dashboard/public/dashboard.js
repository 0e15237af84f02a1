/* global addEventListener, crypto, EventSource, fetch, location, requestAnimationFrame */
import { Chart, inWindow } from './chart.js'

const GIB = 2 ** 30
const ROWS = 5

/** Counts whether each number comes once. */
class Sequence {
  received = 0
  missing = 0
  doubled = 0
  gaps = 0
  last

  /** @returns whether the number is a new one */
  take (number) {
    this.received++
    if (number <= this.last) {
      this.doubled++
      return false
    }
    if (this.last !== undefined) this.missing += number - this.last - 1
    this.last = number
    return true
  }

  /** The server has said that something is missing, or that it counts from 1 again. */
  gap () {
    this.gaps++
    this.last = undefined
  }
}

/** A loss of the connection, and what came afterwards of the time in between. */
class Loss {
  replayed = []
  #at = new Date()
  #from = performance.now()
  #to

  end () {
    this.#to ??= performance.now()
  }

  /** When, for how long, and what was replayed. */
  get texts () {
    const { replayed } = this
    const seconds = ((this.#to ?? performance.now()) - this.#from) / 1000
    const range = replayed.length === 0 ? 'nothing' : replayed.length === 1 ? `#${replayed[0]}` : `#${replayed[0]} to #${replayed.at(-1)}`
    return [this.#at.toLocaleTimeString(), `${seconds.toFixed(1)} s`, this.#to === undefined ? '' : range]
  }
}

class Dashboard {
  #page = randomName()
  #source = null
  #lastEventId = ''
  #state = ''
  #openedAt = -Infinity
  #connections = 0
  #sequence = new Sequence()
  #samples = []
  // This page's clock less the server's, and the least time that a sample took.
  #offset = Infinity
  // The newest first.
  #losses = []
  #frame = 0
  #parts = {}
  #charts

  constructor () {
    for (const node of document.querySelectorAll('[data-part]')) this.#parts[node.dataset.part] = node
    this.#charts = [
      new Chart(this.#parts.loadChart, { valueOf: ({ load }) => load, scaleOf: () => 1, label: percent }),
      new Chart(this.#parts.memoryChart, {
        valueOf: ({ memory }) => memory.used,
        scaleOf: (samples) => samples.at(-1).memory.total,
        label: (bytes) => (bytes / GIB).toFixed(1)
      }),
      new Chart(this.#parts.delayChart, {
        valueOf: ({ delay }) => delay,
        scaleOf: (samples) => niceScale(Math.max(...samples.map(({ delay }) => delay))),
        label: (ms) => String(ms)
      })
    ]
    this.#parts.drop.addEventListener('click', () => this.#drop())
    // The line falls behind while nothing comes.
    setInterval(() => this.#drawSoon(), 500)
  }

  open () {
    this.#source?.close()
    this.#setState('connecting')
    const url = new URL('/samples', location.href)
    url.searchParams.set('page', this.#page)
    // An EventSource that comes back says this by itself, in a header; a new one does not know.
    if (this.#lastEventId !== '') url.searchParams.set('lastEventId', this.#lastEventId)

    const source = this.#source = new EventSource(url)
    source.addEventListener('open', () => this.#opened())
    source.addEventListener('error', () => this.#lost())
    source.addEventListener('sample', (event) => this.#receive(event))
    source.addEventListener('gap', () => {
      this.#sequence.gap()
      this.#drawSoon()
    })
  }

  close () {
    this.#source.close()
    this.#setState('closed')
  }

  #drop () {
    if (this.#state === 'open') fetch(`/drop?page=${this.#page}`, { method: 'POST' })
  }

  #opened () {
    this.#connections++
    this.#openedAt = this.#now
    this.#setState('open')
  }

  // The browser comes back by itself, unless it was answered with something that is no stream.
  #lost () {
    this.#setState('connecting')
    if (this.#source.readyState === EventSource.CLOSED) setTimeout(() => this.open(), 3000)
  }

  #receive ({ data, lastEventId, timeStamp }) {
    this.#lastEventId = lastEventId
    const sample = JSON.parse(data)
    // Published before this connection was opened: what was missed, not what is new.
    sample.isReplayed = sample.time < this.#openedAt
    this.#offset = Math.min(this.#offset, timeStamp - sample.time)
    if (!this.#sequence.take(sample.number)) return
    if (sample.isReplayed) this.#losses[0]?.replayed.push(sample.number)
    this.#samples = inWindow([...this.#samples, sample], sample.time)
    this.#drawSoon()
  }

  /** What the server's clock shows. */
  get #now () {
    return performance.now() - this.#offset
  }

  #setState (state) {
    if (state === 'open') this.#losses[0]?.end()
    else if (this.#state === 'open') this.#losses = [new Loss(), ...this.#losses].slice(0, ROWS)
    this.#state = state
    document.documentElement.dataset.state = state
    this.#parts.state.textContent = state
    this.#parts.drop.setAttribute('aria-disabled', state !== 'open')
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
    const latest = this.#samples.at(-1)
    if (latest !== undefined) {
      const { load, memory, delay, watching } = latest
      this.#parts.watching.textContent = watching
      this.#parts.load.textContent = percent(load)
      this.#parts.memory.textContent = `${(memory.used / GIB).toFixed(1)} GiB`
      this.#parts.delay.textContent = `${delay.toFixed(1)} ms`
      // Up to the newest sample; when that is late, up to now.
      const now = this.#now - latest.time > 1500 ? this.#now : latest.time
      for (const chart of this.#charts) chart.draw({ samples: inWindow(this.#samples, now), now })
    }
    this.#parts.connections.textContent = this.#connections
    this.#parts.received.textContent = this.#sequence.received
    for (const name of ['missing', 'doubled', 'gaps']) {
      this.#parts[name].textContent = this.#sequence[name]
      this.#parts[name].classList.toggle('some', this.#sequence[name] > 0)
    }
    this.#drawLosses()
  }

  #drawLosses () {
    this.#parts.losses.replaceChildren(...this.#losses.map((loss) => {
      const row = document.createElement('tr')
      for (const text of loss.texts) row.insertCell().textContent = text
      return row
    }))
    this.#parts.none.hidden = this.#losses.length > 0
  }
}

// As randomUUID(), which a page that was loaded from another machine without TLS does not have.
function randomName () {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

const percent = (share) => `${Math.round(share * 100)} %`

// The next of 2, 5, 10, 20, 50 …: the scale then changes seldom, and its half is a number one can read.
function niceScale (max) {
  let scale = 2
  for (let i = 0; scale < max; i++) scale *= i % 3 === 0 ? 2.5 : 2
  return scale
}

const dashboard = new Dashboard()
dashboard.open()

// In the back/forward cache a page needs no stream, and without one it can be kept there.
addEventListener('pagehide', () => dashboard.close())
addEventListener('pageshow', (event) => { if (event.persisted) dashboard.open() })
