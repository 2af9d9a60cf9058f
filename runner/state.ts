/**
 * What runs leave for later ones, in `.seamless/` or where SEAMLESS_STATE says: their records. A directory that cannot be
 * written keeps nothing.
 */
import { mkdirSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { messageOf, UsageError } from './errors.ts'

export const STATE = process.env['SEAMLESS_STATE'] || '.seamless'
const RECORDS = join(STATE, 'records')
const KEPT = 20

/** Records, oldest first: their names begin with the time. */
const records = (): string[] => {
  try {
    return readdirSync(RECORDS)
      .filter(name => name.endsWith('.jsonl'))
      .sort()
      .map(name => join(RECORDS, name))
  } catch {
    return []
  }
}

/** The record of the last run, or undefined. */
export const lastRecord = (): string | undefined => records().at(-1)

/** How long each file took in the last run that is recorded, milliseconds. */
export const lastDurations = (): ReadonlyMap<string, number> => {
  const record = lastRecord()
  return record === undefined ? new Map() : durationsOf(record)
}

/** How long each file took in a recorded run, milliseconds. Throws what reading the file throws. */
export const durationsOf = (record: string): ReadonlyMap<string, number> => {
  const durations = new Map<string, number>()
  // Only the lines that count are parsed: a record may be long.
  for (const line of readFileSync(record, 'utf8').split('\n')) {
    if (!line.startsWith('{"type":"file-end"')) continue
    try {
      const { file, duration } = JSON.parse(line)
      if (typeof file === 'string' && typeof duration === 'number') durations.set(file, duration)
    } catch {
      // The line was cut short.
    }
  }
  return durations
}

/** Opens a new record: `file`, or one of its own for `auto`, which needs no directory to work. Throws `UsageError`. */
export const openRecord = (file: string): number | undefined => {
  if (file !== 'auto') {
    try {
      return openSync(file, 'w')
    } catch (error) {
      throw new UsageError(`--record: ${messageOf(error)}`)
    }
  }
  try {
    mkdirSync(RECORDS, { recursive: true })
    for (const old of records().slice(0, 1 - KEPT)) rmSync(old, { force: true })
    const time = new Date().toISOString().replace(/[-:]/g, '')
    return openSync(join(RECORDS, `${time}-${process.pid}.jsonl`), 'wx')
  } catch {
    return undefined
  }
}
