/** A run as documents within a document: KTAP 1 with two spaces, or TAP 14 with four and YAML. */
import type { Status } from './events.ts'
import { failureLines } from './failure.ts'
import { resultLine } from './harness.ts'
import type { Report, Write } from './report.ts'
import { type FileResult, gather, type RunResult, type TestResult } from './results.ts'
import { emptyTally, isOk, totals } from './tally.ts'
import { lines, safeName, safeReason } from './text.ts'

type Dialect = {
  readonly version: string
  readonly nestedVersion?: string
  readonly indent: string
  result(number: number, name: string, status: Status, reason: string): string
  /** What explains a test's result, and whether it comes before it. */
  explain(result: TestResult, file: FileResult, run: RunResult): { before: string[]; after: string[] }
}

const why = (test: TestResult, file: FileResult, run: RunResult): string[] =>
  test.failures
    .flatMap(failure => failureLines(failure, { file: file.file, test: test.name, site: test.site, ...run }))
    .flatMap(lines)

const comment = (line: string): string => `# ${line}`.trimEnd()

const KTAP: Dialect = {
  version: 'KTAP version 1',
  nestedVersion: 'KTAP version 1',
  indent: '  ',
  result: resultLine,
  explain: (test, file, run) => ({ before: [...lines(test.output), ...why(test, file, run)].map(comment), after: [] }),
}

const TAP14: Dialect = {
  version: 'TAP version 14',
  indent: '    ',
  /** TAP 14 knows SKIP and TODO; an expected failure is what TODO means there. */
  result(number, name, status, reason) {
    const ok = isOk(status) && status !== 'xfail' ? 'ok' : 'not ok'
    const directive = status === 'skip' ? ' # SKIP' : status === 'xfail' ? ' # TODO' : ''
    return `${ok} ${number} - ${name}${directive}${directive === '' || reason === '' ? '' : ` ${reason}`}`
  },
  explain(test, file, run) {
    const said = { status: test.status, reason: test.reason, duration_ms: test.duration, at: test.site }
    const text = why(test, file, run)
    return {
      before: lines(test.output).map(comment),
      after: isOk(test.status) && test.status !== 'xfail' ? [] : yaml({ ...said, failure: text }),
    }
  },
}

/** A YAML block of scalars, flat objects and lists of lines; JSON strings are YAML's double-quoted ones. */
const yaml = (data: Readonly<Record<string, unknown>>): string[] => {
  const out = ['  ---']
  for (const [key, value] of Object.entries(data)) {
    if (value === undefined || value === '' || (Array.isArray(value) && value.length === 0)) continue
    if (!Array.isArray(value)) out.push(`  ${key}: ${JSON.stringify(value)}`)
    else out.push(`  ${key}:`, ...value.map(line => `    - ${JSON.stringify(line)}`))
  }
  return [...out, '  ...']
}

/** The parts of a test as documents within it, innermost first as they ended. */
const partLines = ({ name, parts = [] }: TestResult, dialect: Dialect): string[] => {
  /** Lines of the parts that ended and wait for the whole that they are in, by depth. */
  const waiting: string[][] = []
  const whole = (depth: number, name: string): string[] => {
    const body = waiting[depth] ?? []
    waiting[depth] = []
    if (body.length === 0) return []
    const count = body.filter(line => /^(not )?ok /.test(line)).length
    const version = dialect.nestedVersion === undefined ? [] : [dialect.nestedVersion]
    const head = dialect.nestedVersion === undefined ? [`# Subtest: ${safeName(name)}`] : []
    return [...head, ...[...version, `1..${count}`, ...body].map(line => dialect.indent + line)]
  }
  for (const { path, number, status, reason = '' } of parts) {
    const depth = path.length
    const own = safeName(path.at(-1) ?? '')
    const lines = [...whole(depth + 1, own), dialect.result(number, own, status, safeReason(reason))]
    waiting[depth] = [...(waiting[depth] ?? []), ...lines]
  }
  return whole(1, name)
}

const nestedReport = (write: Write, dialect: Dialect): Report => {
  const tally = emptyTally()
  let number = 0
  const print = (text: readonly string[]) => write(`${text.join('\n')}\n`)
  const event = gather(
    (file, run) => {
      tally[file.status]++
      number++
      const name = `selftests: ${safeName(file.collection)}: ${safeName(file.name)}`
      const result = dialect.result(number, name, file.status, safeReason(file.reason))
      const { failure } = file
      const said = failure === undefined ? [] : failureLines(failure, { file: file.file, ...run }).flatMap(lines)
      const code = file.status === 'fail' && failure === undefined && file.tests.length === 0 ? [file.reason] : []
      const own = [...(file.kind === 'executable' ? lines(file.output) : []), ...said, ...code].map(comment)
      if (file.tests.length === 0) return print([...own, result])
      const body = file.tests.flatMap((test, index) => {
        const { before, after } = dialect.explain(test, file, run)
        const reason = safeReason(test.reason)
        return [
          ...before,
          ...partLines(test, dialect),
          dialect.result(index + 1, safeName(test.name), test.status, reason),
          ...after,
        ]
      })
      const version = dialect.nestedVersion === undefined ? [] : [dialect.nestedVersion]
      const inner = [...version, `1..${file.tests.length}`, ...own, ...body, `# ${totals(file.tally)}`]
      const head = dialect.nestedVersion === undefined ? [`# Subtest: ${name}`] : []
      print([...head, ...inner.map(line => dialect.indent + line), result])
    },
    (_run, { interrupted, reason = 'interrupted' }) =>
      print([...(interrupted ? [`Bail out! ${reason}`] : []), `# ${totals(tally)}`]),
    run => print([dialect.version, `1..${run.files.length}`]),
  )
  return { event }
}

export const ktapReport = (write: Write): Report => nestedReport(write, KTAP)
export const tap14Report = (write: Write): Report => nestedReport(write, TAP14)
