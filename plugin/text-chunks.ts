/** Turns the chunks of a byte stream into text: a character that two chunks share is held until it is whole. */
export class TextChunks {
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true })

  /** The text that a chunk completes; may be empty. */
  decode (chunk: Uint8Array | ArrayBuffer): string {
    return this.#decoder.decode(chunk, { stream: true })
  }

  /** What is left at the end: U+FFFD for a character that was cut off, else nothing. */
  end (): string {
    return this.#decoder.decode()
  }
}
