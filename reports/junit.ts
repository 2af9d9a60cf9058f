/** JUnit XML as Jenkins, GitLab and Surefire's readers take it: a suite per file, a case per test. */
import type { Status } from './events.ts'
import { failureLines } from './failure.ts'
import { subtestLine } from './harness.ts'
import type { Report, Write } from './report.ts'
import { type Attempt, type FileResult, gather, type RunResult, restOf, type TestResult, testsOf } from './results.ts'
import { isOk } from './tally.ts'
import { lines } from './text.ts'

/** Text or an attribute's value: what XML 1.0 cannot hold has been spelled out by `lines`. */
const escaped = (text: string): string =>
  text.replace(/[&<>"']|[\ufffe\uffff]/g, c => ESCAPES[c] ?? `\\u${c.charCodeAt(0).toString(16)}`)

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&apos;',
}

const text = (value: string): string => escaped(lines(value).join('\n'))

const attributes = (values: Readonly<Record<string, string | number | undefined>>): string =>
  Object.entries(values)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}="${text(String(value)).replaceAll('\n', '&#10;').replaceAll('\t', '&#9;')}"`)
    .join('')

const seconds = (ms: number): string => (ms / 1000).toFixed(3)

type Counts = { tests: number; failures: number; errors: number; skipped: number }

/** JUnit has one kind of good and three of bad: a timeout is a failure, a fault of ours or a gap an error. */
const countsOf = (statuses: readonly Status[]): Counts => ({
  tests: statuses.length,
  failures: statuses.filter(status => status === 'fail' || status === 'timeout').length,
  errors: statuses.filter(status => status === 'error').length,
  skipped: statuses.filter(status => status === 'skip' || status === 'xfail').length,
})

/**
 * `ant` writes what Ant's schema allows: no counts at the root, no skipped tests (their reasons go to the suite's
 * output), no output of single tests, no reruns.
 */
export const junitReport = (write: Write, ant = false): Report => {
  const suites: string[] = []
  const statuses: Status[] = []
  const event = gather(
    (file, run) => {
      const tests = testsOf(file)
      statuses.push(...tests.map(test => test.status))
      suites.push(ant ? antSuite(file, tests, run, suites.length) : suite(file, tests, run))
    },
    (_run, { duration }) => {
      const { skipped: _skipped, ...counts } = countsOf(statuses)
      const head = ant ? '' : attributes({ name: 'selftests', ...counts, time: seconds(duration) })
      write(`<?xml version="1.0" encoding="UTF-8"?>\n<testsuites${head}>\n${suites.join('')}</testsuites>\n`)
    },
  )
  return { event }
}

const suite = (file: FileResult, tests: readonly TestResult[], run: RunResult): string => {
  const head = attributes({
    name: `selftests: ${file.collection}: ${file.name}`,
    ...countsOf(tests.map(test => test.status)),
    time: seconds(file.duration),
    timestamp: new Date(file.time).toISOString().slice(0, 19),
  })
  const whole = said('system-out', restOf(file, tests), '    ')
  return `  <testsuite${head}>\n${tests.map(test => testCase(test, file, run)).join('')}${whole}  </testsuite>\n`
}

const antSuite = (file: FileResult, tests: readonly TestResult[], run: RunResult, id: number): string => {
  const { skipped: _skipped, ...counts } = countsOf(tests.map(test => test.status))
  const head = attributes({
    package: 'selftests',
    id,
    hostname: 'localhost',
    name: `selftests: ${file.collection}: ${file.name}`,
    ...counts,
    time: seconds(file.duration),
    timestamp: new Date(file.time).toISOString().slice(0, 19),
  })
  const cases = tests.map(test => {
    const body = isOk(test.status) ? '' : outcome({ ...test, earlier: [] }, file, run)
    const open = `    <testcase${caseHead(test, file)}`
    return body === '' ? `${open}/>\n` : `${open}>\n${body}    </testcase>\n`
  })
  const output = tests.flatMap(test => [
    ...(test.status === 'skip' || test.status === 'xfail'
      ? [`${test.status.toUpperCase()} ${test.name} ${test.reason}\n`]
      : []),
    test.output,
  ])
  const out = `    <system-out>${text(output.join('') + restOf(file, tests))}</system-out>\n    <system-err/>\n`
  return `  <testsuite${head}>\n    <properties/>\n${cases.join('')}${out}  </testsuite>\n`
}

const said = (element: string, output: string, indent: string): string =>
  output === '' ? '' : `${indent}<${element}>${text(output)}</${element}>\n`

/** What a test said, and how its parts ended: JUnit has no tests within tests. */
const saidBy = ({ output, parts = [] }: TestResult): string =>
  output + parts.map(part => `${subtestLine(part)}\n`).join('')

const caseHead = (test: TestResult, file: FileResult): string => {
  const classname = `${file.collection}.${file.name.replace(/\.[^.]*$/, '')}`.replaceAll('/', '.')
  return attributes({ name: test.name, classname, time: seconds(test.duration) })
}

const testCase = (test: TestResult, file: FileResult, run: RunResult): string => {
  const head = caseHead(test, file)
  const body = outcome(test, file, run) + said('system-out', saidBy(test), '      ')
  return body === '' ? `    <testcase${head}/>\n` : `    <testcase${head}>\n${body}    </testcase>\n`
}

const outcome = (test: TestResult, file: FileResult, run: RunResult): string => {
  const { status, reason } = test
  if (status === 'skip' || status === 'xfail') {
    const message = status === 'skip' ? reason : `failed as expected: ${reason || 'unknown'}`
    // Content, not an attribute: Jenkins' schema has none here.
    return `      <skipped>${text(message)}</skipped>\n`
  }
  const again = { file: file.file, ...(test.name === file.name ? {} : { test: test.name }), site: test.site, ...run }
  const element = (name: string, { status, reason, failures }: Attempt): string => {
    const blocks = failures.map(failure => failureLines(failure, again))
    const message = blocks[0]?.[0] ?? (reason || status)
    const all = blocks.length === 0 ? [reason || status] : blocks.flat()
    return `      <${name}${attributes({ message, type: status })}>${text(all.join('\n'))}</${name}>\n`
  }
  // Surefire's schema: failed attempts of a test that passed are flaky, those of one that failed are reruns.
  const kind = isOk(status) ? 'flaky' : 'rerun'
  const earlier = test.earlier
    .filter(one => !isOk(one.status))
    .map(one => element(`${kind}${one.status === 'error' ? 'Error' : 'Failure'}`, one))
  const last = isOk(status) ? [] : [element(status === 'error' ? 'error' : 'failure', test)]
  return [...last, ...earlier].join('')
}
