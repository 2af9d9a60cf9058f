/** Programs of the system's kind against KVM, and what they end with: `system.main.ts [--write] [--all] [--filter REGEX]`. */
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { against, ourEnd, processor, type Verdict } from './against.ts'
import { OurMachine } from './ours.ts'
import { openMachine } from './real.ts'
import { programs } from './rows.ts'

const { values } = parseArgs({
  options: {
    write: { type: 'boolean', default: false },
    all: { type: 'boolean', default: false },
    filter: { type: 'string', default: '' },
  },
})
const ours = new OurMachine(processor)
const real = openMachine()
if (typeof real === 'string') console.log(`no virtual machines here: ${real}`)
else {
  const chosen = programs.filter(({ name }) => new RegExp(values.filter).test(name))
  const verdicts = against(ours, real, chosen)
  real.close()
  const whys = new Map<string, string[]>()
  let unexplained = 0
  for (const { program, found, why } of verdicts) {
    if (found === '') continue
    if (why === undefined) unexplained++
    if (why === undefined || values.all) console.log(`${program.name}: ${found}`)
    if (why !== undefined) whys.set(why, [...(whys.get(why) ?? []), program.name])
  }
  for (const [why, names] of whys) console.log(`${names.length} explained: ${why}`)
  if (values.write) {
    const ends = (which: (verdict: Verdict) => boolean) =>
      Object.fromEntries(verdicts.filter(which).map(({ program }) => [program.name, ourEnd(ours, program).end]))
    const record = { confirmed: ends(({ found }) => found === ''), explained: ends(({ found }) => found !== '') }
    const to = new URL('testdata/ends.json', import.meta.url)
    writeFileSync(to, `${JSON.stringify(record, undefined, 2)}\n`)
  }
  const same = verdicts.filter(({ found }) => found === '').length
  console.log(
    `${verdicts.length} programs: ${same} the same, ${verdicts.length - same - unexplained} explained, ${unexplained} not`,
  )
  if (unexplained > 0) process.exitCode = 1
}
