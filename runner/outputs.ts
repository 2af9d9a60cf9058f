/** Where a run's reports and its record go. */
import { closeSync, openSync, writeSync } from 'node:fs'
import { closing, jsonlReport, progressLine, REPORTS, type Report, type Write } from '#reports'
import { messageOf, UsageError } from './errors.ts'
import { openRecord } from './state.ts'

/**
 * Opens the reports asked for, `FORMAT` or `FORMAT:FILE`; TAP to standard output if none goes there. `record` is the
 * file for the run's record, `auto` for one in the state directory, or `none`. Throws `UsageError`.
 */
export const openReports = async (asked: readonly string[], record: string): Promise<Report> => {
  const toOutput: Write = text => {
    process.stdout.write(text)
  }
  const made: Report[] = []
  const open: number[] = []
  const wanted = asked.map(text => {
    const colon = text.indexOf(':')
    const format = colon < 0 ? text : text.slice(0, colon)
    const make = REPORTS[format]
    if (make === undefined) {
      const known = Object.keys(REPORTS)
      throw new UsageError(`--report ${text}: no format ${format}; there are ${known.join(', ')}`)
    }
    return { make, file: colon < 0 ? undefined : text.slice(colon + 1) }
  })
  if (wanted.every(({ file }) => file !== undefined))
    wanted.push({ make: REPORTS[process.stdout.isTTY ? 'terminal' : 'tap']!, file: undefined })
  // Results go to a file or a pipe, and a person watches: show what runs.
  if (process.stderr.isTTY && !process.stdout.isTTY) made.push(await progressLine())
  if (wanted.filter(({ file }) => file === undefined).length > 1)
    throw new UsageError('--report: only one report can go to standard output; give the others a FILE')
  for (const { make, file } of wanted) {
    if (file === undefined) {
      made.push(await make(toOutput))
      continue
    }
    let fd: number
    try {
      fd = openSync(file, 'w')
    } catch (error) {
      throw new UsageError(`--report: ${messageOf(error)}`)
    }
    open.push(fd)
    made.push(await make(text => writeSync(fd, text)))
  }
  const recordFd = record === 'none' ? undefined : openRecord(record)
  if (recordFd !== undefined) {
    open.push(recordFd)
    made.push(jsonlReport(text => writeSync(recordFd, text)))
  }
  return {
    event: closing(event => {
      for (const report of made) report.event(event)
    }),
    close() {
      for (const report of made) report.close?.()
      for (const fd of open) closeSync(fd)
    },
  }
}
