/**
 * Which rows of the table the compiler leaves to the interpreter, by semantics: `refused.main.ts [64|32]`. A row counts
 * as compiled where one of its encodings is, with SSE on and MXCSR as usual after some arithmetic.
 */
import { describeCpu, FEATURES, type Feature, featuresOf } from '../cpuid.ts'
import { decode } from '../decode.ts'
import { table } from '../table.ts'
import { bytesOf, randomFrom } from '../testdata/rowbytes.ts'
import { Builder } from './build.ts'
import type { Context } from './context.ts'

const TRIES = 24
const mode = process.argv[2] === '32' ? 32 : 64
const features = featuresOf(describeCpu(Object.keys(FEATURES) as Feature[]))
const context: Context = {
  id: 0,
  name: '',
  mode,
  stackSize: mode === 64 ? 8 : 4,
  sse: true,
  avx: true,
  float: 'any',
  x87: true,
  features,
  sharedMemory: false,
  logs: false,
  most: 100,
}
const random = randomFrom(0x5ea)
const refused = new Map<string, Set<string>>()
let [compiled, all] = [0, 0]
for (const row of table) {
  if (row.encodeOnly || !(mode === 64 ? row.valid64 : row.valid32)) continue
  let [found, isCompiled] = [false, false]
  for (let n = 0; n < TRIES && !isCompiled; n++) {
    const insn = decode(bytesOf(row, mode, random), 0, mode)
    if (typeof insn === 'string' || insn.row !== row) continue
    found = true
    isCompiled = new Builder(context, insn).build(insn, 0) !== undefined
  }
  if (!found) continue
  all++
  if (isCompiled) compiled++
  else refused.set(row.feature, (refused.get(row.feature) ?? new Set()).add(row.semantics))
}
console.log(`${compiled} of ${all} rows are compiled`)
for (const [feature, names] of refused) console.log(`${feature || 'base'}: ${[...names].join(' ')}`)
