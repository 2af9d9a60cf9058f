/** Where an operand lies: from a segment and an offset to a linear address, with the checks that come before paging. */
import { VECTOR_AC, VECTOR_GP, VECTOR_SS } from '#abi'
import type { Cpu } from './cpu.ts'
import { CS, FS, type Insn, type Seg, SS } from './insn.ts'
import { legacyLinear } from './segments.ts'

const whole = new BigUint64Array(1)
const half = new Uint32Array(whole.buffer)

/**
 * The linear address of `size` bytes at `offset` of a segment. Throws #GP(0), for SS #SS(0), where the segment does
 * not allow the access or the address is not canonical; #AC(0) where alignment is checked.
 */
export const linearOf = (cpu: Cpu, seg: Seg, offset: bigint, size: number, access: 'read' | 'write'): bigint => {
  let at = offset
  if (cpu.mode === 64) {
    if (!cpu.isCanonical(at)) cpu.raise(seg === SS ? VECTOR_SS : VECTOR_GP, 0)
    if (seg >= FS) {
      // Both the offset and the sum must be canonical: measured, as the test vectors have it.
      at = BigInt.asUintN(64, cpu.segments[seg]!.base + offset)
      if (!cpu.isCanonical(at)) cpu.raise(VECTOR_GP, 0)
    }
    whole[0] = at
    if (size > 1 && half[0]! >= 0xffff_f000 && !cpu.isCanonical(BigInt.asUintN(64, at + BigInt(size - 1)))) {
      cpu.raise(seg === SS ? VECTOR_SS : VECTOR_GP, 0)
    }
  } else at = legacyLinear(cpu, seg, offset, size, access)
  if (cpu.watched) look(cpu, at, size, access)
  return at
}

const look = (cpu: Cpu, at: bigint, size: number, access: 'read' | 'write'): void => {
  if (cpu.alignmentChecked && isMisaligned(at, size) && !isNeverChecked(cpu.insn)) cpu.raise(VECTOR_AC, 0)
  cpu.watch(at, size, access)
}

/** The lanes of VMASKMOV and VPMASKMOV may lie anywhere. SDM Vol. 2C, "VMASKMOV": type 6 exceptions, without #AC. */
const isNeverChecked = (insn: Insn | undefined): boolean =>
  insn !== undefined && /^vp?maskmov(p[sd]|[dq])$/.test(insn.row.semantics)

/** Accesses of 10 bytes want 8, far pointers the alignment of their offset. SDM Vol. 3A, "Alignment Check Exception". */
const isMisaligned = (at: bigint, size: number): boolean => {
  // Of 32 bytes, 16 are looked at: measured.
  const align = size === 10 ? 8 : size === 6 ? 4 : size === 32 ? 16 : (size & (size - 1)) === 0 ? size : 1
  return (Number(at & 0xfffn) & (align - 1)) !== 0
}

/**
 * Canonical as MSRs, the bases of segments and tables, and INVPCID ask for it: by the width of linear addresses that the
 * processor has, whether CR4.LA57 is set or not. SDM Vol. 3A, "5-Level Paging"; measured by KVM's developers
 * (arch/x86/kvm/x86.h, is_noncanonical_address).
 */
export const isCanonicalBase = (cpu: Cpu, linear: bigint): boolean =>
  cpu.isCanonical(linear) || (cpu.features.has('LA57') && BigInt.asUintN(64, BigInt.asIntN(57, linear)) === linear)

/** #GP(0) unless execution may go on at this offset of CS. */
export const checkTarget = (cpu: Cpu, offset: bigint): void => {
  if (cpu.mode === 64 ? !cpu.isCanonical(offset) : offset > BigInt(cpu.segments[CS]!.limit)) cpu.raise(VECTOR_GP, 0)
}
