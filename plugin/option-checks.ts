import { FST_ERR_SSE_OPTION } from './errors'
import { show } from './inspect'
import type { ChannelSettings, Expiry, SseOptions } from './options'

/** The longest time, in milliseconds, that a timer of Node can wait. */
export const MAX_DELAY = 2 ** 31 - 1

const isDelay = (value: unknown): boolean => Number.isInteger(value) && Number(value) >= 0 && Number(value) <= MAX_DELAY
export const isPositive = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) > 0
const isFunction = (value: unknown): boolean => typeof value === 'function'
export const isObject = (value: unknown): value is Record<string, unknown> => Object.prototype.toString.call(value) === '[object Object]'

function isRetry (value: unknown): boolean {
  if (!isObject(value)) return isDelay(value)
  return isDelay(value['min']) && isDelay(value['max']) && Number(value['min']) <= Number(value['max']) && hasOnly(value, ['min', 'max'])
}

function isShutdown (value: unknown): boolean {
  return isObject(value) && hasOnly(value, ['grace', 'retry']) &&
    (value['grace'] === undefined || isDelay(value['grace'])) && (value['retry'] === undefined || isRetry(value['retry']))
}

export function hasOnly (value: object, keys: readonly string[]): boolean {
  return Object.keys(value).every(key => keys.includes(key))
}

/** Whether a value can say when a stream is to end. */
export function isExpiry (value: unknown): value is Expiry {
  return isPositive(value) || (value instanceof Date && !Number.isNaN(value.getTime()))
}

type Checks<Option extends string> = Readonly<Record<Option, Check>>
export type Check = readonly [allowed: string, isAllowed: (value: unknown) => boolean]

const DELAY = `an integer of milliseconds from 0 to ${MAX_DELAY}`
export const TIMEOUT: Check = [`an integer of milliseconds from 1 to ${MAX_DELAY}`, value => isDelay(value) && value !== 0]
export const COUNT: Check = ['a positive integer', isPositive]
export const FUNCTION: Check = ['a function', isFunction]

/** What is allowed of each option of a stream. */
export const STREAM_CHECKS: Checks<keyof SseOptions> = {
  heartbeat: [`false or ${TIMEOUT[0]}`, value => value === false || TIMEOUT[1](value)],
  retry: [`${DELAY}, or { min, max } of such with min <= max`, isRetry],
  prime: [DELAY, isDelay],
  maxBuffer: ['a positive integer of bytes', isPositive],
  slow: ["'disconnect', 'drop-oldest' or 'latest'", value => value === 'disconnect' || value === 'drop-oldest' || value === 'latest'],
  writeTimeout: TIMEOUT,
  maxAge: ['a positive integer of milliseconds, a valid Date, or a function of the request that returns one of them or undefined', value => isFunction(value) || isExpiry(value)],
  maxStreams: COUNT,
  maxStreamsPerKey: COUNT,
  key: FUNCTION,
  shutdown: [`{ grace, retry } with grace ${DELAY} and retry such a number or { min, max }`, isShutdown],
  onError: FUNCTION,
  serializer: FUNCTION
}

const BACKPLANE_METHODS = ['onStateChange', 'publish', 'read', 'position', 'subscribe', 'close']

function isBackplane (value: unknown): boolean {
  return typeof value === 'object' && value !== null && BACKPLANE_METHODS.every(name => isFunction(Reflect.get(value, name)))
}

/** What is allowed of each option of the registration. */
export const PLUGIN_CHECKS: Checks<keyof SseOptions | keyof ChannelSettings | 'lastEventIdParameter'> = {
  ...STREAM_CHECKS,
  backplane: ['a backplane, such as redisBackplane() gives', isBackplane],
  maxChannels: COUNT,
  lastEventIdParameter: ['a non-empty string or false', value => value === false || (typeof value === 'string' && value !== '')]
}

/** @throws FST_ERR_SSE_OPTION for an option that is not in the table, or whose value is not allowed */
export function checkOptions (given: unknown, checks: Readonly<Record<string, Check>>): void {
  if (!isObject(given)) throw new FST_ERR_SSE_OPTION('they must be an object', show(given))
  for (const [option, value] of Object.entries(given)) {
    const check = Object.hasOwn(checks, option) ? checks[option] : undefined
    if (check === undefined) throw new FST_ERR_SSE_OPTION(`there is none called '${option}' among ${Object.keys(checks).join(', ')}`, show(value))
    const [allowed, isAllowed] = check
    if (value !== undefined && !isAllowed(value)) throw new FST_ERR_SSE_OPTION(`'${option}' must be ${allowed}`, show(value))
  }
}
