const TEXT = [
  'You asked: “{prompt}” I am only a stand-in for a language model, so whatever you ask, this is what I know by heart.',
  `A model writes one token at a time, and each is sent as soon as it is there. Between the model and this page stands a
   proxy. It keeps the key, counts who asks, and passes the tokens on. For that it needs no buffer and no timer: it is an
   async generator that reads one event stream and yields another.`,
  `What makes a proxy good shows when things go wrong. Suppose you have read enough and press Stop. The page drops its
   request, the proxy's generator is told by its signal, and the same signal ends the request to me. I lay down my pen
   within a few milliseconds — see the line below — and nobody pays for words that nobody reads.`,
  `Suppose I am too busy to answer. Then there is no stream yet, and you get what HTTP has for it: a status. Once a first
   token is out the status is spent; if I fall silent in the middle of a sentence, a last event says so, and the
   connection is torn. You will never take half an answer for a whole one.`,
  `And when all goes well? Then the last event has the counts, so that your page can tell that every token has arrived.
   Here it comes. ✓`
].map(paragraph => paragraph.replace(/\n\s+/g, ' '))

/** What the model has to say. */
export function textFor (prompt: string, inShort: boolean): string {
  return TEXT.slice(0, inShort ? 1 : undefined).join('\n\n').replace('{prompt}', () => prompt)
}

/** Cuts a text as models do: into words with the space before them, long ones in parts, and marks by themselves. */
export function tokensOf (text: string): string[] {
  return text.match(/\n+| ?[\p{L}\p{N}]{1,7}|\s?./gsu) ?? []
}
