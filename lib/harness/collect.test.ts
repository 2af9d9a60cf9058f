import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { Event } from '#reports'
import { type CollectedTest, collect } from './collect.ts'

const WORDS = fileURLToPath(new URL('testdata/words_test.ts', import.meta.url))

const run = async (test: CollectedTest) => {
  const events: Event[] = []
  const outcome = await test.run({ seed: 1n, timeout: 1000, deadline: () => false, emit: event => events.push(event) })
  const failures = events.flatMap(event => (event.type === 'failure' ? [event.failure] : []))
  const said = events.flatMap(event => (event.type === 'output' ? [event.text] : []))
  return { ...outcome, failures, said }
}

const { file, tests } = await collect(WORDS)
const named = (name: string): CollectedTest => {
  const found = tests.find(test => test.name === name)
  if (found === undefined) throw new Error(`no test ${name}`)
  return found
}

t.test("tests come in source order under kselftest's names", async t => {
  t.match(file, /testdata\/words_test\.ts$/)
  t.same(
    tests.filter(test => test.fixture === 'counted').map(test => test.name),
    [
      'counted.one.gets_what_setup_made',
      'counted.one.is_torn_down_after_failure',
      'counted.one.broken_setup',
      'counted.two.gets_what_setup_made',
      'counted.two.is_torn_down_after_failure',
      'counted.two.broken_setup',
    ],
  )
  t.match(tests[0], {
    name: 'global.holds',
    fixture: 'global',
    test: 'holds',
    tags: [],
    site: { line: 4, function: 'holds' },
  })
  t.match(named('counted.two.gets_what_setup_made'), { variant: 'two', tags: ['fast'], timeout: 500 })
})

t.test('a file is fresh each time it is collected', async t => {
  const again = await collect(WORDS)
  t.same(
    again.tests.map(test => test.name),
    tests.map(test => test.name),
  )
})

t.test('what holds passes and is silent', async t => {
  t.same(await run(named('global.holds')), { status: 'pass', instructions: 0, failures: [], said: ['said'] })
})

t.test('assert stops, and shows the source text of both sides', async t => {
  const { status, failures, said } = await run(named('global.assert_stops'))
  t.equal(status, 'fail')
  t.same(said, [])
  t.match(failures, [
    {
      kind: 'assertion',
      side: 'host',
      message: 'arithmetic',
      site: { file, line: 13 },
      comparison: { op: 'eq', seen: { source: 'sum', value: '0x4' }, want: { source: '5n', value: '0x5' } },
    },
  ])
})

t.test('expect goes on, and the test fails at its end', async t => {
  const { status, failures, said } = await run(named('global.expect_goes_on'))
  t.equal(status, 'fail')
  t.same(said, ['reached'])
  t.match(failures, [
    {
      comparison: {
        op: 'eq',
        seen: { source: 'flags & 0b110n', value: '0x2' },
        want: { source: '0b100n', value: '0x4' },
      },
    },
    { comparison: { op: 'ge', seen: { value: '1' }, want: { source: '[2, 3].length', value: '2' } } },
  ])
})

t.test('match shows the fields that were named', async t => {
  const { failures } = await run(named('global.match_shows_fields'))
  t.match(failures, [{ comparison: { op: 'match', seen: { value: "{\n  port:      49\n  direction: 'in'\n}" } } }])
})

t.test('bytes, ranges and structures: both sides whole, so that a report can compare them', async t => {
  const { failures } = await run(named('global.shows_both_sides'))
  t.match(failures, [
    {
      message: 'a counting page',
      comparison: {
        op: 'bytes',
        seen: { source: 'seen', value: /^0010 {2}10 11 ff 13/m },
        want: { source: 'seen.map((_, i) => i)', value: /^0010 {2}10 11 12 13/m },
      },
    },
    { comparison: { seen: { value: '0000  01 02\n' }, want: { source: '[1, 3]', value: '0000  01 03\n' } } },
    {
      comparison: {
        op: 'inRange',
        seen: { source: 'seen.length', value: '40' },
        want: { source: '1 to 39', value: '1 to 39' },
      },
    },
    {
      comparison: { op: 'match', seen: { value: '{\n  list: [1, 2, 3]\n}' }, want: { value: '{\n  list: [1, 2]\n}' } },
    },
    { comparison: { seen: { value: "{\n  list: [1, 2]\n  name: 'td'\n}" } } },
  ])
  t.equal(failures.length, 5)
})

t.test('skip, xfail, xpass and faults of the test', async t => {
  t.match(await run(named('global.is_skipped')), {
    status: 'skip',
    reason: 'arithmetic is not that kind',
    failures: [],
  })
  t.match(await run(named('global.is_known_to_fail')), { status: 'xfail', reason: 'known', failures: [{}] })
  t.match(await run(named('global.passes_although_known_to_fail')), { status: 'xpass', reason: 'known' })
  t.match(await run(named('global.throws')), {
    status: 'error',
    reason: 'TypeError: a fault of the test',
    failures: [{ kind: 'crash', site: { file, line: 42 }, stack: /words_test\.ts:42/ }],
  })
})

t.test('a failure that the test catches is still one', async t => {
  t.match(await run(named('global.a_caught_failure_still_fails')), { status: 'fail', said: ['caught'], failures: [{}] })
})

t.test('teardown follows every setup that went through', async t => {
  t.match(await run(named('counted.one.gets_what_setup_made')), { status: 'pass', said: ['setup 1, teardown 1 0.5'] })
  t.match(await run(named('counted.one.is_torn_down_after_failure')), {
    status: 'fail',
    said: ['setup 1, teardown 1 0.5'],
  })
  t.match(await run(named('counted.two.is_torn_down_after_failure')), { status: 'xfail', reason: 'two is odd' })
  t.match(await run(named('counted.one.broken_setup')), {
    status: 'fail',
    said: [],
    failures: [{ site: { line: 59 } }],
  })
})

t.test('mistakes in a file are said when it loads', async t => {
  const bad = (name: string) => collect(fileURLToPath(new URL(`testdata/${name}`, import.meta.url)))
  await t.rejects(bad('twice_test.ts'), { message: "test 'same': declared twice" })
  await t.rejects(bad('name_test.ts'), { message: "test 'has blanks': a name has letters, digits, '_' and '-' only" })
  await t.rejects(bad('no_such_test.ts'), { code: 'ERR_MODULE_NOT_FOUND' })
})
