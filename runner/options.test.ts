import fc from 'fast-check'
import t from 'tap'
import { clauses, OPTIONS, read } from './options.ts'
import { complaint, help } from './words.ts'

t.test('options keep the order in which they were given', async t => {
  const line = read(['-T', 'a', 'x_test.ts', '-f', 'b', '--seed=1', '--', '-odd'])
  t.same(line?.files, ['x_test.ts', '-odd'])
  t.same(clauses(line!), [
    { letter: 'T', value: 'a' },
    { letter: 'f', value: 'b' },
  ])
  t.same(line?.given.at(-1), { name: 'seed', value: '1' })
})

t.test('what is wrong with a command line is said in one line', async t => {
  const says = async (argv: string[], message: RegExp) => {
    t.equal(read(argv), undefined, argv.join(' '))
    const error = await complaint(argv)
    t.match(error?.message, message, argv.join(' '))
    t.notMatch(error?.message, /\n/)
  }
  await says(['--tmeout', '3'], /^unknown option --tmeout \(did you mean --timeout\?\)$/)
  await says(['-x'], /^unknown option -x/)
  await says(['--timeout'], /^option --timeout needs a value: SECONDS$/)
  await says(['-t'], /^option -t needs a value: TEST$/)
  await says(['-t', '--list'], /^option -t needs a value: TEST$/)
  await says(['--seed', '1', '--seed', '2'], /^option --seed is given more than once$/)
  await says(['--list=yes'], /^option --list takes no value$/)
  t.equal(await complaint(['--help']), undefined)
})

t.test('the quick reader and yargs accept the same lines', async () => {
  const word = fc.stringMatching(/^[a-z_.]{1,6}$/)
  const option = fc
    .constantFrom(...OPTIONS.filter(option => option.name !== 'help'))
    .chain(({ name, alias, value }) => {
      const flag = fc.constantFrom(
        ...[name, ...(alias === undefined ? [] : [alias])].map(n => (n.length > 1 ? `--${n}` : `-${n}`)),
      )
      if (value === undefined) return flag.map(flag => [flag])
      return fc
        .tuple(flag, fc.option(word, { freq: 5 }))
        .map(([flag, value]) => (value === null ? [flag] : [flag, value]))
    })
  const argv = fc
    .array(
      fc.oneof(
        option,
        word.map(word => [word]),
      ),
      { maxLength: 5 },
    )
    .map(parts => parts.flat())
  await fc.assert(
    fc.asyncProperty(argv, async argv => {
      const quick = read(argv)
      const said = await complaint(argv)
      // Where the quick reader takes a line, yargs has no words for it but "cannot read".
      return quick === undefined ? !said?.message.startsWith('cannot read') : said?.message.startsWith('cannot read')
    }),
    { numRuns: 60 },
  )
})

t.test('the help fits a screen and answers in order: which tests, how they run, what you see', async t => {
  const text = await help()
  t.ok(text.split('\n').length <= 44, `${text.split('\n').length} lines`)
  t.ok(text.split('\n').every(line => line.length <= 100))
  const groups = ['Which tests:', 'How they run:', 'What you see:'].map(group => text.indexOf(group))
  t.ok(groups.every(at => at > 0))
  t.same(
    groups,
    groups.toSorted((a, b) => a - b),
  )
})
