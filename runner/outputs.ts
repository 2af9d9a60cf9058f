/** Where a run's reports and its record go. */
import { appendFileSync, closeSync, openSync } from 'node:fs'
import {
  closing,
  heartbeat,
  jsonlReport,
  LEVELS,
  type Level,
  progressLine,
  REPORTS,
  type Report,
  type Write,
  withLevels,
} from '#reports'
import { messageOf, UsageError } from './errors.ts'
import { type CommandLine, last } from './options.ts'
import { openRecord } from './state.ts'

/** All reports of a run as one. */
export type Outputs = Report & {
  close(): void
  /** A file that was asked for could not be written to its end. */
  readonly isBroken: boolean
}

/**
 * Opens the reports asked for, `FORMAT` or `FORMAT:FILE`; TAP to standard output if none goes there. `record` is the
 * file for the run's record, `auto` for one in the state directory, or `none`. What goes to standard output is told as
 * the `--print-` options of `line` say. Throws `UsageError`.
 */
export const openReports = async (asked: readonly string[], record: string, line: CommandLine): Promise<Outputs> => {
  const levels = {
    passed: levelOf(line, 'print-passed'),
    failed: levelOf(line, 'print-failed'),
    skipped: levelOf(line, 'print-skipped'),
  }
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
  if (wanted.filter(({ file }) => file === undefined).length > 1)
    throw new UsageError('--report: only one report can go to standard output; give the others a FILE')

  const made: Report[] = []
  const open: number[] = []
  let isBroken = false
  /** Writes until that fails: a full disk ends a report, never the run. */
  const into = (fd: number, file: string, matters: boolean): Write => {
    let ended = false
    open.push(fd)
    return text => {
      if (ended) return
      try {
        appendFileSync(fd, text)
      } catch (error) {
        ended = true
        isBroken ||= matters
        process.stderr.write(`seamless: cannot write ${file}: ${messageOf(error)}\n`)
      }
    }
  }
  const files = wanted.map(({ make, file }) => ({
    make,
    isShown: file === undefined,
    write: file === undefined ? toOutput : into(create(file), file, true),
  }))
  const recordFd = record === 'none' ? undefined : openRecord(record)
  if (recordFd !== undefined) made.push(jsonlReport(into(recordFd, 'the record', record !== 'auto')))
  for (const { make, write, isShown } of files) {
    const report = await make(write)
    made.push(isShown ? withLevels(report, levels) : report)
  }
  // Results go to a file or a pipe, and a person watches: show what runs.
  if (process.stderr.isTTY && !process.stdout.isTTY) made.push(await progressLine())
  // Nobody watches, but a log is read: a long run says now and then that it lives.
  else if (!process.stderr.isTTY && !process.stdout.isTTY) made.push(heartbeat(text => void process.stderr.write(text)))
  return {
    event: closing(event => {
      for (const report of made) report.event(event)
    }),
    close() {
      for (const report of made) report.close?.()
      for (const fd of open) closeSync(fd)
    },
    get isBroken() {
      return isBroken
    },
  }
}

const levelOf = (line: CommandLine, option: string): Level => {
  const given = last(line, option) ?? 'full'
  const level = LEVELS.find(known => known === given)
  if (level === undefined) throw new UsageError(`--${option} ${given}: no such level; there are ${LEVELS.join(', ')}`)
  return level
}

const toOutput: Write = text => {
  process.stdout.write(text)
}

const create = (file: string): number => {
  try {
    return openSync(file, 'w')
  } catch (error) {
    throw new UsageError(`--report: ${messageOf(error)}`)
  }
}
