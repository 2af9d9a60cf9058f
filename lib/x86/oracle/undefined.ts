/**
 * What random programs leave out or do not compare: what the architecture leaves undefined, what differs between
 * makers of processors, what a process cannot have to itself. Flags are those that the SDM calls undefined under the
 * instruction's name.
 */
import type { Insn } from '../insn.ts'

const [CF, PF, AF, ZF, SF, OF] = [0x1, 0x4, 0x10, 0x40, 0x80, 0x800]
export const ARITHMETIC = CF | PF | AF | ZF | SF | OF

const FLAGS: Readonly<Record<string, number>> = {
  and: AF,
  or: AF,
  xor: AF,
  test: AF,
  mul: PF | AF | ZF | SF,
  imul: PF | AF | ZF | SF,
  div: ARITHMETIC,
  idiv: ARITHMETIC,
  bsf: CF | PF | AF | SF | OF,
  bsr: CF | PF | AF | SF | OF,
  bt: PF | AF | SF | OF,
  bts: PF | AF | SF | OF,
  btr: PF | AF | SF | OF,
  btc: PF | AF | SF | OF,
  lzcnt: PF | AF | SF | OF,
  tzcnt: PF | AF | SF | OF,
  bextr: PF | AF | SF,
  blsi: PF | AF,
  blsr: PF | AF,
  blsmsk: PF | AF,
  bzhi: PF | AF,
  andn: PF | AF,
  aaa: PF | ZF | SF | OF,
  aas: PF | ZF | SF | OF,
  aad: CF | AF | OF,
  aam: CF | AF | OF,
  daa: OF,
  das: OF,
}
const SHIFTS = ['shl', 'sal', 'shr', 'sar', 'shld', 'shrd']
const ROTATES = ['rol', 'ror', 'rcl', 'rcr']

/** RFLAGS bits that an instruction may leave undefined. */
export const undefinedFlags = ({ row, operands }: Insn): number => {
  const name = row.semantics
  const known = FLAGS[name]
  if (known !== undefined) return known
  const isShift = SHIFTS.includes(name)
  if (!isShift && !ROTATES.includes(name)) return 0
  const last = operands.at(-1)
  // By 1: OF is defined.
  const byOne = last?.kind === 'imm' && last.value === 1n
  if (!isShift) return byOne ? 0 : OF
  const size = operands[0]?.kind === 'reg' || operands[0]?.kind === 'mem' ? operands[0].size : 8
  return AF | (byOne ? 0 : OF) | (size <= 2 && !byOne ? CF : 0)
}

/** Meanings that are left out altogether. */
const LEFT_OUT = new Set([
  // The kernel's answer, not the processor's.
  ...['syscall', 'sysenter', 'sysret', 'sysexit', 'vmcall', 'vmmcall', 'vmfunc', 'iret', 'iretd', 'iretq'],
  // Time, chance and identity.
  ...['cpuid', 'rdtsc', 'rdtscp', 'rdpmc', 'rdrand', 'rdseed', 'rdpid', 'xgetbv', 'rdpkru', 'wrpkru'],
  // Differ between makers, or show the kernel's tables.
  ...['sgdt', 'sidt', 'sldt', 'str', 'smsw', 'lar', 'lsl', 'verr', 'verw', 'fxsave', 'fxrstor', 'monitor', 'mwait'],
  ...['xsave', 'xsavec', 'xsaveopt', 'xsaves', 'xrstor', 'xrstors', 'rdfsbase', 'rdgsbase', 'wrfsbase', 'wrgsbase'],
  ...['les', 'lds', 'lss', 'lfs', 'lgs', 'callfar', 'jmpfar', 'retfar', 'arpl', 'swapgs'],
  // Approximations are each maker's own.
  ...['rcpps', 'rcpss', 'rsqrtps', 'rsqrtss', 'vrcpps', 'vrcpss', 'vrsqrtps', 'vrsqrtss'],
  ...['fsin', 'fcos', 'fsincos', 'fptan', 'fpatan', 'fyl2x', 'fyl2xp1', 'f2xm1', 'fprem', 'fprem1', 'fscale'],
  // Which NaN is kept.
  ...[
    'haddps',
    'haddpd',
    'hsubps',
    'hsubpd',
    'dpps',
    'dppd',
    'vhaddps',
    'vhaddpd',
    'vhsubps',
    'vhsubpd',
    'vdpps',
    'vdppd',
  ],
  // An FSTP that ignores stack faults on AMD's, and is FSTP on Intel's.
  'fstpnce',
  ...['extrq', 'insertq', 'movntss', 'movntsd', 'cvtpi2ps', 'cvtpi2pd'],
  // Where the last x87 instruction was, and its operand.
  ...['fnstenv', 'fnsave', 'fldenv', 'frstor'],
])
/** CPUID features that the tables know and that are not tried. */
const FEATURES_LEFT_OUT = new Set([
  'VMX',
  'SMX',
  'SGX',
  'KL',
  'CET_SS',
  'CET_IBT',
  'WAITPKG',
  'SERIALIZE',
  'MOVDIRI',
  'MOVDIR64B',
  'SSE4A',
  'FMA4',
  'VAES',
  'VPCLMULQDQ',
  'PKU',
  'MONITOR',
])

/**
 * Where these fault, each maker has its own way: which of two operands is read first, what CR2 and the alignment check
 * see of a masked access, whether the x87 registers have become MMX registers, what was stored before.
 */
export const PARTIAL = /^(v?p?maskmov|cmps|enter|pusha|popa|cvtt?p[sd]2pi)/

export const isLeftOut = (insn: Insn): boolean => {
  const { row, operands, mode, operandSize } = insn
  const { semantics } = row
  if (
    LEFT_OUT.has(semantics) ||
    LEFT_OUT.has(row.mnemonic.toLowerCase()) ||
    FEATURES_LEFT_OUT.has(row.feature) ||
    semantics.includes('gather')
  )
    return true
  const [first, second] = operands
  // Segment registers, and the two bases that belong to the C library.
  if (operands.some(operand => operand.kind === 'reg' && operand.file === 'seg')) return true
  if (operands.some(operand => operand.kind === 'mem' && operand.seg >= 4)) return true
  // System calls of 32-bit code, and vectors with gates that Linux opens.
  if (semantics === 'int' && first?.kind === 'imm' && (first.value === 0x80n || first.value < 32n)) return true
  // Intel: reserved NOP; AMD: prefetches, which have no register forms.
  if (/\b0F 0D\b/.test(row.opcode) && first?.kind === 'reg') return true
  if (semantics === 'bswap' && operandSize === 2) return true
  // Near branches with a 66 prefix.
  if (operands.some(operand => operand.kind === 'rel') && operandSize === 2) return true
  if (
    ['call', 'jmp', 'ret', 'jcc', 'loop', 'loope', 'loopne', 'jcxz'].includes(semantics) &&
    mode === 64 &&
    operandSize === 2
  )
    return true
  if (semantics === 'movsxd' && operandSize === 2) return true
  // Double shifts of 16 bits by more than 16.
  if ((semantics === 'shld' || semantics === 'shrd') && first !== undefined && 'size' in first && first.size === 2)
    return true
  // Whether VEX.L may be 1 on scalar instructions.
  if (row.vex && row.l === -1 && insn.vectorLength === 32 && second !== undefined) return true
  return false
}
