import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { testFile } from './discover.ts'
import { shardOf } from './select.ts'
import { seamless } from './testdata/cli.ts'
import { FAIL, FLAKY, fake, inside, PASS, ran, three } from './testdata/suites.ts'

t.test('what failed in the last run can be run alone, then what still fails', async t => {
  const { run } = inside(t, three)
  t.match(run('--rerun-failed').stderr, /^seamless: --rerun-failed: no run is recorded here yet$/m)
  t.same(ran(run().stdout), ['global.a', 'global.b', 'port.byte.c', 'global.d', 'global.e'])
  const again = run('--rerun-failed')
  t.same(ran(again.stdout), ['global.b', 'global.e'])
  t.equal(again.status, 1)
  t.equal(run('selftests/b_test.ts').status, 0)
  t.match(run('--rerun-failed').stderr, /^seamless: --rerun-failed: nothing failed in the last run$/m)
})

t.test('expressions, lines and shards choose tests', async t => {
  const { run } = inside(t, three)
  t.same(ran(run('-E', 'suite(seamless) - test(b)').stdout), ['global.a', 'port.byte.c', 'global.d'])
  t.same(ran(run('selftests/a_test.ts:2').stdout), ['global.b'])
  t.match(run('selftests/a_test.ts:0').stderr, /a_test.ts:0: no test stands there/)
  t.match(run('-E', 'test(x)').stderr, /^seamless: -E 'test\(x\)' matches no test$/m)
  t.match(
    run('-E', 'tset(x)').stderr,
    /unknown word tset \(did you mean test\?\) at character 1\n {2}tset\(x\)\n {2}\^/,
  )
  const shards = ['1/2', '2/2'].flatMap(shard => ran(run('--shard', shard).stdout))
  t.same(shards.toSorted(), ['global.a', 'global.b', 'global.d', 'global.e', 'port.byte.c'])
  t.match(run('--shard', '3/2').stderr, /^seamless: --shard 3\/2: not M\/N/)
})

