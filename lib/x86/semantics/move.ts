/** Moves, exchanges, extensions and addresses. */

import { DS, ES } from '../insn.ts'
import type { Semantics } from '../tier.ts'
import { AH, dst, last, memory, number, rax, rbx, rcx, rdx, sizeOf, src } from './operands.ts'

/**
 * MOV. To a segment register it loads the descriptor, between control and debug registers it obeys their rules. A
 * segment register in a 32- or 64-bit register is zero-extended. SDM Vol. 2B, "MOV".
 */
export const mov: Semantics = (t, i) => {
  const to = dst(i)
  const from = src(i)
  if (to.kind === 'reg' && to.file === 'seg') t.call('loadSegment', number(t, to.index), t.truncate(t.read(from), 2))
  else if (to.kind === 'reg' && to.file === 'cr') t.call('writeCr', number(t, to.index), t.read(from))
  else if (to.kind === 'reg' && to.file === 'dr') t.call('writeDr', number(t, to.index), t.read(from))
  else if (from.kind === 'reg' && from.file === 'cr') t.write(to, t.call('readCr', number(t, from.index)))
  else if (from.kind === 'reg' && from.file === 'dr') t.write(to, t.call('readDr', number(t, from.index)))
  else t.write(to, t.read(from))
}

/** MOVZX r, r/m. SDM Vol. 2B, "MOVZX". */
export const movzx: Semantics = (t, i) => t.write(dst(i), t.read(src(i)))

/** MOVSX and MOVSXD r, r/m. SDM Vol. 2B, "MOVSX/MOVSXD". */
export const movsx: Semantics = (t, i) => {
  const [to, from] = [sizeOf(dst(i)), sizeOf(src(i))]
  const value = t.read(src(i))
  t.write(dst(i), from < to ? t.signExtend(value, from, to) : t.truncate(value, to))
}
export const movsxd = movsx

/** MOVNTI m, r: without the hint it is a move. SDM Vol. 2B, "MOVNTI". */
export const movnti: Semantics = (t, i) => t.write(dst(i), t.read(src(i)))

/** MOVDIRI m, r: past the caches, which are not there. SDM Vol. 2B, "MOVDIRI". */
export const movdiri = movnti

/**
 * MOVDIR64B r, m512: 64 bytes at once to ES:r, which must be 64-byte aligned, or #GP(0). Everything is read before
 * anything is written. SDM Vol. 2B, "MOVDIR64B".
 */
export const movdir64b: Semantics = (t, i) => {
  const from = memory(i, src(i))
  const at = t.address(from)
  const to = t.read(dst(i))
  t.call('requireAligned', number(t, ES), to, number(t, 64))
  const words = QUADWORDS.map(n => t.load(from.seg, t.add(i.addressSize, at, number(t, n)), 8))
  t.settle(ES, to, 64)
  for (const [n, word] of words.entries()) t.store(ES, t.add(i.addressSize, to, number(t, 8 * n)), 8, word)
}
const QUADWORDS = [0, 8, 16, 24, 32, 40, 48, 56]

/** LEA r, m: the offset, cut or zero-extended to the operand size. SDM Vol. 2A, "LEA". */
export const lea: Semantics = (t, i) => t.write(dst(i), t.truncate(t.address(memory(i, src(i))), sizeOf(dst(i))))

/** XCHG r/m, r: locked without a prefix where memory takes part. SDM Vol. 2D, "XCHG". */
export const xchg: Semantics = (t, i) => {
  const swap = dst(i).kind === 'mem' ? ([dst(i), src(i)] as const) : ([src(i), dst(i)] as const)
  const [first, second] = swap
  const b = t.read(second)
  t.update(first, a => {
    t.write(second, a)
    return b
  })
}

/** CMOVcc r, r/m. The source is read, and may fault, even if the condition is false. SDM Vol. 2A, "CMOVcc". */
export const cmovcc: Semantics = (t, i) => t.write(dst(i), t.select(t.holds(i.cc), t.read(src(i)), t.read(dst(i))))

/** SETcc r/m8. SDM Vol. 2B, "SETcc". */
export const setcc: Semantics = (t, i) => t.write(dst(i), t.asValue(t.holds(i.cc)))

