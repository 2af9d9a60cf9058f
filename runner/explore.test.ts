import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { START } from './testdata/cli.ts'

const FILE = 'runner/testdata/race_test.ts'

const seamless = (...args: string[]) =>
  spawnSync(START[0], [...START.slice(1), 'run', FILE, '--report', 'tap', '--record', 'none', ...args], {
    encoding: 'utf8',
    cwd: fileURLToPath(new URL('..', import.meta.url)),
  })

t.test('a race that the run does not meet is found by exploring, and its seed alone shows it again', async t => {
  t.equal(seamless('--seed', '1').status, 0)
  const found = seamless('--seed', '1', '--explore', '200')
  t.equal(found.status, 1)
  const [, seed = ''] =
    /again {2}seamless \S+ -r global\.loses_an_update --seed (0x[0-9a-f]+)$/m.exec(found.stdout) ?? []
  t.not(seed, '')
  t.match(found.stdout, /Expected 2n \(0x2\) == common\.of\(td\)\.count \(0x1\)/)
  const again = seamless('--seed', seed)
  t.equal(again.status, 1)
  const failure = (text: string) => /^# # selftests.*|^# # runner[\s\S]*?again/m.exec(text)?.[0]
  t.equal(failure(again.stdout), failure(found.stdout))
})

t.test('an unknown trace is said at once', async t => {
  const { status, stderr } = seamless('--trace', 'exit')
  t.equal(status, 2)
  t.match(stderr, '--trace exit: none of exits, tdcalls')
})
