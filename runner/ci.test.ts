/** The examples for continuous integration: YAML as it should be, and their commands run here, shard by shard. */
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { COMMAND, environment } from './testdata/cli.ts'
import { fake, PASS } from './testdata/suites.ts'

type Test = { testdir: (typeof t)['testdir']; same: (typeof t)['same']; ok: (typeof t)['ok'] }
type Step = { readonly run?: string; readonly env?: Readonly<Record<string, string>> }
type Workflow = {
  readonly jobs: Readonly<
    Record<'shard' | 'report', { readonly steps: readonly Step[]; readonly strategy?: { matrix: { shard: number[] } } }>
  >
}
type Pipeline = Readonly<Record<'shard' | 'report', { readonly script: readonly string[]; readonly parallel?: number }>>

const example = (name: string) => parse(readFileSync(new URL(`../docs/ci/${name}`, import.meta.url), 'utf8'))

/** A suite of six files, and an npx that is ours and an npm that has nothing to do. */
const suite = (t: Test) => {
  const names = ['a', 'b', 'c', 'd', 'e', 'f']
  const cwd = t.testdir({
    bin: {
      npm: '#!/bin/sh\n',
      npx: `#!/bin/sh\n[ "$1" = seamless ] && shift && exec "${process.execPath}" "${COMMAND}" "$@"\n`,
    },
    selftests: Object.fromEntries(names.map(name => [`${name}_test.ts`, fake({ [`global.${name}`]: PASS })])),
  })
  for (const name of ['npm', 'npx']) chmodSync(join(cwd, 'bin', name), 0o755)
  const summary = join(cwd, 'summary.md')
  writeFileSync(summary, '')
  const run = (script: string, env: Readonly<Record<string, string>>) =>
    spawnSync('bash', ['-e', '-c', script], {
      cwd,
      encoding: 'utf8',
      env: environment({ ...env, PATH: `${join(cwd, 'bin')}:${process.env['PATH']}`, GITHUB_STEP_SUMMARY: summary }),
    })
  const check = (): void => {
    const junit = readFileSync(join(cwd, 'junit.xml'), 'utf8')
    const tests = [...junit.matchAll(/ name="(global[^"]+)"/g)].map(match => match[1])
    t.same(
      tests.toSorted(),
      names.map(name => `global.${name}`),
      'nothing lost, nothing doubled',
    )
    t.ok(existsSync(join(cwd, 'report.html')))
  }
  return { run, check }
}

t.test('GitHub Actions', async t => {
  const { jobs }: Workflow = example('github.yml')
  const { run, check } = suite(t)
  const script = (steps: readonly Step[]) => steps.flatMap(step => step.run ?? []).join('\n')
  for (const shard of jobs.shard.strategy?.matrix.shard ?? []) {
    const { status, stderr } = run(script(jobs.shard.steps), { SHARD: String(shard) })
    t.equal(status, 0, stderr)
  }
  t.equal(run(script(jobs.report.steps), {}).status, 0)
  check()
})

t.test('GitLab', async t => {
  const { shard, report }: Pipeline = example('gitlab.yml')
  const { run, check } = suite(t)
  const total = shard.parallel ?? 0
  for (let index = 1; index <= total; index++) {
    const { status, stderr } = run(shard.script.join('\n'), {
      CI_NODE_INDEX: String(index),
      CI_NODE_TOTAL: String(total),
    })
    t.equal(status, 0, stderr)
  }
  t.equal(run(report.script.join('\n'), {}).status, 0)
  check()
})
