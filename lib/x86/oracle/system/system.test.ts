import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import { against, ourEnd, processor } from './against.ts'
import { compare } from './compare.ts'
import { EXPLAINED } from './explained.ts'
import { OurMachine } from './ours.ts'
import { openMachine } from './real.ts'
import { programs } from './rows.ts'

/** How programs end here: those that a virtual machine of KVM ended alike, in every register and byte, and the others. */
type Ends = { readonly confirmed: Record<string, string>; readonly explained: Record<string, string> }
const ends = JSON.parse(readFileSync(new URL('testdata/ends.json', import.meta.url), 'utf8')) as Ends

t.test('programs of the system end as they did', async t => {
  const ours = new OurMachine(processor)
  const now = Object.fromEntries(programs.map(program => [program.name, ourEnd(ours, program).end]))
  t.equal(Object.keys(now).length, programs.length, 'every program has a name of its own')
  t.same(now, { ...ends.confirmed, ...ends.explained })
  t.ok(Object.keys(ends.confirmed).length > 1200)
})

t.test('compiled code ends them alike', async t => {
  const [interpreted, compiled] = [new OurMachine(processor), new OurMachine(processor, 'compile')]
  for (const [n, program] of programs.entries()) {
    if (n % 17 !== 0) continue
    const [a, b] = [ourEnd(interpreted, program), ourEnd(compiled, program)]
    if (a.outcome === undefined || b.outcome === undefined) t.equal(a.end, b.end, program.name)
    else if (compare(a.outcome, b.outcome).length > 0) t.fail(program.name, { found: compare(a.outcome, b.outcome) })
  }
})

t.test('every reason explains by a pattern, and says something', async t => {
  for (const { rows, why } of EXPLAINED) {
    t.ok(why.length > 20, why)
    t.ok(
      programs.some(({ name }) => rows.test(name)),
      `${rows} is some program's name`,
    )
  }
})

const real = openMachine()
/** Other backends differ elsewhere: `make oracle-system` says where. */
const known = existsSync('/sys/module/kvm_pvm')
const skip = typeof real === 'string' ? real : known ? false : 'the list of differences is of another KVM'

t.test('a virtual machine of KVM does the same, or it is said why not', { skip }, async t => {
  if (typeof real === 'string') return
  const sample = programs.filter((_, n) => n % 10 === 0)
  const verdicts = against(new OurMachine(processor), real, sample)
  t.same(
    verdicts.flatMap(({ program, found, why }) =>
      found !== '' && why === undefined ? [`${program.name}: ${found}`] : [],
    ),
    [],
  )
  t.ok(verdicts.filter(({ found }) => found === '').length > 100)
})
if (typeof real !== 'string') t.teardown(() => real.close())
