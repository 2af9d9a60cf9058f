/** Speed of whole programs: `kernels.main.ts FOLDER [NAME...] [--tier T] [--divide N]`, with what native code takes. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { stats as cold } from '../cold/stats.ts'
import { runElf } from '../testdata/linuxelf.ts'
import { stats, type TierName } from './runtime.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tier: { type: 'string', default: 'auto' },
    divide: { type: 'string', default: '1' },
  },
})
/** User time of a run by the shell's clock, in nanoseconds: the best of three. */
const nativeTime = (path: string, scale: string): number => {
  const once = (): number => {
    const text = execFileSync('bash', ['-c', `TIMEFORMAT=%U; { time ${path} ${scale} >/dev/null; } 2>&1`], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    return Number(text) * 1e9
  }
  return Math.min(once(), once(), once())
}
const SCALES = {
  sieve: 400,
  sha256: 4600,
  matmul: 400,
  qsort: 100,
  crc32: 1800,
  memrep: 36000,
  memloop: 10400,
  nbody: 50000,
  bytecode: 1800,
  fib: 4800,
  muldiv: 12000,
}
const [folder, ...chosen] = positionals
if (folder === undefined) throw new Error('the folder of the programs is missing')
let product = 1
let count = 0
for (const [name, whole] of Object.entries(SCALES)) {
  if (chosen.length > 0 && !chosen.includes(name)) continue
  const scale = String(Math.max(1, Math.round(whole / Number(values.divide))))
  const path = join(folder, name)
  const of = (text: string) => text.trim().split('\n').at(-1)!.split(' ')
  const [, sum] = of(execFileSync(path, [scale], { encoding: 'utf8' }))
  const nativeNs = nativeTime(path, scale)
  Object.assign(cold, { blocks: 0, records: 0, handlers: 0, batches: 0, bytes: 0, ms: 0, entered: 0, retired: 0 })
  Object.assign(stats, { regions: 0, shared: 0, instructions: 0, bytes: 0, ms: 0, entered: 0, retired: 0 })
  const { output, instructions } = runElf(readFileSync(path), [path, scale], { tier: values.tier as TierName })
  const [, ours, ns] = of(output)
  const ratio = Number(ns) / Number(nativeNs)
  product *= ratio
  count++
  console.log(
    `${name.padEnd(9)} ${(Number(nativeNs) / 1e6).toFixed(0).padStart(5)} ms native ${(Number(ns) / 1e6).toFixed(0).padStart(6)} ms ours ${ratio.toFixed(2).padStart(7)} x ` +
      `${((instructions / Number(ns)) * 1e3).toFixed(0).padStart(6)} MIPS ${sum === ours ? 'same' : 'WRONG'} ` +
      `regions ${stats.regions} (${stats.instructions} insns, ${stats.bytes} bytes, ${stats.ms.toFixed(1)} ms) entered ${stats.entered} compiled ${((stats.retired / instructions) * 100).toFixed(2)} %; ` +
      `cold blocks ${cold.blocks} handlers ${cold.handlers} (${cold.bytes} bytes, ${cold.ms.toFixed(1)} ms) entered ${cold.entered}, ${((cold.retired / instructions) * 100).toFixed(2)} %`,
  )
}
console.log(`geometric mean ${(product ** (1 / count)).toFixed(2)} x native`)
