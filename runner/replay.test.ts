import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { inside, ran, three } from './testdata/suites.ts'

t.test('shards merge into the report of the whole run', async t => {
  const { run, cwd } = inside(t, three)
  run('--shard', '1/2', '--record', 'one.jsonl')
  run('--shard', '2/2', '--record', 'two.jsonl')
  const merged = run('merge', 'one.jsonl', 'two.jsonl')
  t.equal(merged.status, 1)
  t.same(ran(merged.stdout).toSorted(), ran(run().stdout).toSorted())
  t.match(
    run('merge', 'one.jsonl', 'one.jsonl').stderr,
    /_test.ts is in one.jsonl and in one.jsonl: not shards of one run/,
  )
  const counts = (text: string) => /<testsuites ([^>]*) time/.exec(text)?.[1]
  run('--report', 'junit:whole.xml')
  t.equal(
    counts(run('merge', 'two.jsonl', 'one.jsonl', '--report', 'junit').stdout),
    counts(readFileSync(join(cwd, 'whole.xml'), 'utf8')),
  )
})

t.test('a replay prints what the run printed', async t => {
  const { run, cwd } = inside(t, three)
  for (const format of ['tap', 'ktap', 'tap14', 'junit', 'github']) {
    const live = run('--report', format, '--record', 'record.jsonl')
    const again = run('replay', 'record.jsonl', '--report', format)
    t.equal(again.stdout, live.stdout, format)
    t.equal(again.status, live.status)
  }
  const last = run().stdout
  t.equal(run('replay').stdout, last)
  t.equal(run('replay', join('.seamless/records', readdirSync(join(cwd, '.seamless/records'))[0]!)).stdout, last)
  t.match(run('replay', 'nothing.jsonl').stderr, /^seamless: nothing.jsonl: ENOENT/)
  t.match(run('replay', 'selftests/a_test.ts').stderr, /^seamless: selftests\/a_test.ts: line 1 is not JSON/)
})

t.test('a merge wants all the shards, of one run, cut alike', async t => {
  const { run } = inside(t, three)
  for (const part of [1, 2, 3]) run('--shard', `${part}/3`, '--record', `s${part}.jsonl`)
  run('--shard', '2/2', '--record', 'other.jsonl')
  t.match(run('merge', 's1.jsonl', 's3.jsonl').stderr, /^seamless: merge: shard 2 of 3 is missing$/m)
  t.match(run('merge', 's1.jsonl', 'other.jsonl').stderr, /shards of different runs|not shards of one run/)
  t.same(ran(run('merge', 's1.jsonl', 's2.jsonl', 's3.jsonl').stdout).length, 5)
})
