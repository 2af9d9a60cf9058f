import { spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { basic } from './kselftest.ts'
import { COMMAND, seamless } from './testdata/cli.ts'
import { golden } from './testdata/golden.ts'
import { objections } from './testdata/readers.ts'

const sh = (body: string) => `#!/bin/sh\n${body}\n`
const SCRIPTS = ['a/pass', 'a/skip', 'a/xfail', 'a/slow', 'a/no_newline', 'b/c/fail', 'r/ksft_runner.sh']
const LIST = [
  'b/c:fail',
  'a:pass',
  'a:skip',
  'a:xfail',
  'a:slow',
  'a:no_newline',
  'a:plain.sh',
  'a:text',
  'a:gone',
  'r:x.pkt',
]

type Tap = { testdir: (typeof t)['testdir'] }

/** An installed kselftest tree with one of everything. */
const tree = (t: Tap) => {
  const root = t.testdir({
    'kselftest-list.txt': `${LIST.join('\n')}\n`,
    a: {
      pass: sh('echo out; echo "$0 $*"; echo err >&2'),
      skip: sh('exit 4'),
      xfail: sh('exit 2'),
      slow: sh('echo begun; sleep 20'),
      no_newline: sh('printf "ok 3 not a result"'),
      'plain.sh': sh('echo interpreted'),
      text: 'nothing to run\n',
      settings: 'timeout=1 # $(touch pwned)\n',
    },
    b: { c: { fail: sh('exit 7') } },
    r: { 'ksft_runner.sh': sh('echo "runner of $1"'), 'x.pkt': 'packets\n', settings: 'timeout=0\n' },
  })
  for (const script of SCRIPTS) chmodSync(join(root, script), 0o755)
  const run = (...args: string[]) => seamless(['run_kselftest', ...args], { KSELFTEST_PASS_ARGS: 'x  y' }, root)
  return { root, run }
}

for (const [compat, status] of [
  ['6.12', 0],
  ['6.19', 1],
  ['7.1', 1],
] as const)
  t.test(`an installed tree, as Linux ${compat} prints it`, async t => {
    const ran = tree(t).run('--compat', compat)
    t.equal(ran.stdout, golden(`kselftest-${compat}.tap`, ran.stdout))
    t.equal(ran.status, status)
    if (compat === '7.1') t.same(objections(ran.stdout), [])
  })

t.test('what is chosen: regular expressions of grep, anchored; collections; skips', async t => {
  const { run, root } = tree(t)
  const chosen = (...args: string[]) =>
    run('--compat', '6.12', '-d', ...args)
      .stdout.split('\n')
      .slice(0, -1)
  t.same(chosen('-t', 'a:[ps].*'), ['cd a', 'run_many pass skip slow plain.sh'])
  t.same(chosen('-c', 'a', '-S', 'a:.*[lt].*'), ['cd a', 'run_many pass skip gone'])
  t.same(chosen('-c', 'b/c', '-t', 'a:pass'), ['cd a', 'run_many pass', 'cd b/c', 'run_many fail'])
  t.same(chosen('-t', 'a:pass', '-t', 'a:pass'), ['cd a', 'run_many pass pass'])
  t.equal(run('-t', 'a:pas').stderr, "seamless: No such test 'a:pas'\n")
  t.equal(run('-t', 'a:pas').status, 1)
  t.equal(run('-c', 'b').stderr, "seamless: No such collection 'b'\n")
  t.equal(run('-l').stdout, `${LIST.join('\n')}\n`)
  t.equal(run('--nosuch').status, 1)
  t.equal(
    run('-d', '-t', 'a:pass').stdout,
    `TAP version 13\n1..1\ncd a\nrun_many pass\ncd ${root}\n# Totals: pass:0 fail:0 xfail:0 xpass:0 skip:0 error:0\n`,
  )
  t.equal(run('-d', '--root', 'a').status, 1, 'no list there')
  t.equal(run('--help').status, 0)
})

t.test('a tree that brings its own scripts gets the lines that those print', async t => {
  const { run, root } = tree(t)
  mkdirSync(join(root, 'kselftest'))
  writeFileSync(join(root, 'kselftest/runner.sh'), 'run_one() { :; }\n')
  t.match(run('-t', 'a:xfail').stdout, /^not ok 1 selftests: a: xfail # exit=2$/m)
  writeFileSync(join(root, 'kselftest/runner.sh'), 'run_one() { ktap_test_pass; }\n')
  t.match(run('-t', 'a:xfail').stdout, /^ok 1 selftests: a: xfail # XFAIL$/m)
})

t.test('a test named twice runs twice', async t => {
  const { stdout } = tree(t).run('-t', 'a:pass', '-t', 'a:pass')
  t.same(stdout.match(/^ok.*/gm), ['ok 1 selftests: a: pass', 'ok 2 selftests: a: pass'])
})

t.test('-o beats the settings, -f forgives failures', async t => {
  const { run } = tree(t)
  const ran = run('-t', 'a:slow', '-o', '2', '-f')
  t.match(
    ran.stdout,
    /^# overriding timeout to 2\n# selftests: a: slow\n# begun\nnot ok 1 selftests: a: slow # TIMEOUT 2 seconds$/m,
  )
  t.equal(ran.status, 0)
})

t.test('-s and -p keep output out of the results', async t => {
  const { run, root } = tree(t)
  const summary = run('-s', '-t', 'a:pass').stdout
  t.equal(
    summary,
    'TAP version 13\n1..1\n# selftests: a: pass\nok 1 selftests: a: pass\n# Totals: pass:1 fail:0 xfail:0 xpass:0 skip:0 error:0\n',
  )
  t.equal(readFileSync(join(root, 'output.log'), 'utf8'), '# timeout set to 1\n# out\n# ./pass x y\n# err\n')
  t.equal(run('-p', 'logs', '-t', 'a:pass').stdout, summary)
  t.match(readFileSync(join(root, 'logs/pass'), 'utf8'), /^# out$/m)
  t.notOk(existsSync(join(root, 'a/pwned')))
})

t.test('the shim stands in for the script', async t => {
  const { root } = tree(t)
  const shim = new URL('run_kselftest.sh', import.meta.url).pathname
  const copy = join(root, 'run_kselftest.sh')
  copyFileSync(shim, copy)
  const ran = spawnSync('sh', [copy, '-t', 'a:pass'], { encoding: 'utf8', env: { ...process.env, SEAMLESS: COMMAND } })
  t.match(ran.stdout, /^ok 1 selftests: a: pass$/m)
})

t.test("grep's basic regular expressions", async t => {
  t.ok(basic('^a:b+$').test('a:b+'))
  t.notOk(basic('^a:b+$').test('a:bb'))
  t.ok(basic('^a:\\(x\\|y\\)$').test('a:y'))
  t.ok(basic('^a:[p+]*$').test('a:p+p'))
  t.ok(basic('^a:b.c$').test('a:bxc'))
  t.throws(() => basic('['), { name: 'UsageError' })
})
