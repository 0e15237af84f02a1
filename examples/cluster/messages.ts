/** What the primary has published twice a second, by whichever process is next. */
export interface Tick {
  /** Drawn at random when the primary starts: it counts its ticks from 1. */
  clock: string
  /** 1, 2, 3, …: who has received some of them can tell whether one is missing. */
  number: number
  /** When it was made, in milliseconds since 1970. */
  time: number
  backplane: 'redis' | 'memory'
  processes: ProcessStatus[]
}

/** One of the processes, as the primary knows it. */
export interface ProcessStatus {
  pid: number
  state: 'starting' | 'serving' | 'closing'
  /** When it was started, in milliseconds since 1970. */
  since: number
  /** Streams that it had open when it was last asked. */
  streams: number
}

/** What somebody typed into the page. */
export interface Note {
  text: string
  /** The page gives each its own, and sends it again when it does not know whether it came through. */
  key: string
}

/** What the channel carries. */
export interface FeedEvents {
  tick: Tick & { publishedBy: number }
  note: Note & { publishedBy: number }
}

/** What a process tells the primary. */
export type Report =
  | { type: 'tick', number: number, isPublished: boolean, streams: number }
  | { type: 'kill', pid: number }
  | { type: 'restart' }