t.test('a flaky test passes when it is run again, and says so', async t => {
  const tests = { 'x_test.ts': fake({ 'global.before': PASS, 'global.flaky': FLAKY, 'global.after': PASS }) }
  const first = inside(t, tests).run('--retries', '1')
  t.equal(first.status, 0)
  t.match(first.stdout, /^# # global.flaky: attempt 1: fail, runs again$/m)
  t.same(ran(first.stdout), ['global.before', 'global.after', 'global.flaky'])
  t.equal(inside(t, tests).run('--retries', '1', '--fail-on-flaky').status, 1)
  t.match(
    inside(t, tests).run('--retries', '1', '--report', 'junit').stdout,
    /<flakyFailure message="fail" type="fail">/,
  )
  const failing = inside(t, { 'x_test.ts': fake({ 'global.fails': FAIL }) }).run('--retries', '2', '--report', 'junit')
  t.equal(failing.status, 1)
  t.equal(failing.stdout.match(/<rerunFailure /g)?.length, 2)
  t.equal(failing.stdout.match(/<testcase /g)?.length, 1)
})

t.test('a test can be repeated until it fails, and a run can end with the first failure', async t => {
  const { run } = inside(t, three)
  const repeated = run('--repeat', '3', 'selftests/b_test.ts').stdout
  t.match(repeated, /attempt 1: pass.*\n.*\n.*attempt 2: pass/)
  t.same(ran(repeated), ['global.d'])
  const bailed = run('--bail', '--jobs', '1')
  t.equal(bailed.status, 1)
  t.match(bailed.stdout, /^Bail out! a test failed$/m)
  t.notMatch(bailed.stdout, /global.e/)
})

t.test('a shuffled order is the seed’s', async t => {
  const { run } = inside(t, three)
  const orders = ['1', '2', '3', '4'].map(seed => ran(run('--shuffle', '--seed', seed).stdout).join(' '))
  t.ok(new Set(orders).size > 1)
  t.equal(ran(run('--shuffle', '--seed', '1').stdout).join(' '), orders[0])
})

t.test('settings: file, then its profile, then the environment, then flags', async t => {
  const config = "export default { timeout: 10, retries: 1, profiles: { ci: { timeout: 20, report: ['ktap'] } } }"
  const cwd = t.testdir({ selftests: three, 'seamless.config.ts': config })
  const shown = (args: string[], env: NodeJS.ProcessEnv = {}) => {
    const { stdout, stderr } = seamless(['--show-config', ...args], { CI: '', ...env }, cwd)
    return (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(stdout)?.[1] ?? stderr
  }
  t.equal(shown([])('timeout'), '10  (seamless.config.ts)')
  t.equal(shown(['--profile', 'ci'])('timeout'), '20  (seamless.config.ts, profile ci)')
  t.equal(shown([], { CI: 'true' })('report'), 'ktap  (seamless.config.ts, profile ci)')
  t.equal(shown(['--profile', 'ci'], { SEAMLESS_TIMEOUT: '30' })('timeout'), '30  (SEAMLESS_TIMEOUT)')
  t.equal(shown(['--timeout', '40'], { SEAMLESS_TIMEOUT: '30' })('timeout'), '40  (command line)')
  t.equal(shown([])('retries'), '1  (seamless.config.ts)')
  t.match(shown(['--profile', 'cj'])('x'), /no profile cj \(did you mean ci\?\)/)
  t.match(shown([], { SEAMLESS_BAIL: 'yes' })('x'), /SEAMLESS_BAIL: "yes" is not 0 or 1/)
  const broken = t.testdir({ 'seamless.config.json': '{"timeuot": 1}' })
  t.match(
    seamless(['--show-config'], {}, broken).stderr,
    /seamless.config.json: unknown setting timeuot \(did you mean timeout\?\)/,
  )
})

t.test('a lost or renamed test is an error in the reports; a lost file too', async t => {
  const { run, cwd } = inside(t, three)
  const list = run('--list').stdout
  writeFileSync(join(cwd, 'tests.txt'), list)
  t.equal(run('--expect', 'tests.txt', '--report', 'jsonl').stdout.match(/"status":"error"/g), null)
  writeFileSync(join(cwd, 'tests.txt'), `${list}selftests/a_test.ts global.aa\nselftests/gone_test.ts global.g\n`)
  const { stdout, status } = run('--expect', 'tests.txt')
  t.equal(status, 1)
  t.match(stdout, /^# not ok \d global\.aa # ERROR not there any more/m)
  t.match(stdout, /^not ok \d selftests: seamless: gone_test\.ts # ERROR does not load/m)
  t.notMatch(run('--expect', 'tests.txt', 'selftests/b_test.ts').stdout, /gone_test|global\.aa/)
  writeFileSync(join(cwd, 'selftests/b_test.ts'), fake({ 'global.dd': PASS }))
  t.match(
    run('--expect', 'tests.txt', 'selftests/b_test.ts').stdout,
    /not there any more \(did you mean global\.dd\?\)/,
  )
})

t.test('shards are balanced by a history, and complete with any', async t => {
  const parts = ['a', 'b', 'c', 'd', 'e', 'f'].map(name => ({ file: testFile('/x', `/x/${name}`, 'selftest') }))
  const shards = (total: number, durations?: ReadonlyMap<string, number>) =>
    Array.from({ length: total }, (_, at) =>
      shardOf(parts, at, total, durations)
        .map(part => part.file.file)
        .join(''),
    )
  t.same(shards(2), ['ace', 'bdf'])
  t.same(shards(2, new Map(Object.entries({ a: 100, b: 30, c: 30, d: 20, e: 10, f: 10 }))), ['a', 'bcdef'])
  t.same(shards(3, new Map([['f', 5]])), ['ad', 'be', 'cf'])
  t.equal(shards(9).join(''), 'abcdef')
})
