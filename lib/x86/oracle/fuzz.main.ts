/**
 * Random bytes as code: `fuzz.main.ts [--loops] [--n N] [--seed S] [--tier TIER] [--against TIER] [--from NUMBER] [--seconds S]`.
 * With `--loops`, images of fragments in a loop that gets hot; `--against`, in two tiers that must agree.
 */
import { parseArgs } from 'node:util'
import { stats, type TierName } from '../compile/runtime.ts'
import { type Crash, fuzz, fuzzLoops } from './fuzz.ts'

const { values } = parseArgs({
  options: {
    n: { type: 'string' },
    seed: { type: 'string', default: '1' },
    from: { type: 'string', default: '0' },
    tier: { type: 'string', default: 'interpret' },
    against: { type: 'string' },
    loops: { type: 'boolean', default: false },
    seconds: { type: 'string', default: 'Infinity' },
  },
})
const resident = (): number => Math.round(process.memoryUsage.rss() / 2 ** 20)
const started = resident()
/** Runs of one machine. */
const PORTION = values.loops ? 20 : 20_000
const total = Number(values.n ?? (values.loops ? 100 : 100_000))
const until = performance.now() + Number(values.seconds) * 1000
const crashes: Crash[] = []
const ends = new Map<string, number>()
let [runs, instructions, first] = [0, 0, 0]
for (let done = 0; done < total && performance.now() < until; done += PORTION) {
  const [count, from] = [Math.min(PORTION, total - done), Number(values.from) + done]
  const [seed, tier] = [BigInt(values.seed), values.tier as TierName]
  const result = values.loops
    ? fuzzLoops(count, seed, tier, values.against as TierName | undefined, from)
    : fuzz(count, seed, tier, from)
  runs += result.runs
  instructions += result.instructions
  crashes.push(...result.crashes)
  for (const [end, often] of result.ends) ends.set(end, (ends.get(end) ?? 0) + often)
  if (done === 0) first = resident()
}
const kinds = new Map<string, number>()
for (const { number, setup, bytes, error } of crashes) {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
  const kind = text.split('\n').slice(0, 3).join('\n')
  const seen = kinds.get(kind) ?? 0
  kinds.set(kind, seen + 1)
  if (seen > 0) continue
  const code = values.loops ? '' : bytes
  console.log(`#${number} ${JSON.stringify(setup)} ${code}\n${text.split('\n').slice(0, 6).join('\n')}\n`)
}
console.log(
  [...ends]
    .sort(([, a], [, b]) => b - a)
    .map(([end, count]) => `${count} ${end}`)
    .join('\n'),
)
const share = instructions === 0 ? 0 : (stats.retired / instructions) * 100
console.log(
  `${stats.regions} regions compiled, ${share.toFixed(1)} % of instructions in them; ` +
    `resident ${started} MiB at the start, ${first} after the first portion, ${resident()} at the end`,
)
console.log(`${runs} runs, ${instructions} instructions, ${crashes.length} errors of ${kinds.size} kinds`)
if (crashes.length > 0) process.exitCode = 1
