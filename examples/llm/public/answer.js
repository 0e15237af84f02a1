/* global AbortController, cancelAnimationFrame, fetch, requestAnimationFrame */
import { readEvents } from './events.js'

const STATES = {
  connecting: 'Connecting',
  thinking: 'Accepted, not yet writing',
  writing: 'Writing',
  done: 'Done',
  stopped: 'Stopped',
  refused: 'Refused',
  broken: 'Broken off'
}

/** A question and its answer, from the request to whichever end it has. */
export class Answer {
  element
  #controller = new AbortController()
  #askedAt = performance.now()
  #firstAt
  #lastAt
  #tokens = 0
  #frame = 0
  #parts = {}

  constructor (prompt) {
    this.element = document.getElementById('turn').content.cloneNode(true).firstElementChild
    for (const node of this.element.querySelectorAll('[data-part]')) this.#parts[node.dataset.part] = node
    this.#parts.question.textContent = prompt
    this.#setState('connecting')
    this.#draw()
  }

  /** Asks, and settles when there is no more to come. */
  async ask () {
    const { signal } = this.#controller
    try {
      // Without `Accept: text/event-stream`: with it a server without room says 200 and when to come back, as an
      // EventSource wants it.
      const response = await fetch('/chat', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ prompt: this.#parts.question.textContent }),
        signal
      })
      if (response.ok) await this.#read(response)
      else await this.#refused(response)
    } catch (error) {
      if (signal.aborted) this.#setState('stopped')
      else this.#broken(this.#tokens > 0 ? 'The connection was torn before the answer was done.' : 'The server cannot be reached.')
    }
    cancelAnimationFrame(this.#frame)
    this.#drawFigures()
  }

  stop () {
    this.#controller.abort()
  }

  async #read ({ body }) {
    this.#setState('thinking')
    let told
    for await (const { type, data } of readEvents(body)) {
      if (type === 'token') this.#append(data)
      else told = { type, ...JSON.parse(data) }
      if (type === 'failed') this.#broken(`${told.message}.`)
    }
    // An end alone is not the end of the answer: the server may have closed.
    if (told?.type !== 'done') this.#broken('The stream ended before the answer did.')
    else if (told.tokens !== this.#tokens) this.#broken(`${told.tokens} tokens were sent.`)
    else this.#setState('done')
  }

  async #refused (response) {
    const { error, message } = await response.json()
    const seconds = response.headers.get('retry-after')
    this.#setState('refused', `: ${response.status} ${error}`)
    this.#explain(`${message}.${seconds === null ? '' : ` It may be asked again in ${seconds} s.`}`)
  }

  // A failure is told first, and then torn: what was told is the better reason.
  #broken (reason) {
    if (this.element.dataset.state === 'broken') return
    this.#setState('broken')
    this.#explain(reason)
  }

  #append (text) {
    this.#lastAt = performance.now()
    if (this.#tokens++ === 0) {
      this.#firstAt = this.#lastAt
      this.#setState('writing')
    }
    const token = document.createElement('span')
    token.textContent = text
    this.#parts.text.append(token)
  }

  #explain (reason) {
    this.#parts.reason.textContent = reason
    this.#parts.reason.hidden = false
  }

  #setState (state, detail = '') {
    this.element.dataset.state = state
    this.#parts.state.textContent = STATES[state] + detail
    this.element.ariaBusy = ['connecting', 'thinking', 'writing'].includes(state)
  }

  #draw () {
    this.#frame = requestAnimationFrame(() => this.#draw())
    this.#drawFigures()
  }

  #drawFigures () {
    const { first, tokens, rate } = this.#parts
    // Where there will be no first token, there is no time to it.
    if (this.#firstAt !== undefined || this.element.ariaBusy === 'true') {
      first.textContent = duration((this.#firstAt ?? performance.now()) - this.#askedAt)
    } else first.textContent = '–'
    tokens.textContent = this.#tokens
    const seconds = (this.#lastAt - this.#firstAt) / 1000
    if (seconds > 0) rate.textContent = ((this.#tokens - 1) / seconds).toFixed(1)
  }
}

const duration = (ms) => ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`
