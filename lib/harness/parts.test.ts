import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { Event } from '#reports'
import { collect } from './collect.ts'
import { collected, run } from './sample.ts'

const named = await collected('parts_test.ts')
const path = (name: string) => fileURLToPath(new URL(`testdata/${name}`, import.meta.url))

t.test('the parts of a test: each ends by itself, the test goes on and has failed', async t => {
  const events: Event[] = []
  const test = named('global.has_parts')
  const outcome = await test.run({ seed: 1n, timeout: 0, deadline: () => false, emit: event => events.push(event) })
  t.match(outcome, { status: 'fail' })
  t.match(
    events.filter(event => event.type === 'subtest'),
    [
      { path: ['part_1'], number: 1, status: 'pass' },
      { path: ['part_2', 'inner'], number: 1, status: 'fail' },
      { path: ['part_2'], number: 2, status: 'fail' },
      { path: ['part_3'], number: 3, status: 'skip', reason: 'three is too many' },
    ],
  )
  t.same(
    events.flatMap(event => (event.type === 'output' ? [event.text] : [])),
    ['part 1 goes on', 'part 2 goes on', 'the test goes on'],
  )
})

t.test('a part that throws is a fault of the test', async t => {
  t.match(await run(named('global.has_a_part_that_throws')), {
    status: 'error',
    reason: 'TypeError: a fault of the part',
  })
})

t.test('a product of tables: every variant with every other, each under its name', async t => {
  const { tests } = await collect(path('parts_test.ts'))
  const every = tests.filter(test => test.fixture === 'every')
  t.equal(every.length, 18)
  t.ok(every.some(test => test.name === 'every.gpa52_la57_port_index_vcpus2.runs'))
  for (const test of every) t.equal((await run(test)).status, 'pass', test.name)
})

t.test('a suite of one-vCPU tests', async t => {
  t.match(await run(named('one_vcpu.is_done')), { status: 'pass' })
  t.match(await run(named('one_vcpu.syncs')), { status: 'pass' })
  t.same(named('one_vcpu.syncs').tags, ['fast'])
})

t.test('only and todo: the rest is skipped, and CI takes neither', async t => {
  const { CI } = process.env
  t.teardown(() => {
    if (CI === undefined) delete process.env['CI']
    else process.env['CI'] = CI
  })
  process.env['CI'] = ''
  const { tests } = await collect(path('only_test.ts'))
  const outcomes = []
  for (const test of tests) outcomes.push([test.name, (await run(test)).status])
  t.same(outcomes, [
    ['global.left_out', 'skip'],
    ['of.one.alone', 'pass'],
    ['of.one.unwritten', 'skip'],
  ])
  process.env['CI'] = 'true'
  await t.rejects(collect(path('only_test.ts')), {
    message: "test of of 'alone': test.only is for one's own machine; CI is set, and runs everything",
  })
})
