/** `make fuzz-tdx`: so many random SEAMCALLs, and a quarter as many TDCALLs. Arguments: calls, seed. */
import { type Fuzzed, fuzzSeamcalls, fuzzTdcalls } from './fuzz.ts'

const calls = Number(process.argv[2] || 1_000_000)
const seed = BigInt(process.argv[3] || 1)

const show = (what: string, { calls, notModelled, statuses, wrong }: Fuzzed): boolean => {
  const lines = [...statuses]
    .sort(([, a], [, b]) => b - a)
    .map(([name, count]) => `  ${`${count}`.padStart(8)}  ${name}`)
  process.stdout.write(`${calls} ${what}, ${notModelled} of them not modelled, ${statuses.size} statuses\n`)
  process.stdout.write(`${lines.join('\n')}\n${wrong.map(line => `${line}\n`).join('')}`)
  return wrong.length === 0
}

const seamcalls = show('SEAMCALLs', fuzzSeamcalls(seed, calls))
const tdcalls = show('TDCALLs', fuzzTdcalls(seed, Math.ceil(calls / 4)))
process.exitCode = seamcalls && tdcalls ? 0 : 1
