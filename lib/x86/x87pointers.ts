/**
 * Where the last x87 instruction and its operand were: FIP, FDP and FOP. As on a processor whose CPUID has
 * FDP_EXCPTN_ONLY, FDP is kept for instructions with an unmasked exception, and so is FOP everywhere.
 * SDM Vol. 1, "x87 FPU Instruction and Data (Operand) Pointers" and "Last Instruction Opcode".
 */
import type { Cpu } from './cpu.ts'
import { CS, type Mem } from './insn.ts'
import { lookup } from './mmu.ts'
import { addressOf } from './registerfile.ts'

const LONGEST = 15

/** The low three bits of the escape opcode, then ModRM. */
const opcodeAtRip = (cpu: Cpu): number => {
  const base = cpu.mode === 64 ? 0n : cpu.segments[CS]!.base
  const byte = (n: number): number => {
    const linear = BigInt.asUintN(cpu.mode === 64 ? 64 : 32, cpu.rip + base + BigInt(n))
    return cpu.memory.u8[lookup(cpu, linear, 'fetch', cpu.key)]!
  }
  let n = 0
  while (n < LONGEST && byte(n) >> 3 !== 0xd8 >> 3) n++
  return ((byte(n) & 7) << 8) | byte(n + 1)
}

const noteOperand = (cpu: Cpu): void => {
  const at = cpu.insn?.operands.find((o): o is Mem => o.kind === 'mem')
  if (cpu.insn === undefined || at === undefined) return
  cpu.x87.fdp = addressOf(cpu, at, cpu.insn.length)
  cpu.x87.fds = cpu.features.has('ZERO_FCS_FDS') ? 0 : cpu.segments[at.seg]!.selector
}

/** Every instruction that is no control instruction leaves where it is. */
export const noteInstruction = (cpu: Cpu): void => {
  cpu.x87.fip = cpu.rip
  cpu.x87.fcs = cpu.features.has('ZERO_FCS_FDS') ? 0 : cpu.segments[CS]!.selector
  if (!cpu.features.has('FDP_EXCPTN_ONLY')) noteOperand(cpu)
}

/** An unmasked exception was found: the rest is kept, too. */
export const noteException = (cpu: Cpu): void => {
  noteOperand(cpu)
  cpu.x87.fop = opcodeAtRip(cpu)
}
