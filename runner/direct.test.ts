import { spawnSync } from 'node:child_process'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { environment } from './testdata/cli.ts'

const FINE = fileURLToPath(new URL('testdata/fine_test.ts', import.meta.url))
const DIRECT = fileURLToPath(new URL('direct.js', import.meta.url))

t.test('a test file with the runner preloaded prints what kselftest_harness.h would', async t => {
  const run = (...args: string[]) =>
    spawnSync(process.execPath, ['--import', DIRECT, './fine_test.ts', ...args], {
      cwd: dirname(FINE),
      encoding: 'utf8',
      env: environment(),
      timeout: 20_000,
    })
  const whole = run()
  t.equal(whole.status, 0)
  t.match(
    whole.stdout,
    /^TAP version 13\n1\.\.3\n# Starting 3 tests from 3 test cases\.\n# {2}RUN {11}global\.says \.\.\.\n/,
  )
  t.match(run('-v', 'word').stdout, /^1\.\.1\n/m)
  t.equal(run('-t', 'nothing').status, 2)
})

t.test('as a program of an installed tree it is a kselftest like any other', async t => {
  const cwd = t.testdir({ 'kselftest-list.txt': 'tdx:fine_test.ts\n', tdx: {} })
  const program = join(cwd, 'tdx/fine_test.ts')
  writeFileSync(program, `#!/usr/bin/env -S ${process.execPath} --import ${DIRECT}\n${readFileSync(FINE, 'utf8')}`)
  chmodSync(program, 0o755)
  const { stdout } = spawnSync(process.execPath, [join(dirname(DIRECT), 'seamless.js'), 'run_kselftest'], {
    cwd,
    encoding: 'utf8',
    env: environment(),
    timeout: 20_000,
  })
  t.match(stdout, /^# ok 3 port\.word\.seeded$/m)
  t.match(stdout, /^ok 1 selftests: tdx: fine_test\.ts$/m)
})
