import { spawnSync } from 'node:child_process'
import t from 'tap'
import { OPTIONS } from './options.ts'
import { seamless } from './testdata/cli.ts'

t.test(
  'help by topic: each leads from the first screen, fits one itself, and names options that there are',
  async t => {
    const first = seamless(['--help']).stdout
    const topics = /^More: seamless help (.*)$/m.exec(first)?.[1]?.split(' | ') ?? []
    t.ok(topics.length > 3)
    const list = seamless(['help']).stdout
    for (const topic of topics) {
      t.match(list, new RegExp(`^seamless help ${topic} +\\S`, 'm'))
      const { stdout, status } = seamless(['help', topic])
      t.equal(status, 0)
      t.ok(stdout.split('\n').length <= 40, `${topic} fits a screen`)
      for (const line of stdout.split('\n')) t.ok(line.length <= 140, line)
      for (const [, flag] of stdout.matchAll(/ --([a-z][a-z-]+)/g))
        t.ok(flag === 'compat' || flag === 'import' || OPTIONS.some(({ name }) => name === flag), `--${flag}`)
    }
    t.match(seamless(['help', 'filter']).stderr, /no topic filter \(did you mean filters\?\)/)
  },
)

t.test('completion: bash completes options, formats, topics and files', async t => {
  const script = seamless(['completion', 'bash']).stdout
  const complete = (...words: string[]) => {
    const { stdout, stderr } = spawnSync(
      'bash',
      [
        '-c',
        `${script}\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _seamless; printf '%s\\n' "\${COMPREPLY[@]}"`,
        '-',
        'seamless',
        ...words,
      ],
      { encoding: 'utf8' },
    )
    t.equal(stderr, '')
    return stdout.trim().split('\n')
  }
  t.same(complete('--rer'), ['--rerun-failed'])
  t.same(complete('--report', 'ju'), ['junit'])
  t.same(complete('help', 'fil'), ['filters'])
  t.same(complete('merg'), ['merge'])
  t.same(complete('run', 'package.j'), ['package.json'])
  for (const shell of ['zsh', 'fish'])
    for (const { name } of OPTIONS) t.match(seamless(['completion', shell]).stdout, name)
  t.match(seamless(['completion', 'tcsh']).stderr, /completion: tcsh: name one of bash, zsh, fish/)
})
