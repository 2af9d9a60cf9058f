import t from 'tap'
import { data, seamless } from './testdata/cli.ts'
import { objections } from './testdata/readers.ts'

/** The result lines of the run, without what led to them. */
const results = (stdout: string) => stdout.split('\n').filter(line => /^(not )?ok /.test(line))

t.test('exit codes are kselftest’s: 0 all passed, 1 one failed, 4 all skipped', async t => {
  t.equal(seamless([data('fine')]).status, 0)
  t.equal(seamless([data('fine'), data('broken')]).status, 1)
  const skipped = seamless([data('skipped')])
  t.equal(skipped.status, 4)
  t.same(results(skipped.stdout), ['ok 1 selftests: testdata: skipped_test.ts # SKIP all tests skipped'])
})

t.test('two runs with one seed give the same bytes, another seed others', async t => {
  const first = seamless([data('fine'), data('skipped')])
  t.equal(first.stdout, seamless([data('fine'), data('skipped'), '--jobs', '1']).stdout)
  t.not(first.stdout, seamless([data('fine'), data('skipped'), '--seed', '2']).stdout)
  t.same(objections(first.stdout), [])
  t.match(first.stdout, /^# # one\n# # two\n# # ok 7 a lie$/m)
  t.match(first.stdout, /^# ok 2 port.byte.skips # SKIP no # such port$/m)
})

t.test('a test alone does what it did among others', async t => {
  const log = (stdout: string) => /^# # (0x[0-9a-f]+)$/m.exec(stdout)?.[1]
  const alone = seamless([data('fine'), '-r', 'port.word.seeded'])
  t.equal(log(alone.stdout), log(seamless([data('fine')]).stdout))
  t.match(alone.stdout, /^# 1\.\.1$/m)
})

t.test('a worker that dies fails the test it ran, once, and the rest runs', async t => {
  const { stdout, status } = seamless([data('crashes'), data('fine'), '--timeout', '0.2'])
  t.equal(status, 1)
  t.same([...stdout.matchAll(/^# ((?:not )?ok \d .*)$/gm)].map(match => match[1]).slice(0, 8), [
    'ok 1 global.before',
    'not ok 2 global.exits',
    'not ok 3 global.killed',
    'not ok 4 global.throws_late',
    'not ok 5 global.overflows # ERROR RangeError: Maximum call stack size exceeded',
    'ok 6 global.writes_to_fd',
    'not ok 7 global.loops # TIMEOUT 0.2 seconds',
    'ok 8 global.after',
  ])
  t.match(stdout, /exits:Test terminated unexpectedly by exit code 0$/m)
  t.match(stdout, /killed:Test terminated unexpectedly by signal 9 \(SIGKILL\)$/m)
  t.match(stdout, /throws_late:Error: from a timer$/m)
  t.match(stdout, /^# # raw words$/m)
  t.match(stdout, /again {2}seamless runner\/testdata\/crashes_test.ts -r global.loops --seed 0x5eed --timeout 0.2$/m)
  t.same(results(stdout), [
    'not ok 1 selftests: testdata: crashes_test.ts # exit=1',
    'ok 2 selftests: testdata: fine_test.ts',
  ])
})

t.test('a file that does not load is one failure that says why; the rest runs', async t => {
  const { stdout, status } = seamless([data('broken'), data('empty'), data('fine')])
  t.equal(status, 1)
  t.same(results(stdout), [
    'not ok 1 selftests: testdata: broken_test.ts # ERROR does not load: Error: no way',
    'not ok 2 selftests: testdata: empty_test.ts # ERROR holds no test',
    'ok 3 selftests: testdata: fine_test.ts',
  ])
  t.match(stdout, /^# {3}stack {2}at .*runner\/testdata\/broken_test.ts:1:7/m)
})

t.test('bad input is one line on standard error and exit code 2', async t => {
  const says = (args: string[], message: RegExp) => {
    const { status, stdout, stderr } = seamless(args)
    t.equal(status, 2, args.join(' '))
    t.equal(stdout, '')
    t.match(stderr, message)
    t.equal(stderr.split('\n').length, 2, 'one line')
  }
  says(['--sed', '1'], /^seamless: unknown option --sed \(did you mean --seed\?\)$/m)
  says(['nosuch_test.ts'], /^seamless: nosuch_test.ts: no such file or directory$/m)
  says([data('fine'), '-t', 'sais'], /^seamless: -t sais matches no test \(did you mean says, skips\?\)$/m)
  says([data('fine'), '-t', 'says', '-t', 'nothing'], /^seamless: -t nothing matches no test$/m)
  says([data('fine'), '-T', 'says', '-F', 'port'], /^seamless: -T says -F port matches no test$/m)
  says(
    [data('fine'), data('broken'), '-t', 'hidden'],
    /matches no test; runner\/testdata\/broken_test.ts did not load$/m,
  )
  says([data('fine'), '-c', 'testdat'], /^seamless: no such collection 'testdat' \(did you mean testdata\?\)$/m)
  says([data('fine'), '--seed', 'x'], /^seamless: --seed x: not a 64-bit number, nor "random"$/m)
  says([data('fine'), '--jobs', '0'], /^seamless: --jobs 0: not a number of at least 1$/m)
  says([data('fine'), '--report', 'pdf'], /^seamless: --report pdf: no format pdf; there are tap, /m)
  says([data('fine'), '--report', 'jsonl:/no/such/dir/x'], /^seamless: --report: ENOENT/m)
})

t.test('a full disk ends a report, not the run', async t => {
  const { status, stdout, stderr } = seamless([data('fine'), '--report', 'jsonl:/dev/full'])
  t.equal(status, 3)
  t.match(stderr, /^seamless: cannot write \/dev\/full: ENOSPC[^\n]*\n$/)
  t.same(results(stdout), ['ok 1 selftests: testdata: fine_test.ts'])
})

t.test('tests can be listed', async t => {
  const { stdout, status } = seamless(['-l', data('fine'), '-f', 'port'])
  t.equal(status, 0)
  t.equal(stdout, 'runner/testdata/fine_test.ts port.byte.skips\nrunner/testdata/fine_test.ts port.word.seeded\n')
})

t.test('--help and --version answer and run nothing', async t => {
  t.match(seamless(['--help']).stdout, /^seamless \[run\]/)
  t.match(seamless(['--version']).stdout, /^\d+\.\d+\.\d+\n$/)
})
