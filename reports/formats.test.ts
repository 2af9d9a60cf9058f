import { spawnSync } from 'node:child_process'
import fc from 'fast-check'
import t from 'tap'
import { closing } from './closing.ts'
import type { Event, Status } from './events.ts'
import { REPORTS } from './formats.ts'
import { RecordError, readRecord } from './jsonl.ts'
import { golden } from './testdata/golden.ts'
import { kunit, tapParser } from './testdata/readers.ts'
import { RUN } from './testdata/run.ts'

const render = async (format: string, events: readonly Event[] = RUN): Promise<string> => {
  let text = ''
  const report = await REPORTS[format]!(more => {
    text += more
  })
  for (const event of events) report.event(event)
  return text
}

/** A run of one test with these names and this output. */
const wildRun = (name: string, output: string): Event[] => {
  const common = { file: 'a_test.ts', test: name }
  return [
    { type: 'run', version: 1, seed: '0x1', files: ['a_test.ts'], time: 0 },
    { type: 'file', file: 'a_test.ts', collection: name, name, tests: [name], time: 0 },
    { type: 'test', ...common, time: 0 },
    { type: 'output', ...common, stream: 'stdout', text: output },
    { type: 'end', ...common, status: 'fail', reason: output, duration: 0, instructions: 0 },
    { type: 'file-end', file: 'a_test.ts', status: 'fail', reason: 'exit=1', duration: 0, time: 0 },
    { type: 'run-end', interrupted: false, duration: 0, time: 0 },
  ]
}

t.test('the same run in every format', async t => {
  for (const [format, file] of [
    ['ktap', 'run.ktap'],
    ['tap14', 'run.tap14'],
    ['junit', 'run.xml'],
    ['github', 'run.github'],
  ] as const) {
    const text = await render(format)
    t.equal(text, golden(file, text), format)
  }
})

