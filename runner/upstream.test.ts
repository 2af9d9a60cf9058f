/** Beside the real thing: run_kselftest.sh, lib.mk and kunit.py of the kernels that are unpacked on this machine. */
import { spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { seamless } from './testdata/cli.ts'
import { kernels, NO_KERNEL } from './testdata/kernels.ts'
import { verdicts } from './testdata/readers.ts'
import { installScripts, plant, sh } from './testdata/tree.ts'

// The real script takes its time, on a busy machine more than that.
t.setTimeout(120_000)

const PROGRAMS = {
  'b/c/fail': sh('echo "wrong: 7"; exit 7'),
  'b/c/signal': sh('kill -SEGV $$'),
  'a/pass': sh('echo out; echo "$0 $*"; echo err >&2; echo; echo " indented"; exit 0'),
  'a/skip': sh('echo "1..0 # SKIP no"; exit 4'),
  'a/xfail': sh('exit 2'),
  'a/xpass': sh('exit 3'),
  'a/nested': sh('echo "TAP version 13"; echo 1..2; echo "ok 1 x"; echo "not ok 2 y"; exit 1'),
  'a/slow': sh('echo begun; exec sleep 20'),
  'a/cpu-on-off-test.sh': sh('echo "$# arguments: $*"'),
  'r/ksft_runner.sh': sh('echo "runner of $1"'),
}
const FILES = {
  'a/plain.sh': sh('echo interpreted'),
  'a/settings': '# comment\ntimeout=1\n',
  'r/x.pkt': 'packets\n',
  'r/settings': 'timeout=0\n',
}
const MORE = ['a:plain.sh', 'a:gone', 'r:x.pkt']
const ENVIRONMENT = { KSELFTEST_PASS_ARGS: 'x  y', KSELFTEST_CPU_ON_OFF_TEST_SH_ARGS: '-a -p 10' }

const mayMakeNamespaces = (): boolean => {
  if (spawnSync('ip', ['netns', 'add', 'seamless-probe']).status !== 0) return false
  return spawnSync('ip', ['netns', 'delete', 'seamless-probe']).status === 0
}

const found = kernels()
if (found.length === 0) t.test('beside upstream', { skip: NO_KERNEL }, () => {})

for (const { version, selftests, compat, root: source } of found)
  t.test(`Linux ${version}`, async t => {
    const root = t.testdir({})
    plant(root, PROGRAMS, FILES, MORE)
    installScripts(selftests, root)
    /** A pipe, never a file: upstream loses output there. */
    const theirs = (...args: string[]) =>
      spawnSync('bash', ['-c', 'set -o pipefail; ./run_kselftest.sh "$@" | cat', '-', ...args], {
        cwd: root,
        encoding: 'utf8',
        env: { ...process.env, ...ENVIRONMENT },
        timeout: 60_000,
      })
    const ours = (...args: string[]) =>
      seamless(['run_kselftest', '--root', root, '--compat', compat, ...args], ENVIRONMENT)
    const same = (what: string, ...args: string[]) => {
      const [a, b] = [ours(...args), theirs(...args)]
      // The shell's own word on a signal; the result line has its number.
      const lines = (text: string) => text.split('\n').filter(line => line !== '# Segmentation fault')
      t.same(lines(a.stdout), lines(b.stdout), what)
      t.equal(a.status, b.status, `${what}: exit status`)
    }

    same('everything')
    same('a collection and a test that is chosen twice', '-c', 'b/c', '-t', 'a:pass', '-t', 'a:pass')
    same('a regular expression', '-t', 'a:[px].*s')
    same('another limit', '-t', 'a:pass', '-o', '3')
    same('a dry run', '-d', '-t', 'a:s.*')
    same('the list', '-l')
    same('results only', '-s', '-c', 'a')
    t.equal(ours('-s', '-t', 'a:.*s').status, theirs('-s', '-t', 'a:.*s').status)
    const log = () => readFileSync(join(root, 'output.log'), 'utf8').split('\n')
    ours('-s', '-t', 'a:pass')
    const written = log()
    theirs('-s', '-t', 'a:pass')
    t.same(written, log(), 'the log')
    for (const wrong of [['-t', 'a:nosuch'], ['-c', 'nosuch'], ['--nosuch']])
      t.equal(ours(...wrong).status, theirs(...wrong).status, wrong.join(' '))
    t.equal(ours('-t', 'a:nosuch').stderr, `seamless: ${theirs('-t', 'a:nosuch').stderr}`)
    if (compat === '7.1') {
      same('what is left out', '-S', 'a:.*s.*', '-S', 'b/c:fail')
      same('failures forgiven', '-f', '-c', 'b/c')
      t.equal(verdicts(ours('-t', 'a:pass').stdout, join(root, 'out.tap'))['kunit'], 0)
    }

    const skip = mayMakeNamespaces() ? false : 'may not make network namespaces here'
    t.test('each test in a network namespace', { skip }, async t => {
      const results = (stdout: string) =>
        [...stdout.matchAll(/^((?:not )?ok) \d+ (.*)$/gm)].map(match => `${match[1]} ${match[2]}`).sort()
      const args = ['-n', '-S', 'a:slow', '-c', 'a'].filter((_, i) => compat === '7.1' || i === 0 || i > 2)
      const mine = results(ours(...args).stdout)
      t.equal(mine.length, compat === '7.1' ? 8 : 9)
      // The script of 6.12 loses some of them on the way.
      for (const line of results(theirs(...args).stdout)) t.ok(mine.includes(line), line)
    })

    t.test('our test files are run by lib.mk', async t => {
      const root = t.testdir({})
      const place = join(root, 'tools/testing/selftests')
      mkdirSync(join(place, 'tdx'), { recursive: true })
      for (const file of ['kselftest', 'lib.mk', 'run_kselftest.sh'])
        spawnSync('cp', ['-r', join(selftests, file), place])
      spawnSync('cp', ['-r', join(source, 'scripts'), root])
      const direct = new URL('direct.js', import.meta.url).pathname
      const file = new URL('../selftests/tdx_vm_test.ts', import.meta.url).pathname
      const program = join(place, 'tdx/tdx_vm_test.ts')
      // As `make install` makes them: the first line says how it runs.
      writeFileSync(
        program,
        `#!/usr/bin/env -S ${process.execPath} --import ${direct}\n${readFileSync(file, 'utf8').replace("'#harness'", `'${new URL('../lib/harness/index.ts', import.meta.url).pathname}'`)}`,
      )
      chmodSync(program, 0o755)
      copyFileSync(program, join(place, 'tdx/again_test.ts'))
      chmodSync(join(place, 'tdx/again_test.ts'), 0o755)
      writeFileSync(join(place, 'tdx/Makefile'), 'TEST_PROGS := tdx_vm_test.ts again_test.ts\ninclude ../lib.mk\n')
      const { MAKEFLAGS: _flags, MAKELEVEL: _level, MFLAGS: _mflags, ...env } = process.env
      const make = (...args: string[]) =>
        spawnSync('bash', ['-c', 'make -s "$@" | cat', '-', '-C', join(place, 'tdx'), ...args], {
          encoding: 'utf8',
          env,
          timeout: 60_000,
        })
      const { stdout, stderr } = make('run_tests')
      t.match(stdout, /^# ok 1 global\.verify_td_lifecycle$/m, stderr)
      t.match(stdout, /^ok 1 selftests: tdx: tdx_vm_test\.ts$/m)
      t.match(stdout, /^ok 2 selftests: tdx: again_test\.ts$/m)
      t.equal(
        make('emit_tests', 'COLLECTION=tdx').stdout.split('\n').slice(-3, -1).join(' '),
        'tdx:tdx_vm_test.ts tdx:again_test.ts',
      )
    })
  })
