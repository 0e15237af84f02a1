/* global addEventListener, ResizeObserver, scrollTo */
import { Answer } from './answer.js'
import { Upstream } from './upstream.js'

// Who has scrolled up further than this reads, and is left there.
const NEAR_END = 80

const parts = Object.fromEntries([...document.querySelectorAll('[data-part]')].map((node) => [node.dataset.part, node]))
const { ask, form, prompts, stop, turns } = parts
const { prompt } = form.elements
const upstream = new Upstream(parts)
let answer

async function submit () {
  const text = prompt.value.trim()
  if (answer !== undefined || text === '') return
  answer = new Answer(text)
  turns.append(answer.element)
  scrollTo(0, document.documentElement.scrollHeight)
  prompt.value = ''
  showButtons()
  await answer.ask()
  answer = undefined
  showButtons()
}

function showButtons () {
  const hadFocus = document.activeElement === stop || document.activeElement === ask
  ask.hidden = answer !== undefined
  stop.hidden = answer === undefined
  for (const button of prompts.querySelectorAll('button')) button.disabled = answer !== undefined
  if (hadFocus) (answer === undefined ? prompt : stop).focus()
}

function stopAnswer () {
  if (answer === undefined) return
  upstream.markStop()
  answer.stop()
}

form.addEventListener('submit', (event) => {
  event.preventDefault()
  submit()
})
prompt.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
  event.preventDefault()
  form.requestSubmit()
})
prompts.addEventListener('click', ({ target: { value } }) => {
  if (!value) return
  prompt.value = value
  submit()
})
stop.addEventListener('click', stopAnswer)
addEventListener('keydown', ({ key }) => { if (key === 'Escape') stopAnswer() })

let height = 0
new ResizeObserver(() => {
  const { scrollHeight, clientHeight, scrollTop } = document.documentElement
  if (height - clientHeight - scrollTop < NEAR_END) scrollTo(0, scrollHeight)
  height = scrollHeight
}).observe(turns)

upstream.open()
// In the back/forward cache a page needs no streams, and without them it can be kept there.
addEventListener('pagehide', () => {
  answer?.stop()
  upstream.close()
})
addEventListener('pageshow', (event) => { if (event.persisted) upstream.open() })
