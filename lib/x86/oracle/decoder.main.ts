/** Our decoder against iced-x86: `decoder.main.ts [--n N] [--seed S]`. */
import { parseArgs } from 'node:util'
import { againstOther, iced } from './decoder.ts'

const { values } = parseArgs({
  options: { n: { type: 'string', default: '100000' }, seed: { type: 'string', default: '1' } },
})
if (iced === undefined) console.log('iced-x86 is not installed')
else {
  const { cases, same, invalid, explained, unexplained } = againstOther(iced, Number(values.n), Number(values.seed))
  for (const [why, count] of [...explained].sort(([, a], [, b]) => b - a)) console.log(`${count} explained: ${why}`)
  const rest = [...unexplained].sort(([, a], [, b]) => b.count - a.count)
  for (const [kind, { count, bytes }] of rest.slice(0, 100)) console.log(`${count} ${kind}\n    ${bytes}`)
  const known = [...explained.values()].reduce((sum, count) => sum + count, 0)
  const others = rest.reduce((sum, [, { count }]) => sum + count, 0)
  console.log(
    `${cases} cases: ${same} the same (${invalid} no instruction), ${known} explained, ${others} not (${rest.length} kinds)`,
  )
  if (others > 0) process.exitCode = 1
}
