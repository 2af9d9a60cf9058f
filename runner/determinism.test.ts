import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readRecord } from '#reports'
import { seamless } from './testdata/cli.ts'
import { objections, verdicts } from './testdata/readers.ts'

/** The real selftests through the real command; what a record says but for times. */
const run = (t: { testdir: (typeof tap)['testdir'] }, ...args: string[]) => {
  const record = join(t.testdir({}), 'record.jsonl')
  const { stdout, status } = seamless(['selftests/', '--record', record, ...args], { SEAMLESS_HARNESS: undefined })
  const counts = [...readRecord(readFileSync(record, 'utf8'))].flatMap(event =>
    event.type === 'end' ? [`${event.file} ${event.test} ${event.status} ${event.instructions}`] : [],
  )
  return { stdout, status, counts: counts.sort() }
}
const tap = t

t.test('two runs with one seed print the same bytes and run the same instructions', async t => {
  const first = run(t)
  const second = run(t, '--jobs', '1')
  t.equal(second.stdout, first.stdout)
  t.same(second.counts, first.counts)
  t.ok(first.counts.length > 0)
  t.equal(first.status, 0)

  t.same(objections(first.stdout), [])
  const said = verdicts(first.stdout, join(t.testdir({}), 'out.tap'))
  for (const [reader, status] of Object.entries(said)) t.equal(status, 0, reader)
})