/** XLAT: AL from the table at rBX. SDM Vol. 2D, "XLAT/XLATB". */
export const xlat: Semantics = (t, i) => {
  const at = i.operands.find(o => o.kind === 'mem')
  const offset = t.add(i.addressSize, t.read(rbx(i.addressSize)), t.read(rax(1)))
  t.write(rax(1), t.load(at === undefined ? DS : at.seg, offset, 1))
}
export const xlatb = xlat

/** LAHF. SDM Vol. 2A, "LAHF". */
export const lahf: Semantics = t => {
  const at = (condition: ReturnType<typeof t.flag>, n: number) => t.shl(1, t.asValue(condition), number(t, n))
  const low = t.or(t.or(at(t.flag('cf'), 0), number(t, 2)), t.or(at(t.flag('pf'), 2), at(t.flag('af'), 4)))
  t.write(AH, t.or(low, t.or(at(t.flag('zf'), 6), at(t.flag('sf'), 7))))
}

/** SAHF. SDM Vol. 2B, "SAHF". */
export const sahf: Semantics = t => {
  const from = t.read(AH)
  t.setFlag('cf', t.bit(from, 0))
  t.setFlag('pf', t.bit(from, 2))
  t.setFlag('af', t.bit(from, 4))
  t.setFlag('zf', t.bit(from, 6))
  t.setFlag('sf', t.bit(from, 7))
}

/**
 * CMPXCHG8B m64 and CMPXCHG16B m128 (aligned, or #GP(0)): memory is written in either case.
 * SDM Vol. 2A, "CMPXCHG8B/CMPXCHG16B".
 */
export const cmpxchg8b: Semantics = (t, i) => {
  const where = memory(i, last(i))
  const half = where.size === 16 ? 8 : 4
  const offset = t.address(where)
  if (half === 8) t.call('requireAligned', number(t, where.seg), offset, number(t, 16))
  t.settle(where.seg, offset, where.size)
  const next = t.add(where.addressSize, offset, number(t, half))
  const low = t.load(where.seg, offset, half)
  const high = t.load(where.seg, next, half)
  const same = t.both(t.equal(low, t.read(rax(half))), t.equal(high, t.read(rdx(half))))
  t.store(where.seg, offset, half, t.select(same, t.read(rbx(half)), low))
  t.store(where.seg, next, half, t.select(same, t.read(rcx(half)), high))
  t.when(t.no(same), () => {
    t.write(rax(half), low)
    t.write(rdx(half), high)
  })
  t.setFlag('zf', same)
}
export const cmpxchg16b = cmpxchg8b

/** LDS, LES, LFS, LGS, LSS: a far pointer from memory. SDM Vol. 2A, "LDS/LES/LFS/LGS/LSS". */
const farPointer =
  (seg: number): Semantics =>
  (t, i) => {
    const size = sizeOf(dst(i))
    const where = memory(i, src(i))
    const at = t.address(where)
    const offset = t.load(where.seg, at, size)
    const selector = t.load(where.seg, t.add(where.addressSize, at, number(t, size)), 2)
    t.call('loadSegment', number(t, seg), selector)
    t.write(dst(i), offset)
  }
export const [les, lss, lds, lfs, lgs] = [farPointer(0), farPointer(2), farPointer(3), farPointer(4), farPointer(5)]

/** CLC, STC, CMC, CLD, STD. SDM Vol. 2A and 2B, under their names. */
export const clc: Semantics = t => t.setFlag('cf', t.always(false))
export const stc: Semantics = t => t.setFlag('cf', t.always(true))
export const cmc: Semantics = t => t.setFlag('cf', t.no(t.flag('cf')))
export const cld: Semantics = t => t.setFlag('df', t.always(false))
export const std: Semantics = t => t.setFlag('df', t.always(true))
/** SALC: AL filled with CF. SDM Vol. 2, "One-byte Opcode Map", D6. */
export const salc: Semantics = t => t.write(rax(1), t.select(t.flag('cf'), t.constant(0xffn), t.constant(0n)))
