import fc from 'fast-check'
import t from 'tap'
import type { Event } from './events.ts'
import { harnessReport } from './harness.ts'
import { tapReport } from './tap.ts'
import { golden } from './testdata/golden.ts'
import { kunit, prove, tapParser } from './testdata/readers.ts'
import { RUN } from './testdata/run.ts'
import { lines, safeName } from './text.ts'

const tap = (events: readonly Event[]): string => {
  let text = ''
  const report = tapReport(more => {
    text += more
  })
  for (const event of events) report.event(event)
  return text
}

/** The same run, every file passing: what a reader must call a success. */
const passing = RUN.filter(event => event.type !== 'failure').map((event): Event => {
  if (event.type === 'end') return { ...event, status: event.status === 'skip' ? 'skip' : 'pass' }
  if (event.type !== 'file-end') return event
  const { failure: _failure, reason: _reason, ...rest } = event
  return event.file.endsWith('broken_test.ts')
    ? { ...rest, status: 'skip', reason: 'needs bit #5' }
    : { ...rest, status: 'pass' }
})

t.test('a run as kselftest prints it', async t => {
  t.equal(tap(RUN), golden('run.tap', tap(RUN)))
  t.equal(tap(passing), golden('passing.tap', tap(passing)))
})

t.test('one test file by itself, as kselftest_harness.h prints it', async t => {
  let text = ''
  const report = harnessReport(more => {
    text += more
  })
  const { file } = { file: 'selftests/tdx/words_test.ts' }
  for (const event of RUN) if (event.type === 'run' || ('file' in event && event.file === file)) report.event(event)
  t.equal(text, golden('words_test.tap', text))
  const read = tapParser(text)
  t.same(read.objections, [])
  t.equal(read.results.length, 5)
})

t.test('files come in the order of the run, whatever order they end in', async t => {
  const order = [...tap(RUN).matchAll(/^(?:not )?ok (\d+) selftests: (.*?)(?: #|$)/gm)].map(
    match => `${match[1]} ${match[2]}`,
  )
  t.same(order, ['1 seamless: port_io_test.ts', '2 tdx: broken_test.ts', '3 tdx: words_test.ts', '4 kvm: smm_test'])
})

t.test('tap-parser reads it', async t => {
  const failed = tapParser(tap(RUN))
  t.same(failed.objections, [])
  t.notOk(failed.ok)
  t.equal(failed.results.length, 4)
  const passed = tapParser(tap(passing))
  t.same(passed.objections, [])
  t.ok(passed.ok)
  t.equal(passed.results[1], 'ok 2 selftests: tdx: broken_test.ts # SKIP')
})

const proved = prove(tap(passing))
t.test('prove reads it', { skip: proved === undefined && 'prove is not installed' }, async t => {
  t.equal(proved?.status, 0, proved?.output ?? '')
  const failed = prove(tap(RUN))
  t.equal(failed?.status, 1)
  t.notMatch(failed?.output, /Parse errors/)
  t.match(failed?.output, /Failed 4\/4 subtests/)
})

const parsed = kunit(tap(passing))
t.test(
  "the kernel's kunit.py reads it",
  { skip: parsed === undefined && 'KUNIT_PY does not name kunit.py' },
  async t => {
    t.equal(parsed?.status, 0, parsed?.output ?? '')
    t.match(parsed?.output, /Ran 4 tests: passed: 3, skipped: 1/)
    t.match(kunit(tap(RUN))?.output, /Ran 4 tests: failed: 4/)
  },
)

t.test('any name and any output leave the results alone', async () => {
  const wild = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom('ok 1', 'not ok 1 x # SKIP', '1..9', '#', '\\', '%23'),
  )
  fc.assert(
    fc.property(wild, wild, wild, (name, text, reason) => {
      const file = 'selftests/a_test.ts'
      const common = { file, test: name }
      const printed = tap([
        { type: 'run', version: 1, seed: '0x1', files: [file], time: 0 },
        { type: 'file', file, collection: name, name, tests: [name], time: 0 },
        { type: 'test', ...common, time: 0 },
        { type: 'output', ...common, stream: 'stdout', text },
        { type: 'end', ...common, status: 'skip', reason, duration: 0, instructions: 0 },
        { type: 'file-end', file, status: 'skip', reason, duration: 0, time: 0 },
        { type: 'run-end', interrupted: false, duration: 0, time: 0 },
      ])
      const read = tapParser(printed)
      const results = printed.split('\n').filter(line => !line.startsWith('#'))
      return read.ok && read.results.length === 1 && read.objections.length === 0 && results.length === 4
    }),
  )
})

t.test('different names stay different, and no name holds what a reader trips on', async t => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (a, b) => {
      const [safeA, safeB] = [safeName(a), safeName(b)]
      return !/[#\p{Cc}\u2028\u2029]/u.test(safeA) && (a.toWellFormed() === b.toWellFormed()) === (safeA === safeB)
    }),
  )
  t.not(safeName('a#b'), safeName('a%23b'))
})

t.test('output is lines that hold one line each', async t => {
  t.same(lines('a\r\nb\rc\n\x1b[1md\x1b[0m\0'), ['a', 'b', 'c', 'd\\x00'])
  t.same(lines('no end'), lines('no end\n'))
})
