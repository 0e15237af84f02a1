import type { Gap } from '../../plugin/types'
import type { Outcome } from './application'

/** What was seen during one fault. */
export class Tally {
  readonly fault: string
  times = 1
  confirmed = 0
  /** By the code. */
  readonly rejected: Record<string, number> = {}
  /** Of these, because too much was under way. */
  refused = 0
  /** Of a publish, confirmed or rejected, in milliseconds. */
  worst = 0
  deliveries = 0
  /** Streams that were opened. */
  opened = 0
  /** Streams that ended, and not by the client's own will. */
  lost = 0
  readonly gaps: Record<string, number> = {}
  /** Between two events of one client, in milliseconds. */
  silence = 0
  /** How often the backplane of a process was away. */
  degraded = 0
  /** The most that one process had in its heap and buffers, in bytes. */
  memory = 0
  /** How long a process took to end after it was told to, in milliseconds. */
  exit = 0
  /** From when all is well again until each client has everything, in milliseconds. */
  healed = 0

  constructor (fault: string) {
    this.fault = fault
  }

  published ({ id, code = 'none', message = '', ms }: Outcome): void {
    if (id !== undefined) this.confirmed++
    else count(this.rejected, code)
    if (message.includes('too much is on its way')) this.refused++
    this.worst = Math.max(this.worst, ms)
  }

  delivered (gap: Gap | undefined, silence: number): void {
    if (gap === undefined) this.deliveries++
    else count(this.gaps, gap.reason)
    this.silence = Math.max(this.silence, silence)
  }

  /** Counts what was seen another time as well. */
  add (other: Tally): void {
    this.times += other.times
    for (const key of ['confirmed', 'refused', 'deliveries', 'opened', 'lost', 'degraded'] as const) this[key] += other[key]
    for (const key of ['worst', 'silence', 'memory', 'healed', 'exit'] as const) this[key] = Math.max(this[key], other[key])
    for (const key of ['rejected', 'gaps'] as const) for (const [what, times] of Object.entries(other[key])) count(this[key], what, times)
  }
}

const COLUMNS: ReadonlyArray<[title: string, cell: (tally: Tally) => string]> = [
  ['fault', ({ fault }) => fault],
  ['times', ({ times }) => String(times)],
  ['confirmed', ({ confirmed }) => String(confirmed)],
  ['rejected', ({ rejected }) => list(rejected)],
  ['slowest', ({ worst }) => inSeconds(worst)],
  ['delivered', ({ deliveries }) => String(deliveries)],
  ['opened', ({ opened }) => String(opened)],
  ['lost', ({ lost }) => String(lost)],
  ['gaps', ({ gaps }) => list(gaps)],
  ['silence', ({ silence }) => inSeconds(silence)],
  ['caught up', ({ healed }) => inSeconds(healed)],
  ['ended', ({ exit }) => exit === 0 ? '-' : inSeconds(exit)],
  ['memory', ({ memory }) => `${Math.round(memory / 2 ** 20)} MiB`]
]

/** A Markdown table of what was seen: a row for each fault, and one for all. */
export function tableOf (tallies: readonly Tally[]): string {
  const faults = [...new Set(tallies.map(({ fault }) => fault))].sort()
  const sums = [...faults.map(fault => sumOf(fault, tallies.filter(tally => tally.fault === fault))), sumOf('all', tallies)]
  const rows = [COLUMNS.map(([title]) => title), ...sums.map(sum => COLUMNS.map(([, cell]) => cell(sum)))]
  const widths = COLUMNS.map((_, column) => Math.max(...rows.map(row => row[column]?.length ?? 0)))
  const lines = rows.map(row => `| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`)
  lines.splice(1, 0, `|${widths.map(width => '-'.repeat(width + 2)).join('|')}|`)
  return lines.join('\n')
}

function sumOf (fault: string, tallies: readonly Tally[]): Tally {
  const sum = new Tally(fault)
  sum.times = 0
  for (const tally of tallies) sum.add(tally)
  return sum
}

function count (counts: Record<string, number>, what: string, times = 1): void {
  counts[what] = (counts[what] ?? 0) + times
}

function list (counts: Record<string, number>): string {
  return Object.entries(counts).map(([what, times]) => `${what.replace('FST_ERR_SSE_', '')} ${times}`).join(', ') || '-'
}

function inSeconds (milliseconds: number): string {
  return `${(milliseconds / 1_000).toFixed(2)} s`
}
