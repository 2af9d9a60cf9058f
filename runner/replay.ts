/** Makes reports from records: of one run, or of the shards of one. */
import { readFileSync } from 'node:fs'
import { type Event, emptyTally, exitCode, RecordError, readRecord } from '#reports'
import { EXIT_INTERNAL, EXIT_INTERRUPTED, messageOf, UsageError } from './errors.ts'
import { all, type CommandLine } from './options.ts'
import { openReports } from './outputs.ts'
import { lastRecord } from './state.ts'

/** `seamless replay [RECORD]`: the last run's, if none is named. */
export const replay = async (line: CommandLine): Promise<number> => {
  if (line.files.length > 1) throw new UsageError('replay takes one record; merge takes several')
  const record = line.files[0] ?? lastRecord()
  if (record === undefined) throw new UsageError('replay: no run is recorded here yet')
  return await show(line, events(record))
}

/** `seamless merge RECORD...`: as if one run had done it all. */
export const merge = async (line: CommandLine): Promise<number> => {
  if (line.files.length === 0) throw new UsageError('merge: name the records to merge')
  return await show(line, merged(line.files))
}

const events = (record: string): Event[] => {
  try {
    return [...readRecord(readFileSync(record, 'utf8'))]
  } catch (error) {
    if (error instanceof RecordError || (error as NodeJS.ErrnoException).code !== undefined)
      throw new UsageError(`${record}: ${messageOf(error)}`)
    throw error
  }
}

/** One run of several: files in the order of the records. A file in two of them is said, not counted twice. */
export const merged = (names: readonly string[]): Event[] => {
  const runs = names.map(name => ({ name, events: events(name) }))
  const owner = new Map<string, string>()
  let began = Number.POSITIVE_INFINITY
  let ended = 0
  let interrupted = false
  for (const { name, events } of runs) {
    const last = events.at(-1)
    if (last?.type !== 'run-end' || last.interrupted) interrupted = true
    for (const event of events) {
      if ('time' in event) ended = Math.max(ended, event.time)
      if (event.type === 'run') began = Math.min(began, event.time)
      if (event.type !== 'file') continue
      const other = owner.get(event.file)
      if (other !== undefined)
        throw new UsageError(`${event.file} is in ${other} and in ${name}: not shards of one run`)
      owner.set(event.file, name)
    }
  }
  const first = runs[0]?.events[0]
  if (first?.type !== 'run') throw new UsageError(`${names[0]}: holds no run`)
  complete(runs.flatMap(({ events }) => events.filter(event => event.type === 'run')))
  const files = runs.flatMap(({ events }) => events.flatMap(event => (event.type === 'run' ? event.files : [])))
  const { shard: _shard, ...whole } = first
  return [
    { ...whole, files, time: began },
    ...runs.flatMap(({ events }) => events.filter(event => event.type !== 'run' && event.type !== 'run-end')),
    { type: 'run-end', interrupted, duration: ended - began, time: ended },
  ]
}

/** Throws `UsageError` if the parts of a run that was cut into shards are not all there. */
const complete = (runs: readonly Extract<Event, { type: 'run' }>[]): void => {
  const shards = runs.flatMap(run => run.shard ?? [])
  const [first] = shards
  if (first === undefined) return
  const { total, files } = first
  if (shards.some(shard => shard.total !== total || shard.files !== files))
    throw new UsageError('merge: these are shards of different runs')
  const parts = new Set(shards.map(shard => shard.part))
  const lacking = Array.from({ length: total }, (_, i) => i + 1).filter(part => !parts.has(part))
  if (lacking.length > 0) throw new UsageError(`merge: shard ${lacking.join(', ')} of ${total} is missing`)
  const seen = new Set(runs.flatMap(run => run.files)).size
  if (seen !== files)
    throw new UsageError(`merge: ${seen} of ${files} files: the shards were not cut by the same history`)
}

/** Hands events to the reports asked for, and ends as their run ended. A record without an end was cut short. */
const show = async (line: CommandLine, events: readonly Event[]): Promise<number> => {
  const odd = line.given.find(option => option.name !== 'report')
  if (odd !== undefined) throw new UsageError(`option ${odd.name.length > 1 ? '--' : '-'}${odd.name} is for run only`)
  const report = await openReports(all(line, 'report'), 'none', line)
  const tally = emptyTally()
  let time = 0
  let interrupted = true
  for (const event of events) {
    if ('time' in event) time = event.time
    if (event.type === 'file-end') tally[event.status]++
    if (event.type === 'run-end') interrupted = event.interrupted
    report.event(event)
  }
  if (events.at(-1)?.type !== 'run-end')
    report.event({
      type: 'run-end',
      interrupted: true,
      duration: time - (events[0]?.type === 'run' ? events[0].time : time),
      time,
    })
  report.close()
  if (report.isBroken) return EXIT_INTERNAL
  return interrupted ? EXIT_INTERRUPTED : exitCode(tally)
}
