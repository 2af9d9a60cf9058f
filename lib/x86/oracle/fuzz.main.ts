/** Random bytes as code: `fuzz.main.ts [--n N] [--seed S] [--tier TIER] [--from NUMBER]`. */
import { parseArgs } from 'node:util'
import type { TierName } from '../compile/runtime.ts'
import { fuzz } from './fuzz.ts'

const { values } = parseArgs({
  options: {
    n: { type: 'string', default: '100000' },
    seed: { type: 'string', default: '1' },
    from: { type: 'string', default: '0' },
    tier: { type: 'string', default: 'interpret' },
  },
})
const { runs, crashes, ends, instructions } = fuzz(
  Number(values.n),
  BigInt(values.seed),
  values.tier as TierName,
  Number(values.from),
)
const kinds = new Map<string, number>()
for (const { number, setup, bytes, error } of crashes) {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
  const kind = text.split('\n').slice(0, 3).join('\n')
  const seen = kinds.get(kind) ?? 0
  kinds.set(kind, seen + 1)
  if (seen === 0)
    console.log(`#${number} ${JSON.stringify(setup)} ${bytes}\n${text.split('\n').slice(0, 6).join('\n')}\n`)
}
console.log(
  [...ends]
    .sort(([, a], [, b]) => b - a)
    .map(([end, count]) => `${count} ${end}`)
    .join('\n'),
)
console.log(`${runs} runs, ${instructions} instructions, ${crashes.length} errors of ${kinds.size} kinds`)
if (crashes.length > 0) process.exitCode = 1
