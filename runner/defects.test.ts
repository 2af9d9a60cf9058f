/** What goes wrong with upstream's runner, one by one, and does not with ours. */
import { spawnSync } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { environment, START, seamless } from './testdata/cli.ts'
import { objections, verdicts } from './testdata/readers.ts'
import { plant, sh } from './testdata/tree.ts'

/** Every defect of upstream's runner that we know of → the tests that show ours without it, `file: name`. */
const DEFECTS: Readonly<Record<string, readonly string[]>> = {
  'output to a file is lost where results and logs share it': ['defects: output to a file loses nothing'],
  'a last line without newline destroys the result': ['defects: output to a file loses nothing'],
  'what ignores SIGTERM is never killed': [
    'defects: limits hold for what ignores SIGTERM, and for children that hold the output',
    'executable: a test that ignores SIGTERM is killed after the grace',
  ],
  'a child that holds the output blocks the run, beyond any limit': [
    'defects: limits hold for what ignores SIGTERM, and for children that hold the output',
    'executable: what a test leaves behind is named and ended, and holds nobody up',
  ],
  'exit code 124 is taken for a timeout': [
    'defects: output to a file loses nothing',
    'executable: exit codes mean what they mean to kselftest',
  ],
  'readers see the first collection only': [
    'defects: several collections are one document that every reader reads to its end',
  ],
  'a name that is not there passes': [
    'defects: nothing chosen is an error, not an empty pass',
    'seamless: bad input is one line on standard error and exit code 2',
  ],
  'one hang takes a whole suite along': ['seamless: a worker that dies fails the test it ran, once, and the rest runs'],
  'eleven processes for each test': ['defects: nothing stands between us and a test'],
  'no parallelism': ['defects: tests run side by side, and the lines keep their order'],
  'no shuffle': ['run: a shuffled order is the seed’s'],
  'no retry': ['run: a flaky test passes when it is run again, and says so'],
  'no shards': [
    'run: expressions, lines and shards choose tests',
    'replay: shards merge into the report of the whole run',
  ],
  'no JSON, no JUnit': ['replay: a replay prints what the run printed'],
  'no durations': ['run: shards are balanced by a history, and complete with any'],
  'logs of tests with one name are written over each other': ['defects: each test has a log of its own'],
  'settings are run by the shell': [
    'executable: settings are read, never run',
    'badinput: a tree whose list and settings are hostile',
  ],
}

/** Every kind of bad input that a runner has to stand → the tests that show it. */
const INPUTS: Readonly<Record<string, readonly string[]>> = {
  'binary garbage': ['badinput: every format stands it, and its readers say so'],
  'megabytes without newline': [
    'badinput: every format stands it, and its readers say so',
    'executable: output is bounded, and says what was left out',
  ],
  'no final newline': [
    'badinput: every format stands it, and its readers say so',
    'defects: output to a file loses nothing',
  ],
  'TAP with wrong plans': ['badinput: every format stands it, and its readers say so'],
  'ANSI escapes': ['badinput: every format stands it, and its readers say so'],
  'a fake "ok" line': ['badinput: every format stands it, and its readers say so'],
  'exit 124': ['defects: output to a file loses nothing'],
  'SIGTERM ignored': ['executable: a test that ignores SIGTERM is killed after the grace'],
  'daemons left behind': [
    'leaks: a daemon of a program is named when the run is over, though it holds nothing',
    'leaks: what a test leaves behind in its worker is named with it, and holds nobody up',
    'executable: what a test leaves behind is named and ended, and holds nobody up',
  ],
  '64 children': [
    'badinput: a light fork bomb is over with its test',
    'executable: 64 children that write at once come through whole',
  ],
  'a full disk': [
    'badinput: a full disk: the run goes on, says what it could not write, and ends with 3',
    'seamless: a full disk ends a report, not the run',
  ],
  'settings with shell code': ['badinput: a tree whose list and settings are hostile'],
  'names with # blanks newlines unicode': ['badinput: every format stands it, and its readers say so'],
  'HTML and XML injection': [
    'badinput: every format stands it, and its readers say so',
    'badinput: a browser runs nothing of it',
  ],
}

t.test('each of them has its tests', async t => {
  for (const [what, tests] of Object.entries({ ...DEFECTS, ...INPUTS })) {
    t.ok(tests.length > 0, what)
    for (const test of tests) {
      const [, file = '', name = ''] = /^(\w+): (.*)$/.exec(test) ?? []
      const text = readFileSync(new URL(`${file}.test.ts`, import.meta.url), 'utf8')
      t.ok(text.includes(`t.test('${name}'`), `${what}: ${test}`)
    }
  }
})

