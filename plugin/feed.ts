/** Where a feed brings the events of its source. */
export interface Sink {
  /** Takes an event. Gives back whether there is room for the next; if not, the feed waits for `resume`. */
  event (event: unknown): boolean
  /** The source has finished. */
  end (): void
  /** The source has thrown, also after it was stopped. */
  fail (error: unknown): void
  /** The source gives more than the client takes and cannot be made to wait. */
  overflow (): void
  /** Bytes that wait for the client. */
  readonly queued: number
}

/** Brings the events of a source to a sink. */
export interface Feed {
  /** Starts, or goes on after the sink had no room. */
  resume (): void
  /** Tells the source to stop, without waiting for it. The promise, if there is one, settles when the source has. */
  stop (): Promise<unknown> | undefined
}