t.test('the parts of a test are documents within it, or comments', async t => {
  const common = { file: 'a_test.ts', test: 'global.a' }
  const part = (path: string[], number: number, status: Status): Event => ({
    type: 'subtest',
    ...common,
    path,
    number,
    status,
  })
  const events: Event[] = [
    { type: 'run', version: 1, seed: '0x1', files: ['a_test.ts'], time: 0 },
    { type: 'file', file: 'a_test.ts', collection: 'c', name: 'a_test.ts', tests: ['global.a'], time: 0 },
    { type: 'test', ...common, time: 0 },
    part(['boot'], 1, 'pass'),
    part(['work', 'add'], 1, 'pass'),
    part(['work', 'sub'], 2, 'fail'),
    part(['work'], 2, 'fail'),
    { type: 'end', ...common, status: 'fail', duration: 0, instructions: 0 },
    { type: 'file-end', file: 'a_test.ts', status: 'fail', reason: 'exit=1', duration: 0, time: 0 },
    { type: 'run-end', interrupted: false, duration: 0, time: 0 },
  ]
  const lines = (await render('ktap', events)).split('\n')
  t.same(lines.slice(2, -3), [
    '  KTAP version 1',
    '  1..1',
    '    KTAP version 1',
    '    1..2',
    '    ok 1 boot',
    '      KTAP version 1',
    '      1..2',
    '      ok 1 add',
    '      not ok 2 sub',
    '    not ok 2 work',
    '  not ok 1 global.a',
    '  # Totals: pass:0 fail:1 xfail:0 xpass:0 skip:0 error:0',
  ])
  const { objections, results } = tapParser(await render('tap14', events))
  t.same(objections, [])
  t.equal(results.at(0), 'not ok 1 selftests: c: a_test.ts')
  t.match(await render('tap', events), /^# # {3}not ok 2 sub$/m)
  t.match(await render('junit', events), /ok 1 boot\n {2}ok 1 add/)
  t.same([...readRecord(await render('jsonl', events))], events, 'a record keeps them')
})

t.test('tap-parser reads TAP 14 with every test', async t => {
  const read = tapParser(await render('tap14'))
  t.same(read.objections, [])
  t.same(read.results.at(2), 'not ok 3 selftests: tdx: words_test.ts')
})

const ktapVerdict = kunit(await render('ktap'))
t.test(
  "the kernel's kunit.py reads KTAP",
  { skip: ktapVerdict === undefined && 'KUNIT_PY names no kunit.py' },
  async t => {
    t.match(ktapVerdict?.output, /Ran 9 tests: passed: 3, failed: 5, skipped: 1/)
  },
)

/** What Python's reader makes of XML: per case its name, and the elements in it. */
const READER = `
import sys, json, xml.etree.ElementTree as e
root = e.fromstring(sys.stdin.buffer.read())
print(json.dumps([root.attrib, [[s.attrib, [[c.attrib, [x.tag for x in c]] for c in s.iter('testcase')]] for s in root.iter('testsuite')]]))
`
type Xml = [Record<string, string>, [Record<string, string>, [Record<string, string>, string[]][]][]]
const readXml = (text: string): Xml | string => {
  const { status, stdout, stderr } = spawnSync('python3', ['-c', READER], { input: text, encoding: 'utf8' })
  return status === 0 ? JSON.parse(stdout) : stderr
}
const noPython = spawnSync('python3', ['--version']).error !== undefined && 'python3 is not installed'

t.test('an XML reader finds every test in JUnit, with counts that add up', { skip: noPython }, async t => {
  const [root, suites] = readXml(await render('junit')) as Xml
  t.equal(suites.length, 4)
  const sum = (key: string) => suites.reduce((total, [suite]) => total + Number(suite[key]), 0)
  for (const key of ['tests', 'failures', 'errors']) t.equal(Number(root[key]), sum(key), key)
  for (const [suite, cases] of suites) {
    t.equal(Number(suite['tests']), cases.length)
    for (const [key, tag] of [
      ['failures', 'failure'],
      ['errors', 'error'],
      ['skipped', 'skipped'],
    ] as const)
      t.equal(Number(suite[key]), cases.filter(([, tags]) => tags.includes(tag)).length, `${suite['name']} ${key}`)
  }
  t.equal(suites[2]?.[1].at(-1)?.[0]['name'], 'global.# not ok 1\n%23', 'a name comes through whole')
})

t.test('no name and no output can break out of JUnit', { skip: noPython }, async t => {
  const nasty = [
    '"><x/>',
    ']]>',
    '</system-out>',
    '<!--',
    '&amp;',
    '&#0;',
    '\0\x1b[31m\ud800\uffff\u{1f600}',
    ...fc.sample(fc.string({ unit: 'binary', maxLength: 30 }), { numRuns: 20, seed: 1 }),
  ]
  const files = nasty.flatMap(text => wildRun(text, text))
  // One reader for all: the suites of each, one after another.
  const texts = await Promise.all(nasty.map(text => render('junit', wildRun(text, text))))
  const inner = texts.map(text => text.replace(/^<\?xml[^\n]*\n/, '')).join('')
  const read = readXml(`<all>${inner}</all>`)
  t.type(read, Array, String(read))
  t.equal((read as Xml)[1].length, nasty.length)
  t.equal(files.length, nasty.length * 7)
})

t.test('a record gives back what was written, and any cut of it what was whole', async t => {
  const text = await render('jsonl')
  t.same([...readRecord(text)], JSON.parse(JSON.stringify(RUN)))
  fc.assert(
    fc.property(fc.nat(text.length), at => {
      const cut = text.slice(0, at)
      const whole = cut.split('\n').length - 1
      if (whole === 0) return true
      return [...readRecord(cut)].length === whole
    }),
  )
  const says = (record: string, message: RegExp) => {
    t.throws(() => [...readRecord(record)], { message })
    t.throws(() => [...readRecord(record)], RecordError)
  }
  says('', /holds no event/)
  says('TAP version 13\n', /line 1 is not JSON: TAP version 13/)
  says('{"type":"end"}\n', /line 1 is not a run event/)
  says('{"type":"run","version":99}\n', /line 1: version 99 of the events; this is version 1/)
  says(`${text}nonsense\n`, /line \d+ is not JSON: nonsense/)
})

t.test('a run that was cut short still tells of every test it began', async t => {
  for (let length = 1; length < RUN.length; length++) {
    const out: Event[] = []
    const close = closing(event => out.push(event))
    for (const event of RUN.slice(0, length)) close(event)
    close({ type: 'run-end', interrupted: true, duration: 0, time: 0 })
    const files = out.filter(event => event.type === 'file')
    const planned = files.flatMap(event => event.tests.map(test => `${event.file} ${test}`)).sort()
    const ended = out.flatMap(event => (event.type === 'end' ? [`${event.file} ${event.test}`] : [])).sort()
    t.same(ended, planned, `${length} events`)
    t.equal(out.filter(event => event.type === 'file-end').length, files.length)
    for (const format of ['tap', 'ktap', 'tap14', 'junit']) t.ok((await render(format, out)).length > 0)
  }
})
