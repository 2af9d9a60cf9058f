/** Random programs against the processor of this machine: `oracle.main.ts [--n N] [--seed S] [--only REGEX] [--mode 64|32] [--tier TIER] [--turns T]`. */
import { parseArgs } from 'node:util'
import { stats, type TierName, usualTier } from '../compile/runtime.ts'
import { print } from '../print.ts'
import { Chance } from './chance.ts'
import { compare } from './compare.ts'
import { CODE, program } from './generate.ts'
import { Ours } from './ours.ts'
import { openReal } from './real.ts'

const { values } = parseArgs({
  options: {
    n: { type: 'string', default: '10000' },
    seed: { type: 'string', default: '1' },
    only: { type: 'string' },
    mode: { type: 'string' },
    most: { type: 'string', default: '4' },
    keep: { type: 'string', default: '1' },
    tier: { type: 'string', default: usualTier() },
    turns: { type: 'string', default: '0' },
  },
})
/** Programs in one run of the oracle. */
const BATCH = 400

const real = openReal()
if (typeof real === 'string') {
  console.log(`oracle: skipped, ${real}`)
  process.exit(0)
}
const ours = new Ours(values.tier as TierName)
const only = values.only === undefined ? undefined : new RegExp(values.only)
const total = Number(values.n)
const seed = BigInt(values.seed)
let failed = 0
const traps = new Map<number, number>()
const kinds = new Map<string, number>()
for (let done = 0; done < total; done += BATCH) {
  const batch = Array.from({ length: Math.min(BATCH, total - done) }, (_, n) => {
    const chance = new Chance((seed << 32n) + BigInt(done + n))
    const mode = values.mode === undefined ? (chance.once(4) ? 32 : 64) : values.mode === '32' ? 32 : 64
    return program(chance, mode, Number(values.most), only, Number(values.turns))
  })
  const answers = real.ask(batch)
  for (const [n, asked] of batch.entries()) {
    const answer = answers[n]!
    traps.set(answer.trap, (traps.get(answer.trap) ?? 0) + 1)
    let differences: { field: string; seen: string; want: string }[]
    try {
      differences = compare(asked, ours.run(asked), answer)
    } catch (error) {
      differences = [
        {
          field: 'error',
          seen: error instanceof Error ? (error.stack ?? '').split('\n').slice(0, 4).join(' ') : String(error),
          want: '',
        },
      ]
    }
    if (differences.length === 0) continue
    failed++
    const kind = `${asked.mode} ${asked.insns.at(-1)!.row.mnemonic} ${differences.map(({ field }) => field.split(' ')[0]).join(' ')}`
    const seen = kinds.get(kind) ?? 0
    kinds.set(kind, seen + 1)
    if (seen >= Number(values.keep)) continue
    console.log(`\n#${done + n} (${asked.mode}-bit) ${Buffer.from(asked.bytes).toString('hex')}`)
    let at = CODE.at + asked.ip
    for (const insn of asked.insns) {
      console.log(`  ${at.toString(16)}  ${print(insn, BigInt(at))}`)
      at += insn.length
    }
    for (const { field, seen, want } of differences) console.log(`    ${field}: ${seen}, should be ${want}`)
  }
}
real.close()
console.log(
  `\n${total} programs, ${failed} differ; ended by ${[...traps]
    .sort(([a], [b]) => a - b)
    .map(([trap, count]) => `${trap}: ${count}`)
    .join(', ')}`,
)
console.log(
  `tier ${values.tier}: ${((stats.retired / ours.cpu.instructions) * 100).toFixed(1)} % of instructions in compiled code`,
)
if (failed > 0) process.exitCode = 1
