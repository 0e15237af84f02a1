/* global addEventListener, crypto, fetch, requestAnimationFrame */
import { Feed } from './feed.js'
import { Sequence } from './sequence.js'

const TICKS = 80
const NOTES = 8
const HUES = 6
// A tick that came by so much later than the fastest was not sent when it was published.
const LATE_MS = 400
// When no tick has come for so long, it is asked what the matter is.
const QUIET_MS = 1500

class Page {
  #feed = new Feed()
  #sequence = new Sequence()
  // The oldest first.
  #ticks = []
  // The newest first.
  #notes = []
  #latest
  #heardAt = performance.now()
  #fastest = Infinity
  #hues = new Map()
  #frame = 0
  #parts = {}

  constructor () {
    for (const node of document.querySelectorAll('[data-part]')) this.#parts[node.dataset.part] = node
    const hear = (name, act) => this.#feed.addEventListener(name, ({ detail }) => {
      act(detail)
      this.#drawSoon()
    })
    hear('state', (state) => this.#setState(state))
    hear('tick', (tick) => this.#tick(tick))
    hear('note', (note) => { if (this.#sequence.note(note)) this.#notes = [note, ...this.#notes].slice(0, NOTES) })
    hear('gap', () => this.#sequence.gap())
    this.#parts.restart.addEventListener('click', () => post('/processes/restart'))
    this.#parts.processes.addEventListener('click', ({ target: { value } }) => { if (value) post(`/processes/${value}/kill`) })
    this.#parts.form.addEventListener('submit', (event) => this.#publish(event))
    setInterval(() => this.#askWhenQuiet(), 1000)
  }

  open () {
    this.#feed.open()
  }

  close () {
    this.#feed.close()
  }

  #setState (state) {
    document.documentElement.dataset.state = state
    this.#parts.state.textContent = state
  }

  #tick (tick) {
    this.#heardAt = performance.now()
    this.#fastest = Math.min(this.#fastest, tick.arrived - tick.time)
    if (!this.#sequence.tick(tick)) return
    this.#latest = tick
    this.#ticks = [...this.#ticks, tick].slice(-TICKS)
  }

  /** No tick comes while Redis is away. The connection is open all the same, and need not be made anew. */
  async #askWhenQuiet () {
    if (performance.now() - this.#heardAt > QUIET_MS && document.documentElement.dataset.state === 'open') {
      const { pid, backplane } = await (await fetch('/ready')).json().catch(() => ({}))
      if (backplane === undefined || backplane === 'connected') return
      this.#parts.away.textContent = `Process ${pid} says that its backplane is ${backplane}. The stream stays open, and nothing can be published until it is back.`
      this.#parts.away.hidden = false
    } else {
      this.#parts.away.hidden = true
    }
  }

  async #publish (event) {
    event.preventDefault()
    const { text } = this.#parts.form.elements
    this.#parts.answer.textContent = ''
    const answer = await publish(text.value)
    this.#parts.answer.textContent = answer
    if (answer.startsWith('Published')) this.#parts.form.reset()
  }

  // Once a frame at most, and not at all while nobody looks.
  #drawSoon () {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0
      this.#draw()
    })
  }

  #draw () {
    this.#parts.ribbon.replaceChildren(...this.#ticks.map((tick, index) => this.#tickNode(tick, this.#ticks[index - 1])))
    this.#parts.received.textContent = this.#sequence.received
    this.#parts.connections.textContent = this.#feed.connections
    for (const name of ['missing', 'doubled', 'gaps']) {
      this.#parts[name].textContent = this.#sequence[name]
      this.#parts[name].classList.toggle('some', this.#sequence[name] > 0)
    }
    this.#parts.notes.replaceChildren(...this.#notes.map(({ text, publishedBy, broughtBy }) => {
      const from = node('span', { className: 'note' }, 'published by ', this.#pid(publishedBy), ', brought by ', this.#pid(broughtBy))
      return node('li', {}, node('span', {}, text), from)
    }))
    if (this.#latest === undefined) return
    this.#parts.memory.hidden = this.#latest.backplane !== 'memory'
    this.#drawProcesses(this.#latest)
  }

  #tickNode (tick, before) {
    const isLate = tick.arrived - tick.time > this.#fastest + LATE_MS
    const isFirst = before !== undefined && before.broughtBy !== tick.broughtBy
    const li = node('li', {
      className: `${isLate ? 'late' : ''} ${isFirst ? 'first' : ''}`,
      title: `#${tick.number}, published by ${tick.publishedBy}, brought by ${tick.broughtBy}`
    })
    li.dataset.hue = this.#hueOf(tick.broughtBy)
    return li
  }

  /** Buttons are kept as long as their process, so that one that is being pressed or has the focus is not lost. */
  #drawProcesses ({ processes, broughtBy }) {
    const list = this.#parts.processes
    const nodes = processes.map(({ pid, state, since, streams }) => {
      const item = list.querySelector(`[data-pid="${pid}"]`) ?? this.#processNode(pid)
      item.classList.toggle('mine', pid === broughtBy)
      item.querySelector('.what').textContent = [
        state, `for ${duration(this.#latest.time - since)}`, `${streams} ${streams === 1 ? 'stream' : 'streams'}`
      ].join(' · ')
      item.querySelector('button').disabled = state !== 'serving'
      return item
    })
    if (nodes.length !== list.children.length || nodes.some((item, index) => list.children[index] !== item)) list.replaceChildren(...nodes)
  }

  #processNode (pid) {
    const item = node('li', {},
      node('p', { className: 'name' }, this.#pid(pid), node('span', { className: 'serves' }, 'serves this page')),
      node('p', { className: 'note what' }),
      node('button', { type: 'button', value: pid }, `kill -9 ${pid}`))
    item.dataset.pid = pid
    item.dataset.hue = this.#hueOf(pid)
    return item
  }

  #pid (pid) {
    const span = node('span', { className: 'pid' }, String(pid))
    span.dataset.hue = this.#hueOf(pid)
    return span
  }

  #hueOf (pid) {
    if (!this.#hues.has(pid)) this.#hues.set(pid, this.#hues.size % HUES)
    return this.#hues.get(pid)
  }
}

/**
 * Publishes a line. Where no answer comes it is not known whether it got through, so it is sent again with the same key,
 * and published once.
 */
async function publish (text) {
  const key = randomKey()
  for (let attempt = 1; attempt <= 3; attempt++) {
    const response = await post('/notes', { text, key })
    if (response?.ok) return `Published by process ${(await response.json()).pid}`
    if (response !== undefined) return `Not published: ${(await response.json()).message}`
    await new Promise((resolve) => { setTimeout(resolve, 300 * attempt) })
  }
  return 'Nobody answers'
}

/** @returns nothing when no answer has come */
async function post (url, body) {
  const content = body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
  return fetch(url, { method: 'POST', ...content }).catch(() => undefined)
}

// As randomUUID(), which a page that was loaded from another machine without TLS does not have.
function randomKey () {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

function node (name, properties, ...children) {
  const element = Object.assign(document.createElement(name), properties)
  element.append(...children)
  return element
}

function duration (ms) {
  const seconds = Math.max(0, Math.round(ms / 1000))
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min`
}

const page = new Page()
page.open()

// In the back/forward cache a page needs no stream, and without one it can be kept there.
addEventListener('pagehide', () => page.close())
addEventListener('pageshow', (event) => { if (event.persisted) page.open() })
