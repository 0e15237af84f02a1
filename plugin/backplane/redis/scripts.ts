import { createHash } from 'node:crypto'

/** A Lua script, which Redis runs with nothing in between. */
export class Script {
  readonly text: string
  readonly sha: string

  constructor (...parts: string[]) {
    this.text = parts.join('')
    this.sha = createHash('sha1').update(this.text).digest('hex')
  }
}

/** How long a channel that nobody publishes or listens to is remembered beyond its history, in milliseconds. */
export const IDLE = 24 * 3_600_000

// How many of the epochs before are remembered.
const ANCESTORS = 8

/**
 * Every script on a channel begins with this. It makes sure that an epoch stands for one history only:
 *
 * - Without a meta key the channel is new, or was lost, by FLUSHALL for one. What may be left of it goes, and a new
 *   epoch begins.
 * - A server has another replication ID after each start and each promotion. Whether it has all that was published
 *   before that, nobody can say: a dump may be old, and a replica may have lagged behind. An offset would then be given
 *   a second time, and pass for the event that had it first. So a new epoch begins, which remembers how far it
 *   continues the one before: a position up to there is as good as ever, one beyond it is of an event that was lost.
 * - A history with more or fewer entries than it should have was evicted, or meddled with. The offsets go on without it.
 *
 * KEYS: meta, history, latest. ARGV[1]: an epoch, should a new one be needed.
 */
const OPEN = `
local meta, history, latest = KEYS[1], KEYS[2], KEYS[3]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local info = redis.call('INFO', 'replication')
local _, start = string.find(info, 'master_replid:', 1, true)
local server = string.match(info, '^%w+', start + 1)
local kept = redis.call('HMGET', meta,
  'epoch', 'continues', 'server', 'mode', 'ended', 'offset', 'floor', 'count', 'bytes')
local epoch, continues, mode, ended = kept[1], kept[2], kept[4], kept[5]
local offset, floor, count, bytes = tonumber(kept[6]), tonumber(kept[7]), tonumber(kept[8]), tonumber(kept[9])

local function forget ()
  redis.call('DEL', history, latest)
  floor, count, bytes = offset, 0, 0
end

local changed = kept[3] ~= server
if not epoch then
  epoch, continues, mode, ended, offset = ARGV[1], '', '', '', 0
  forget()
elseif changed then
  local ancestors = { epoch .. ':' .. offset }
  for ancestor in string.gmatch(continues, '%S+') do
    if #ancestors < ${ANCESTORS} then table.insert(ancestors, ancestor) end
  end
  epoch, continues = ARGV[1], table.concat(ancestors, ' ')
end
if redis.call('XLEN', history) ~= count or (mode == 'latest' and redis.call('HLEN', latest) ~= count) then
  changed = true
  forget()
end

local function save ()
  if changed then
    redis.call('HSET', meta, 'epoch', epoch, 'continues', continues, 'server', server, 'mode', mode, 'ended', ended)
  end
  redis.call('HSET', meta, 'offset', offset, 'floor', floor, 'count', count, 'bytes', bytes)
end
`

// For those who only look: saves what was found to be new, and has the channel remembered.
const LOOK = `
if changed then save() end
if redis.call('PTTL', meta) < ${IDLE / 2} then redis.call('PEXPIRE', meta, ${IDLE}) end
`

/** ARGV: the epoch. Gives the epoch and the offset. */
export const POSITION = new Script(OPEN, LOOK, `
return { epoch, offset }
`)

/**
 * ARGV: the epoch, and after which offset. Gives the epoch, the offset, the floor, the offset of the end or '', the time
 * in milliseconds, the epochs before with their last offsets, and the entries.
 */
export const READ = new Script(OPEN, LOOK, `
local entries = {}
if tonumber(ARGV[2]) < offset then entries = redis.call('XRANGE', history, (ARGV[2] + 1) .. '-0', '+') end
return { epoch, offset, floor, ended, now, continues, entries }
`)

/**
 * KEYS: also the Pub/Sub channel and, with an idempotency key, its receipt. ARGV: the epoch, size, maxAge, maxBytes, mode,
 * idempotencyWindow, flags, the length of the name in UTF-16, name, data.
 * Gives the epoch and the offset, or nothing when the channel has ended.
 *
 * A message is kept as one text, since Redis takes several times as long to read one of several fields: the time, the
 * flags and the lengths of the name in UTF-16 and in bytes; then the name and the data. On the Pub/Sub channel, the epoch
 * and the offset come first. Making room for it takes as long as there is much to be taken away; each only goes once.
 */
export const PUBLISH = new Script(OPEN, `
local size, maxAge, maxBytes = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local flags, name, data = ARGV[7], ARGV[9], ARGV[10]
local live, receipt = KEYS[4], KEYS[5]

local first = receipt and redis.call('GET', receipt)
if first then return { string.match(first, '(%w+) (%d+)') } end
if ended ~= '' then return {} end

if mode ~= ARGV[5] then
  if count > 0 then forget() end
  changed, mode = true, ARGV[5]
end

local function parse (text)
  local time, nameBytes, head = string.match(text, '^(%d+) %d %d+ (%d+)()')
  return tonumber(time), #text - head, string.sub(text, head + 1, head + nameBytes)
end

local text = table.concat({ now, flags, ARGV[8], #name }, ' ') .. '\\n' .. name .. data
offset = offset + 1
if tonumber(flags) >= 2 then
  changed, ended = true, offset
elseif size == 0 then
  if count > 0 then forget() end
  floor = offset
else
  local before = mode == 'latest' and redis.call('HGET', latest, name)
  if before then
    local id = before .. '-0'
    local _, length = parse(redis.call('XRANGE', history, id, id)[1][2][2])
    redis.call('XDEL', history, id)
    count, bytes = count - 1, bytes - length
  end
  redis.call('XADD', history, offset .. '-0', 'm', text)
  if mode == 'latest' then redis.call('HSET', latest, name, offset) end
  count, bytes = count + 1, bytes + #name + #data
end

local step, old = 1, true
repeat
  local gone = {}
  for _, entry in ipairs(redis.call('XRANGE', history, '-', '+', 'COUNT', step)) do
    local time, length, event = parse(entry[2][2])
    old = now - time >= maxAge
    if not old and count <= size and bytes <= maxBytes then break end
    count, bytes = count - 1, bytes - length
    floor = tonumber(string.match(entry[1], '%d+'))
    table.insert(gone, entry[1])
    if mode == 'latest' then redis.call('HDEL', latest, event) end
  end
  if #gone > 0 then redis.call('XDEL', history, unpack(gone)) end
  step = math.min(2 * step, 64)
until count == 0 or not (old or count > size or bytes > maxBytes)

save()
redis.call('PEXPIRE', meta, maxAge + ${IDLE})
if count > 0 then
  redis.call('PEXPIRE', history, maxAge)
  if mode == 'latest' then redis.call('PEXPIRE', latest, maxAge) end
end
if receipt then redis.call('SET', receipt, epoch .. ' ' .. offset, 'PX', ARGV[6]) end
redis.call('SPUBLISH', live, epoch .. ' ' .. offset .. ' ' .. text)
return { epoch, offset }
`)

/** Forgets the channel, for the trial at the start. */
export const FORGET = new Script(`
redis.call('DEL', unpack(KEYS))
return {}
`)

/** Gives what the server says of itself. KEYS: one, for a Cluster. */
export const SERVER = new Script(`
return redis.call('INFO', 'server') .. redis.call('INFO', 'replication')
`)
