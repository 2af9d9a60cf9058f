/** How much of a test's output is shown, by how it ended: `--print-passed`, `--print-failed`, `--print-skipped`. */
import type { Event, Status } from './events.ts'
import type { Report } from './report.ts'
import { isOk } from './tally.ts'

export const LEVELS = ['full', 'stdout', 'stderr', 'none'] as const
/** `full`: everything; `stdout`, `stderr`: that stream alone; `none`: nothing but the result. What failed is always said. */
export type Level = (typeof LEVELS)[number]

export type Levels = { readonly passed: Level; readonly failed: Level; readonly skipped: Level }

const levelOf = (levels: Levels, status: Status): Level =>
  status === 'skip' ? levels.skipped : isOk(status) ? levels.passed : levels.failed

type Output = Extract<Event, { type: 'output' }>

const shows = (level: Level, { stream }: Output): boolean => {
  if (level === 'full') return true
  if (level === 'none') return false
  return level === 'stderr' ? stream === 'stderr' : stream !== 'stderr'
}

/**
 * The same report, told less. Output is held until its test (or, of a program, its file) has ended; what one test holds
 * is handed on in the order it came.
 */
export const withLevels = (report: Report, levels: Levels): Report => {
  if (levels.passed === 'full' && levels.failed === 'full' && levels.skipped === 'full') return report
  const held = new Map<string, Output[]>()
  const release = (key: string, status: Status): void => {
    const level = levelOf(levels, status)
    for (const output of held.get(key) ?? []) if (shows(level, output)) report.event(output)
    held.delete(key)
  }
  return {
    ...report,
    event: event => {
      if (event.type === 'output') {
        const key = `${event.file}\0${event.test ?? ''}`
        const outputs = held.get(key)
        if (outputs === undefined) held.set(key, [event])
        else outputs.push(event)
        return
      }
      if (event.type === 'end' || event.type === 'attempt') release(`${event.file}\0${event.test}`, event.status)
      if (event.type === 'file-end') release(`${event.file}\0`, event.status)
      report.event(event)
    },
  }
}
