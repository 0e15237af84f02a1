'use strict'

/** The head of a response, as it arrives. */
class Head {
  text = ''
  isWhole = false

  /** Takes a piece of the response, and gives back where in it the head ends. */
  read (buffer, length) {
    const before = this.text.length
    this.text += buffer.latin1Slice(0, length)
    const end = this.text.indexOf('\r\n\r\n')
    if (end < 0) return length
    this.text = this.text.slice(0, end)
    this.isWhole = true
    return end + 4 - before
  }
}

module.exports = { Head }