const PROGRAMS = {
  'a/loud': sh('i=0; while [ $i -lt 50 ]; do echo "line $i"; i=$((i+1)); done'),
  'a/no_newline': sh('printf "no newline"'),
  'a/own_124': sh('exit 124'),
  'a/passes': sh('echo fine'),
  'b/passes': sh('echo fine'),
}

t.test('output to a file loses nothing', async t => {
  const root = t.testdir({})
  plant(root, PROGRAMS)
  const file = join(root, 'out.tap')
  const fd = openSync(file, 'w')
  spawnSync(START[0], [...START.slice(1), 'run_kselftest', '--root', root], {
    stdio: ['ignore', fd, 'inherit'],
    env: environment(),
  })
  closeSync(fd)
  const piped = seamless(['run_kselftest', '--root', root]).stdout
  t.equal(readFileSync(file, 'utf8'), piped)
  t.equal(piped.match(/^# line \d+$/gm)?.length, 50)
  t.match(piped, /^# no newline\nok 2 selftests: a: no_newline$/m, 'a missing newline leaves the result line whole')
  t.match(piped, /^not ok 3 selftests: a: own_124 # exit=124$/m, 'a timeout is ours to give')
})

t.test('several collections are one document that every reader reads to its end', async t => {
  const root = t.testdir({})
  plant(root, { 'a/passes': PROGRAMS['a/passes'], 'b/passes': PROGRAMS['b/passes'] })
  const { stdout } = seamless(['run_kselftest', '--root', root])
  t.same(objections(stdout), [])
  t.equal(stdout.match(/^1\.\.2$/gm)?.length, 1)
  for (const [reader, status] of Object.entries(verdicts(stdout, join(root, 'out.tap')))) t.equal(status, 0, reader)
})

t.test('limits hold for what ignores SIGTERM, and for children that hold the output', async t => {
  const root = t.testdir({})
  const programs = {
    'a/holds': sh('sleep 64 & sleep 0.5; echo started'),
    'a/ignores': sh('trap "" TERM; sleep 65; sleep 65'),
  }
  plant(root, programs, { 'a/settings': 'timeout=2\n' })
  const began = performance.now()
  const { stdout, status } = seamless(['run_kselftest', '--root', root])
  t.ok(performance.now() - began < 30_000, 'long before either ends by itself')
  t.match(stdout, /^# seamless: left behind and killed: process \d+: sleep 64\nok 1 selftests: a: holds$/m)
  t.match(stdout, /^not ok 2 selftests: a: ignores # TIMEOUT 2 seconds$/m)
  t.equal(status, 1)
})

t.test('nothing chosen is an error, not an empty pass', async t => {
  const root = t.testdir({})
  plant(root, PROGRAMS)
  const { stdout, stderr, status } = seamless(['run_kselftest', '--root', root, '-t', 'a:nosuch'])
  t.equal(status, 1)
  t.equal(stdout, '')
  t.equal(stderr, "seamless: No such test 'a:nosuch'\n")
})

t.test('tests run side by side, and the lines keep their order', async t => {
  const root = t.testdir({})
  // Each waits for the other: one at a time they would not end.
  const meets = (mine: string, other: string) =>
    sh(`touch ${mine}; while [ ! -e ${other} ]; do sleep 0.01; done; echo ${mine} met ${other}`)
  plant(root, { 'a/one': meets('one.on', 'two.on'), 'a/two': meets('two.on', 'one.on') })
  const { stdout } = seamless(['run_kselftest', '--root', root, '--jobs', '2', '-o', '20'])
  t.same(stdout.match(/^ok.*/gm), ['ok 1 selftests: a: one', 'ok 2 selftests: a: two'])
  t.match(stdout, /^# one\.on met two\.on\nok 1/m)
})

t.test('nothing stands between us and a test', async t => {
  const root = t.testdir({})
  plant(root, { 'a/x': sh('echo "parent $PPID"'), 'a/y': sh('echo "parent $PPID"') })
  const { stdout, pid } = seamless(['run_kselftest', '--root', root])
  t.same(
    [...stdout.matchAll(/^# parent (\d+)$/gm)].map(match => Number(match[1])),
    [pid, pid],
    'no shell, timeout, stdbuf or reader of lines: the test is our own child',
  )
})

t.test('each test has a log of its own', async t => {
  const root = t.testdir({ logs: {} })
  plant(root, { 'a/x': sh('echo of a'), 'b/c/x': sh('echo of b') })
  const logs = join(root, 'logs')
  t.equal(seamless(['run_kselftest', '--root', root, '-p', logs]).status, 0)
  t.match(readFileSync(join(logs, 'x'), 'utf8'), /^# of a$/m)
  t.match(readFileSync(join(logs, 'x.b-c'), 'utf8'), /^# of b$/m)
})
