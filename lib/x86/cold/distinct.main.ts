/**
 * Ten thousand different instructions, each once: `distinct.main.ts make FILE` writes them, `distinct.main.ts run FILE
 * [--tier T]` runs them in a process that has done nothing before and prints the milliseconds; with `--none` only the HLT
 * behind them.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import type { TierName } from '../compile/runtime.ts'
import { Cpu } from '../cpu.ts'
import { PhysicalMemory } from '../memory.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { tier: { type: 'string', default: 'auto' }, none: { type: 'boolean', default: false } },
})
const [what, file] = positionals
if (file === undefined) throw new Error('the name of the file is missing')

const COUNT = 10_000
const CODE = 0x10_0000
const DATA = 0x20_0000
/** Meanings that go on behind themselves, whatever the registers hold. */
const PLAIN = new Set(
  (
    'add adc sub sbb cmp and or xor test inc dec neg not mov movzx movsx movsxd lea xchg cmovcc setcc shl shr sar rol ror ' +
    'shld shrd imul mul bt bts btr btc bsf bsr popcnt bswap cbw cwde cdqe cwd cdq cqo push pop xadd cmpxchg clc stc cmc ' +
    'andn blsi blsr bzhi rorx sarx shlx shrx lzcnt tzcnt movaps movups movdqa movdqu movd movq pxor pand por paddd psubd'
  ).split(' '),
)

const make = async (): Promise<void> => {
  const { decode } = await import('../decode.ts')
  const { Chance } = await import('../oracle/chance.ts')
  const chance = new Chance(1n)
  const bytes = new Uint8Array(16)
  const seen = new Set<string>()
  const out: number[] = []
  while (seen.size < COUNT) {
    for (let n = 0; n < 16; n++) bytes[n] = chance.below(256)
    // Displacements stay small: their upper halves are zero.
    const at = chance.below(3)
    if (at === 0) bytes[0] = 0x48 | chance.below(8)
    if (at === 1) bytes[0] = 0x0f
    const insn = decode(bytes, 0, 64)
    if (typeof insn === 'string' || !PLAIN.has(insn.row.semantics) || insn.row.feature === 'avx') continue
    const isPlain = insn.operands.every((operand, k) => {
      if (operand.kind === 'reg')
        return (
          (operand.file === 'gpr' && (k > 0 || (operand.index !== 3 && operand.index !== 4))) || operand.file === 'vec'
        )
      if (operand.kind === 'mem')
        return (
          operand.base === 3 &&
          operand.index < 0 &&
          operand.seg === 3 &&
          operand.addressSize === 8 &&
          operand.disp >= -128n &&
          operand.disp < 128n &&
          operand.size <= 8
        )
      return operand.kind === 'imm'
    })
    if (
      !isPlain ||
      (/^bt.?$/.test(insn.row.semantics) && insn.operands[0]?.kind === 'mem') ||
      /^(push|pop|xchg|xadd|cmpxchg)$/.test(insn.row.semantics)
    )
      continue
    const text = Buffer.from(bytes.subarray(0, insn.length)).toString('hex')
    if (seen.has(text)) continue
    seen.add(text)
    out.push(...bytes.subarray(0, insn.length))
  }
  writeFileSync(file, Uint8Array.from(out))
}

const run = (): void => {
  const memory = new PhysicalMemory(2 ** 28)
  for (let frame = 0; frame < 1024; frame++) memory.allocate()
  const cpu = new Cpu({ memory, start: 'flat64', tier: values.tier as TierName })
  cpu.cr4 |= 0x600n
  const code = values.none ? new Uint8Array(0) : readFileSync(file)
  memory.set(CODE, code)
  memory.set(CODE + code.length, Uint8Array.of(0xf4))
  cpu.gpr[3] = BigInt(DATA)
  cpu.rip = BigInt(CODE)
  const [from, used, own] = [performance.now(), process.cpuUsage(), process.threadCpuUsage()]
  const exit = cpu.run(1_000_000)
  const ms = performance.now() - from
  const thread = process.threadCpuUsage(own)
  const { user, system } = process.cpuUsage(used)
  console.log(
    `${ms.toFixed(1)} ms, thread ${((thread.user + thread.system) / 1000).toFixed(1)} ms, processor ${((user + system) / 1000).toFixed(1)} ms, ${cpu.instructions} instructions, exit ${exit.reason}, RIP ${cpu.rip.toString(16)}`,
  )
}

if (what === 'make') await make()
else run()
