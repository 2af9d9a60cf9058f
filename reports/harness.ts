/** What one test file prints by itself: TAP 13 in the lines of kselftest_harness.h. */
import type { Event, Site } from './events.ts'
import { failureLines } from './failure.ts'
import type { Report, Write } from './report.ts'
import { emptyTally, isOk, statusOf, totals } from './tally.ts'
import { lines, safeName, safeReason } from './text.ts'

/** The run's part in a file's lines: how to repeat a test. */
export type RunFacts = { seed: string; options: readonly string[] }

/** Turns the events of one file into its lines, without newlines. */
export const harnessLines = (run: RunFacts): ((event: Event) => string[]) => {
  const tally = emptyTally()
  let planned = 0
  let number = 0
  let site: Site | undefined
  const comment = (text: string): string => `# ${text}`.trimEnd()
  return event => {
    switch (event.type) {
      case 'file': {
        planned = event.tests.length
        if (planned === 0) return []
        const cases = new Set(event.tests.map(name => name.slice(0, name.lastIndexOf('.')))).size
        return ['TAP version 13', `1..${planned}`, `# Starting ${planned} tests from ${cases} test cases.`]
      }
      case 'test':
        site = event.site
        return [`#  RUN           ${safeName(event.test)} ...`]
      case 'output':
        return lines(event.text).map(comment)
      case 'failure':
        return failureLines(event.failure, { file: event.file, test: event.test, site, ...run })
          .flatMap(lines)
          .map(comment)
      case 'subtest':
        return [comment(subtestLine(event))]
      case 'attempt':
        return [comment(`${safeName(event.test)}: attempt ${event.attempt}: ${event.status}, runs again`)]
      case 'end': {
        const { status } = event
        tally[status]++
        number++
        const name = safeName(event.test)
        const reason = safeReason(event.reason ?? '')
        const out: string[] = []
        if (status === 'skip') out.push(`#      SKIP      ${reason}`)
        if (status === 'timeout') out.push(`# ${name}: Test terminated by timeout`)
        out.push(`# ${isOk(status) && status !== 'xfail' ? '           OK' : '         FAIL'}  ${name}`)
        out.push(resultLine(number, name, status, reason))
        return out
      }
      case 'file-end': {
        if (planned === 0)
          return ['TAP version 13', '1..0', `Bail out! ${safeReason(event.reason ?? event.failure?.message ?? '')}`]
        const passed = tally.pass + tally.skip + tally.xfail + tally.xpass
        const verdict = statusOf(tally) === 'fail' ? 'FAILED' : 'PASSED'
        return [`# ${verdict}: ${passed} / ${planned} tests passed.`, `# ${totals(tally)}`]
      }
      case 'run':
      case 'run-end':
        return []
    }
  }
}

const DIRECTIVES = {
  pass: '',
  fail: '',
  skip: 'SKIP',
  xfail: 'XFAIL',
  xpass: 'XPASS',
  timeout: 'TIMEOUT',
  error: 'ERROR',
} as const

/** `ok 9 fixture.variant.test # XFAIL reason`: number always, directive after the name, upper case. */
export const resultLine = (number: number, name: string, status: keyof typeof DIRECTIVES, reason: string): string => {
  const directive = DIRECTIVES[status]
  const result = `${isOk(status) ? 'ok' : 'not ok'} ${number} ${name}`
  if (directive === '') return result
  return `${result} # ${directive}${reason === '' ? ' unknown' : ` ${reason}`}`
}

/** A part of a test as kselftest nests results: in a comment, two blanks further in for each whole it is part of. */
export const subtestLine = ({ path, number, status, reason = '' }: Extract<Event, { type: 'subtest' }>): string =>
  '  '.repeat(path.length - 1) + resultLine(number, safeName(path.at(-1) ?? ''), status, safeReason(reason))

/** The report of a single test file run by itself. */
export const harnessReport = (write: Write): Report => {
  let print: ((event: Event) => string[]) | undefined
  return {
    event(event) {
      if (event.type === 'run') print = harnessLines({ seed: event.seed, options: event.options ?? [] })
      const text = print?.(event) ?? []
      if (text.length > 0) write(`${text.join('\n')}\n`)
    },
  }
}
