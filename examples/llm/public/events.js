/**
 * Reads the body of a response as an event stream (WHATWG HTML 9.2.6): what EventSource does, for a POST. Without `id`
 * and `retry`, which are for coming back, and nobody comes back by himself to a POST.
 */
export async function * readEvents (body) {
  let type = ''
  let data = []
  for await (const line of readLines(body)) {
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line)
    if (field === 'event') type = value
    if (field === 'data') data.push(value)
    if (line !== '') continue
    // A block without data is no event, nor is one that the end of the stream leaves without its blank line.
    if (data.length > 0) yield { type: type || 'message', data: data.join('\n') }
    type = ''
    data = []
  }
}

/** Lines end with CR LF, LF or CR. A CR is taken at once: only a LF that follows it is not the end of another line. */
async function * readLines (body) {
  const reader = body.getReader()
  // Not a TextDecoderStream: a pipe drops what it holds when the connection is torn, and the event that says why with it.
  const decoder = new TextDecoder()
  let rest = ''
  let afterCR = false
  try {
    for (let { value, done } = await reader.read(); !done; { value, done } = await reader.read()) {
      const text = decoder.decode(value, { stream: true })
      if (text === '') continue
      const lines = (rest + (afterCR ? text.replace(/^\n/, '') : text)).split(/\r\n|\n|\r/)
      afterCR = text.endsWith('\r')
      rest = lines.pop()
      yield * lines
    }
  } finally {
    reader.cancel().catch(() => {})
  }
}
