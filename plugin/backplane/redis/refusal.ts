import { FST_ERR_SSE_BACKPLANE } from '../../errors'
import { show } from '../../inspect'

/** The error of ours for whatever went wrong with Redis. */
export function refusal (error: unknown): Error {
  if (error instanceof FST_ERR_SSE_BACKPLANE) return error
  // One that stands for several, as for all addresses of a host, has no message.
  return new FST_ERR_SSE_BACKPLANE(`Redis: ${error instanceof Error && error.message !== '' ? error.message : show(error)}`)
}
