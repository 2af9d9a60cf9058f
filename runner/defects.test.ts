/** What goes wrong with upstream's runner, one by one, and does not with ours. */
import { spawnSync } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { COMMAND, environment, seamless } from './testdata/cli.ts'
import { objections, verdicts } from './testdata/readers.ts'
import { plant, sh } from './testdata/tree.ts'

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
  spawnSync(process.execPath, [COMMAND, 'run_kselftest', '--root', root], {
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
    'a/holds': sh('sleep 64 & echo started'),
    'a/ignores': sh('trap "" TERM; sleep 65; sleep 65'),
  }
  plant(root, programs, { 'a/settings': 'timeout=1\n' })
  const began = performance.now()
  const { stdout, status } = seamless(['run_kselftest', '--root', root])
  t.ok(performance.now() - began < 30_000, 'long before either ends by itself')
  t.match(stdout, /^# seamless: left behind and killed: process \d+: sleep 64\nok 1 selftests: a: holds$/m)
  t.match(stdout, /^not ok 2 selftests: a: ignores # TIMEOUT 1 seconds$/m)
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
