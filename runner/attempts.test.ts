import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { seamless } from './testdata/cli.ts'
import { FAIL, fake, inside, PASS, ran, three } from './testdata/suites.ts'
import { sh } from './testdata/tree.ts'

const inTree = (t: Parameters<typeof inside>[0], script: string) => {
  const cwd = t.testdir({ programs: { x_test: script } })
  chmodSync(join(cwd, 'programs/x_test'), 0o755)
  return (...args: string[]) => seamless([...args, 'programs/x_test'], {}, cwd)
}
const FLAKY = sh(
  'echo "TAP version 13"; echo "1..1"; [ -e ran ] || { touch ran; echo "not ok 1 a"; exit 1; }; echo "ok 1 a"',
)

t.test('a program that failed is run again; what it reported counts once', async t => {
  const run = inTree(t, FLAKY)
  const { stdout, status } = run('--retries', '2')
  t.equal(status, 0)
  t.match(stdout, /^# seamless: attempt 1: fail exit=1, runs again$/m)
  t.match(stdout, /^ok 1 selftests: programs: x_test$/m)
  t.equal(inTree(t, FLAKY)('--retries', '1', '--fail-on-flaky').status, 1)
  t.equal(inTree(t, FLAKY)('--retries', '1', '--report', 'jsonl').stdout.match(/"type":"end"/g)?.length, 1)
  const hopeless = inTree(t, sh('echo tried; exit 3'))('--retries', '2')
  t.equal(hopeless.status, 1)
  t.equal(hopeless.stdout.match(/^# tried$/gm)?.length, 3)
  t.equal(inTree(t, sh('echo done'))('--repeat', '4').stdout.match(/^# done$/gm)?.length, 4)
})

t.test('under stress a test runs until the time is over, or it fails', async t => {
  const { run } = inside(t, {
    'a_test.ts': fake({ 'global.a': PASS, 'global.b': FAIL }),
    'b_test.ts': fake({ 'global.c': PASS }),
  })
  const { stdout, status } = run('--stress', '300ms', '--jobs', '1', '--report', 'jsonl')
  t.equal(status, 1)
  const attempts = (test: string) => Number(new RegExp(`"end",.*"test":"${test}".*"attempts":(\\d+)`).exec(stdout)?.[1])
  t.ok(attempts('global.a') > 1)
  t.ok(attempts('global.c') > 1, 'the second file has its share')
  t.notMatch(stdout, /"attempt",.*"test":"global\.b"/)
  t.match(run('--stress', 'long').stderr, /--stress long: not a time such as 60s/)
})

t.test('the last run can be had again, whatever came of it', async t => {
  const { run } = inside(t, three)
  t.match(run('--last').stderr, /--last: no run is recorded here yet/)
  t.same(ran(run('selftests/a_test.ts', '-T', 'b').stdout), ['global.a', 'port.byte.c'])
  t.same(ran(run('--last').stdout), ['global.a', 'port.byte.c'])
  t.same(ran(run('--last').stdout), ['global.a', 'port.byte.c'])
})
