/* global EventSource */

// How long to wait before a new EventSource is made, when the browser has given the old one up.
const AGAIN_MS = 1500

/**
 * The feed, over as many connections as it takes: tells of `state`, `tick`, `note` and `gap`.
 *
 * An EventSource comes back by itself and says where it was. Only when it was answered with something that is no stream, as
 * a proxy may while no process is there, it gives up, and a new one is made.
 */
export class Feed extends EventTarget {
  connections = 0
  #source = null
  #lastEventId = ''

  open () {
    this.#source?.close()
    this.#tell('state', 'connecting')
    // A new EventSource does not know where the one before it was.
    const source = this.#source = new EventSource(this.#lastEventId === '' ? '/feed' : `/feed?lastEventId=${this.#lastEventId}`)
    source.addEventListener('open', () => {
      this.connections++
      this.#tell('state', 'open')
    })
    source.addEventListener('error', () => {
      this.#tell('state', 'connecting')
      if (source.readyState === EventSource.CLOSED) setTimeout(() => { if (this.#source === source) this.open() }, AGAIN_MS)
    })
    for (const name of ['tick', 'note', 'gap']) {
      source.addEventListener(name, ({ data, lastEventId, timeStamp }) => {
        this.#lastEventId = lastEventId
        this.#tell(name, { ...JSON.parse(data), arrived: timeStamp })
      })
    }
  }

  close () {
    this.#source?.close()
    this.#source = null
    this.#tell('state', 'closed')
  }

  #tell (name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }))
  }
}
