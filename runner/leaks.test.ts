import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { data, seamless } from './testdata/cli.ts'
import { fake, inside, PASS } from './testdata/suites.ts'
import { sh } from './testdata/tree.ts'

t.test('what a test leaves behind in its worker is named with it, and holds nobody up', async t => {
  const { stdout, status } = seamless([data('leaves'), data('fine'), '--jobs', '1'])
  t.equal(status, 0)
  /** What is said between a test's RUN and its result. */
  const said = (test: string) =>
    new RegExp(`RUN +global\\.${test} \\.\\.\\.\\n([\\s\\S]*?)# ok \\d+ global\\.${test}`).exec(stdout)?.[1] ?? ''
  t.match(said('child'), /^# # seamless: left behind and killed: process \d+: sleep 63$/m)
  t.match(said('daemon'), /^# # seamless: left behind and killed: process \d+: (setsid )?sleep 68$/m)
  t.match(said('timer'), /^# # seamless: left behind: 1 timer$/m)
  t.match(said('server'), /^# # seamless: left behind: 1 server$/m)
  for (const test of ['tidy', 'after']) t.notMatch(said(test), /left behind/)
  t.match(stdout, /^ok 2 selftests: testdata: leaves_test\.ts$/m)
  const [, pid] = /process (\d+): sleep 63$/m.exec(stdout) ?? []
  t.throws(() => process.kill(Number(pid), 0), { code: 'ESRCH' })
})

t.test('a daemon of a program is named when the run is over, though it holds nothing', async t => {
  const cwd = t.testdir({ d: sh('setsid sleep 69 </dev/null >/dev/null 2>&1 & sleep 0.5') })
  chmodSync(join(cwd, 'd'), 0o755)
  const { stdout, stderr, status } = seamless(['./d'], {}, cwd)
  t.equal(status, 0)
  t.match(stdout, /^ok 1 selftests: \S+: d$/m)
  t.match(stderr, /^seamless: left behind and killed: process \d+: (setsid )?sleep 69, of d$/m)
})

t.test('a test that does not end is said to be slow, then asked where it stands, then killed', async t => {
  const { run } = inside(t, {
    'x_test.ts': `const spins = () => { for (;;); }\n${fake({
      'global.sleeps': `await new Promise(r => setTimeout(r, 300)); ${PASS}`,
      'global.hangs': `spins(); ${PASS}`,
      'global.after': PASS,
    })}`,
  })
  const { stdout, status } = run('--slow', '100ms', '--timeout', '1')
  t.equal(status, 1)
  t.match(stdout, /RUN +global\.sleeps \.\.\.\n# # seamless: slow: runs for 0\.1 seconds\n# # +OK +global\.sleeps/)
  t.match(stdout, /^# # {3}stack {2}at spins \(selftests\/x_test\.ts:1:\d+\)$/m)
  t.match(stdout, /^# not ok 2 global\.hangs # TIMEOUT 1 second$/m)
  t.match(stdout, /^# ok 3 global\.after$/m)
  t.notMatch(stdout, /Debugger/)
})

t.test('a worker out of memory fails the test it ran, once, and the rest runs', async t => {
  const grows = 'const all = []; for (;;) all.push(new Array(10_000).fill(Math.random()))'
  const { cwd } = inside(t, {
    'x_test.ts': fake({ 'global.before': PASS, 'global.grows': grows, 'global.after': PASS }),
  })
  const { stdout, status } = seamless([], { NODE_OPTIONS: '--max-old-space-size=48' }, cwd)
  t.equal(status, 1)
  t.match(stdout, /grows:Test terminated unexpectedly by signal 6 \(SIGABRT\)$/m)
  t.same(
    [...stdout.matchAll(/^# ((?:not )?ok \d .*)$/gm)].map(match => match[1]),
    ['ok 1 global.before', 'not ok 2 global.grows', 'ok 3 global.after'],
  )
})
