import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import { OPTIONS } from './options.ts'
import { seamless } from './testdata/cli.ts'

t.test(
  'help by topic: each leads from the first screen, fits one itself, and names options that there are',
  async t => {
    const first = seamless(['--help']).stdout
    const screen = first.trimEnd().split('\n')
    t.ok(screen.length < 24, `${screen.length} lines, and one for the prompt`)
    for (const line of screen) t.ok(line.length <= 80, line)
    const topics = /^More: seamless help (.*)$/m.exec(first)?.[1]?.split(' | ') ?? []
    t.ok(topics.length > 3)
    const list = seamless(['help']).stdout
    const told = [first]
    for (const topic of topics) {
      t.match(list, new RegExp(`^seamless help ${topic} +\\S`, 'm'))
      const { stdout, status } = seamless(['help', topic])
      t.equal(status, 0)
      told.push(stdout)
      t.ok(stdout.split('\n').length <= 40, `${topic} fits a screen`)
      for (const line of stdout.split('\n')) t.ok(line.length <= 140, line)
      for (const [, flag] of stdout.matchAll(/ --([a-z][a-z-]+)/g))
        t.ok(flag === 'compat' || flag === 'import' || OPTIONS.some(({ name }) => name === flag), `--${flag}`)
    }
    // Each option is told somewhere.
    for (const { name } of OPTIONS)
      if (!['help', 'version'].includes(name)) t.match(told.join(''), new RegExp(`(^|[ ,])--?${name}\\b`, 'm'), name)
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
  t.same(complete('--print-failed', 'st'), ['stdout', 'stderr'])
  t.match(seamless(['completion', 'tcsh']).stderr, /completion: tcsh: name one of bash, zsh, fish/)
})

const without = (shell: string) => spawnSync(shell, ['--version']).error !== undefined && `no ${shell} here`

t.test('completion: zsh does, at a terminal of its own', { skip: without('zsh') }, async t => {
  const directory = t.testdir({ _seamless: seamless(['completion', 'zsh']).stdout })
  const complete = (typed: string, wanted: string): string => {
    const script = `zmodload zsh/zpty
zpty z 'TERM=dumb zsh -f -i'
zpty -w z 'PS1=; fpath=($DIRECTORY $fpath); autoload -U compinit; compinit -u -D; print REA''DY'
zpty -r z said '*READY*'
zpty -n -w z "$TYPED"$'\\t'
zpty -r z said '*$WANTED*' && print -r -- "$said"
zpty -d z`
    const env = { ...process.env, DIRECTORY: directory }
    const body = script.replace('$DIRECTORY', directory).replace('$TYPED', typed).replace('$WANTED', wanted)
    return spawnSync('zsh', ['-f', '-c', body], { encoding: 'utf8', env, timeout: 20_000 }).stdout
  }
  t.match(complete('seamless --rer', '--rerun-failed'), '--rerun-failed')
  t.match(complete('seamless --report ju', 'junit'), 'junit')
  t.match(complete('seamless help fil', 'filters'), 'filters')
  t.match(complete('seamless mer', 'merge'), 'merge')
  const sourced = spawnSync(
    'zsh',
    ['-f', '-c', `autoload -U compinit; compinit -u -D; source ${directory}/_seamless; print $_comps[seamless]`],
    { encoding: 'utf8' },
  )
  t.equal(sourced.stdout, '_seamless\n', sourced.stderr)
})

t.test('completion: fish does', { skip: without('fish') }, async t => {
  const file = join(t.testdir({ 'seamless.fish': seamless(['completion', 'fish']).stdout }), 'seamless.fish')
  const complete = (line: string) => {
    const { stdout, stderr } = spawnSync('fish', ['-N', '-c', `source ${file}; complete -C '${line}'`], {
      encoding: 'utf8',
    })
    t.equal(stderr, '')
    return stdout.split('\n').flatMap(text => text.split('\t')[0] || [])
  }
  t.same(complete('seamless --rer'), ['--rerun-failed'])
  t.same(complete('seamless --report ju'), ['junit'])
  t.same(complete('seamless --print-failed st'), ['stderr', 'stdout'])
  t.same(complete('seamless help fil'), ['filters'])
  t.ok(complete('seamless mer').includes('merge'))
  const flags = complete('seamless --')
  for (const { name } of OPTIONS) if (name.length > 1) t.ok(flags.includes(`--${name}`), name)
})
