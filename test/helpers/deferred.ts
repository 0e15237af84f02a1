export interface Deferred<T> {
  promise: Promise<T>
  resolve (value: T): void
}

/** A promise to be resolved from elsewhere. */
export function deferred<T = void> (): Deferred<T> {
  let resolve: (value: T) => void = () => {}
  const promise = new Promise<T>(_resolve => { resolve = _resolve })
  return { promise, resolve }
}
