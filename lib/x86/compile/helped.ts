/**
 * Instructions that compiled code has the interpreter do, and goes on behind them: what the compiler has no code for, does
 * not branch, and changes nothing that a region takes for granted, or says so (see `help` in runtime.ts).
 */
import type { Insn } from '../insn.ts'
import type { Context } from './context.ts'
import type { Node } from './node.ts'
import * as n from './node.ts'
import { ALL_FLAGS, type Unit } from './unit.ts'

const words = (text: string): string[] => text.split(' ')

/** Features all of whose instructions are: none of them is a privileged one, or a jump. */
const FEATURES = new Set(
  words(
    'FPU CMOV MMX SSE SSE2 SSE3 SSSE3 SSE4_1 SSE4_2 AESNI PCLMULQDQ SHA AVX AVX2 VAES VPCLMULQDQ FMA F16C BMI2 RDRAND RDSEED TSC RDTSCP RDPID XSAVEOPT XSAVEC XSAVES FXSR FSGSBASE',
  ),
)
/** And these of others. */
const NAMES = new Set(words('cpuid pushf pushfq popf popfq rdpkru xgetbv xsave xrstor swapgs'))

const RAX = 1 << 0
const RCX = 1 << 1
const RDX = 1 << 2
const RBX = 1 << 3
const RSP = 1 << 4
const RDI = 1 << 7
/** General registers that are read and written besides those among the operands. */
const GENERAL: Record<string, readonly [reads: number, writes: number]> = {
  cpuid: [RAX | RCX, RAX | RCX | RDX | RBX],
  rdtsc: [0, RAX | RDX],
  rdtscp: [0, RAX | RCX | RDX],
  rdpkru: [RCX, RAX | RDX],
  xgetbv: [RCX, RAX | RDX],
  ...Object.fromEntries(words('pushf pushfq popf popfq').map(name => [name, [RSP, RSP] as const])),
  ...Object.fromEntries(words('pcmpestri vpcmpestri').map(name => [name, [RAX | RDX, RCX] as const])),
  ...Object.fromEntries(words('pcmpestrm vpcmpestrm').map(name => [name, [RAX | RDX, 0] as const])),
  ...Object.fromEntries(words('pcmpistri vpcmpistri').map(name => [name, [0, RCX] as const])),
  ...Object.fromEntries(words('maskmovq maskmovdqu vmaskmovdqu').map(name => [name, [RDI, 0] as const])),
}
/** What has the state of all units in memory; EDX:EAX says of which. */
const AREAS = new Set(words('fxsave fxrstor xsave xsaveopt xsavec xsaves xrstor xrstors'))
/** Vector register 0 is an operand that is not named. */
const WITH_FIRST = new Set(words('pcmpestrm vpcmpestrm pcmpistrm vpcmpistrm sha256rnds2'))
const KEEPS_FLAGS = new Set(
  words('FPU MMX AESNI PCLMULQDQ SHA VAES VPCLMULQDQ FMA F16C FXSR XSAVE XSAVEOPT XSAVEC XSAVES TSC'),
)
/** What could not be taken back and done again, to be compared: it writes memory, or takes from a source that is used up. */
const ONCE = new Set(words('pushf pushfq rdrand rdseed fnsave fnstenv swapgs maskmovq maskmovdqu vmaskmovdqu'))

const isHelped = ({ row, operands }: Insn, { logs }: Context): boolean => {
  const { semantics, feature } = row
  if (!FEATURES.has(feature) && !NAMES.has(semantics)) return false
  if (!logs) return true
  return !ONCE.has(semantics) && !(AREAS.has(semantics) && !semantics.includes('rstor')) && operands[0]?.kind !== 'mem'
}

const opaque = (mask: number, width: 64 | 128): Map<number, Node> => {
  const made = new Map<number, Node>()
  for (let r = 0; r < 32; r++) if ((mask & (1 << r)) !== 0) made.set(r, n.temp(width, width))
  return made
}

/** The unit of an instruction that is done by the interpreter; `undefined` where it has to be met outside. */
export const helped = (insn: Insn, offset: number, context: Context): Unit | undefined => {
  const { semantics, feature } = insn.row
  if (!isHelped(insn, context) || (feature !== '' && !context.features.has(feature))) return undefined
  let [uses, writes] = GENERAL[semantics] ?? [0, 0]
  let vectors = WITH_FIRST.has(semantics) ? 0x1_0001 : 0
  for (const operand of insn.operands) {
    if (operand.kind === 'reg') {
      if (operand.file === 'gpr') {
        uses |= 1 << operand.index
        writes |= 1 << operand.index
      } else if (operand.file === 'vec') vectors |= 0x1_0001 << operand.index
      else if (operand.file !== 'mm' && operand.file !== 'st') return undefined
    } else if (operand.kind === 'mem') {
      if (operand.base >= 0) uses |= 1 << operand.base
      if (operand.index < 0) continue
      // Of a gather the index is a vector register.
      if (insn.row.forms.some(({ vsib }) => vsib !== 0)) vectors |= 0x1_0001 << operand.index
      else uses |= 1 << operand.index
    } else if (operand.kind !== 'imm') return undefined
  }
  if (AREAS.has(semantics)) {
    uses |= RAX | RDX
    vectors = -1
  }
  const flags = !KEEPS_FLAGS.has(feature) || /^f(u?comi|cmov)/.test(semantics)
  return {
    insn,
    offset,
    effects: [{ kind: 'help', insn, flags }],
    registers: opaque(writes, 64),
    vectors: opaque(vectors, 128),
    flags: undefined,
    single: new Map(),
    control: undefined,
    pending: [],
    reads: flags ? ALL_FLAGS : 0,
    uses,
    vectorUses: vectors,
    isCall: false,
  }
}
