import { chmodSync, existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Event } from '#reports'
import { testFile } from './discover.ts'
import { argumentsOf, type ExecutableOptions, runExecutable, settingsOf } from './executable.ts'
import { Fifos } from './fifo.ts'
import { Resources } from './resources.ts'

const fifos = new Fifos()
t.teardown(() => fifos.close())

type Outcome = { status: string; reason: string; output: string; log: string; tests: string[] }

const runScript = async (
  directory: string,
  script: string,
  options: Partial<ExecutableOptions> = {},
  stop = new AbortController().signal,
): Promise<Outcome> => {
  const path = join(directory, 'a_test')
  writeFileSync(path, script)
  chmodSync(path, 0o755)
  const events: Event[] = []
  const all = { grace: 100, xfail: true, environment: process.env, ...options }
  await runExecutable(
    fifos,
    new Resources(1),
    testFile(directory, path, 'executable'),
    all,
    event => events.push(event),
    stop,
  )
  const text = (streams: string[]) =>
    events.flatMap(event => (event.type === 'output' && streams.includes(event.stream) ? [event.text] : [])).join('')
  const end = events.at(-1)
  if (end?.type !== 'file-end') throw new Error('the last event is the end of the file')
  const tests = events.flatMap(event =>
    event.type === 'end' ? [`${event.status} ${event.test} ${event.reason ?? ''}`] : [],
  )
  return { status: end.status, reason: end.reason ?? '', output: text(['stdout']), log: text(['log']), tests }
}

t.test('exit codes mean what they mean to kselftest', async t => {
  const directory = t.testdir({})
  const ends = async (script: string, options = {}) => {
    const { status, reason } = await runScript(directory, `#!/bin/sh\n${script}\n`, options)
    return `${status} ${reason}`.trim()
  }
  t.equal(await ends('exit 0'), 'pass')
  t.equal(await ends('exit 1'), 'fail exit=1')
  t.equal(await ends('exit 2'), 'xfail')
  t.equal(await ends('exit 2', { xfail: false }), 'fail exit=2')
  t.equal(await ends('exit 3'), 'fail exit=3')
  t.equal(await ends('exit 4'), 'skip')
  t.equal(await ends('kill -SEGV $$'), 'fail exit=139')
  t.equal(await ends('exit 124'), 'fail exit=124', 'only a limit of ours is a timeout')
})

t.test('output and errors keep their order, and /dev/stderr can be opened again', async t => {
  const script = '#!/bin/sh\necho 1; echo 2 >&2; echo 3 > /dev/stderr; echo 4 > /dev/stdout; printf 5\n'
  t.equal((await runScript(t.testdir({}), script)).output, '1\n2\n3\n4\n5')
})

t.test('a test that ignores SIGTERM is killed after the grace', async t => {
  const began = performance.now()
  const { status, reason } = await runScript(t.testdir({}), '#!/bin/sh\ntrap "" TERM\nsleep 60\nsleep 60\n', {
    timeout: 200,
  })
  t.equal(`${status} ${reason}`, 'timeout 0.2 seconds')
  t.ok(performance.now() - began < 20_000, 'long before it would have ended by itself')
})

t.test('what a test leaves behind is named and ended, and holds nobody up', async t => {
  const script = '#!/bin/sh\nsleep 60 &\nsetsid sleep 61 &\nsleep 0.1\n'
  const { status, log } = await runScript(t.testdir({}), script)
  t.equal(status, 'pass')
  t.match(log, /left behind and killed: process \d+: sleep 60$/m)
  t.match(log, /left behind and killed: process \d+: sleep 61$/m)
  t.equal((await runScript(t.testdir({}), '#!/bin/sh\necho next\n')).output, 'next\n', 'the next test has a clean pipe')
})

t.test('64 children that write at once come through whole', async t => {
  const script = '#!/bin/sh\ni=0\nwhile [ $i -lt 64 ]; do (echo "child $i") & i=$((i+1)); done\nwait\n'
  const { output, status } = await runScript(t.testdir({}), script)
  t.equal(status, 'pass')
  t.same(new Set(output.trim().split('\n')), new Set(Array.from({ length: 64 }, (_, i) => `child ${i}`)))
})

t.test('output is bounded, and says what was left out', async t => {
  const { output, log, status } = await runScript(t.testdir({}), '#!/bin/sh\nhead -c 20000000 /dev/zero | tr "\\0" x\n')
  t.equal(status, 'pass')
  t.ok(output.length <= 16 * 1024 * 1024)
  t.equal(Number(/(\d+) more characters/.exec(log)?.[1]) + output.length, 20_000_000)
})

t.test('results in TAP become tests of their own; what only looks like it does not', async t => {
  const tap = ['ok 9 too early', 'TAP version 13', '1..5', 'ok 1 a', 'not ok 2 - b # TODO later', 'ok 3 # SKIP why']
  const more = ['# ok 4 nested', 'ok 4 a', 'ok 5 c # XFAIL known', 'okay', 'not ok']
  const script = `#!/bin/sh\ncat <<'X'\n${[...tap, ...more].join('\n')}\nX\n`
  t.same((await runScript(t.testdir({}), script)).tests, [
    'pass a ',
    'xfail b later',
    'skip test 3 why',
    'pass a (2) ',
    'xfail c known',
    'fail test 6 ',
  ])
})

t.test('a program that cannot be started is an error that says why', async t => {
  const { status, reason } = await runScript(t.testdir({}), '#!/no/such/interpreter\n')
  t.equal(status, 'error')
  t.match(reason, /ENOENT/)
})

t.test('arguments come from KSELFTEST_<NAME>_ARGS', async t => {
  const environment = { ...process.env, KSELFTEST_CPU_ON_OFF_TEST_SH_ARGS: ' -a  b ' }
  t.same(argumentsOf('cpu-on-off-test.sh', environment), ['-a', 'b'])
  const script = '#!/bin/sh\necho "$# $1"\n'
  const { output } = await runScript(t.testdir({}), script, {
    environment: { ...process.env, KSELFTEST_A_TEST_ARGS: 'x y' },
  })
  t.equal(output, '2 x\n')
})

t.test('settings are read, never run', async t => {
  const directory = t.testdir({
    one: { settings: '# comment\ntimeout=7 # seconds\n' },
    shell: { settings: 'timeout=$(touch pwned; echo 3)\nfoo=`touch pwned`\n' },
    none: {},
    unlimited: { settings: 'timeout=0' },
  })
  t.equal(settingsOf(join(directory, 'one')).timeout, 7000)
  t.equal(settingsOf(join(directory, 'shell')).timeout, 45_000)
  t.equal(settingsOf(join(directory, 'none')).timeout, 45_000)
  t.equal(settingsOf(join(directory, 'unlimited')).timeout, 0)
  t.notOk(existsSync(join(directory, 'shell', 'pwned')))
  t.notOk(existsSync('pwned'))
})

t.test('an interrupt ends the test and its children', async t => {
  const stop = new AbortController()
  setTimeout(() => stop.abort(), 100)
  const { status, reason } = await runScript(t.testdir({}), '#!/bin/sh\nsleep 60\n', {}, stop.signal)
  t.equal(`${status} ${reason}`, 'fail exit=143')
})
