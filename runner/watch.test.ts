import { spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { discover } from './discover.ts'
import { environment, START } from './testdata/cli.ts'
import { fake, PASS, ran } from './testdata/suites.ts'
import { reach, touched } from './watch.ts'

const SUITE = {
  'package.json': '{ "type": "module", "imports": { "#room": "./lib/room.ts" } }',
  lib: { 'room.ts': "export * from './inner.ts'", 'inner.ts': 'export const a = 1' },
  selftests: {
    'a_test.ts': `import { a } from '#room'\nvoid a\n${fake({ 'global.a': PASS })}`,
    'b_test.ts': `import './helper.ts'\n${fake({ 'global.b': PASS })}`,
    'helper.ts': "const late = () => import('./late.ts')\nvoid late",
    'late.ts': '',
  },
}

t.test('a change touches the tests that import what changed, however far', async t => {
  const cwd = t.testdir(SUITE)
  const files = discover(cwd, [])
  const at = (...paths: string[]) =>
    touched(files, new Set(paths.map(path => join(cwd, path))), cwd).map(file => file.name)
  t.same(at('lib/inner.ts'), ['a_test.ts'])
  t.same(at('selftests/late.ts'), ['b_test.ts'])
  t.same(at('selftests/b_test.ts', 'lib/room.ts'), ['a_test.ts', 'b_test.ts'])
  t.same(at('README.md'), [])
  t.same(at('package.json'), ['a_test.ts', 'b_test.ts'])
  writeFileSync(join(cwd, 'lib/inner.ts'), "import './room.ts'")
  t.equal(reach(join(cwd, 'lib/inner.ts')).size, 2, 'a ring of imports ends')
})

t.test('--watch runs again what a change touches, and what is new', async t => {
  const cwd = t.testdir(SUITE)
  const child = spawn(START[0], [...START.slice(1), '--watch', '--report', 'tap'], { cwd, env: environment() })
  t.teardown(() => child.kill())
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', text => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', text => {
    stderr += text
  })
  /** What was run, once `count` runs are through and the watch goes on. */
  const runs = async (count: number) => {
    while (stdout.split('# Totals: pass').length - 1 - stdout.split('# # Totals').length + 1 < count || stderr === '')
      await new Promise(resolve => setTimeout(resolve, 20))
    const documents = stdout.split(/^TAP version 13$/m).slice(1)
    return ran(documents.at(-1) ?? '')
  }
  t.same(await runs(1), ['global.a', 'global.b'])
  writeFileSync(join(cwd, 'selftests/late.ts'), '// changed')
  t.same(await runs(2), ['global.b'])
  t.match(stderr, /changed: selftests\/late\.ts: 1 of 2 files/)
  mkdirSync(join(cwd, 'selftests/more'))
  writeFileSync(join(cwd, 'selftests/c_test.ts'), fake({ 'global.c': PASS }))
  t.same(await runs(3), ['global.c'])
})
