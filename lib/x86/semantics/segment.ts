/** Segment bases, descriptor tables and what asks about selectors. */

import { FS, GS, type Insn } from '../insn.ts'
import type { Semantics, Tier } from '../tier.ts'
import { dst, last, memory, number, sizeOf, src } from './operands.ts'

/** RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE. SDM Vol. 2B and 2D, under their names. */
export const rdfsbase: Semantics = (t, i) =>
  t.write(dst(i), t.truncate(t.call('readSegmentBase', number(t, FS)), sizeOf(dst(i))))
export const rdgsbase: Semantics = (t, i) =>
  t.write(dst(i), t.truncate(t.call('readSegmentBase', number(t, GS)), sizeOf(dst(i))))
export const wrfsbase: Semantics = (t, i) => {
  t.call('writeSegmentBase', number(t, FS), t.read(dst(i)))
}
export const wrgsbase: Semantics = (t, i) => {
  t.call('writeSegmentBase', number(t, GS), t.read(dst(i)))
}

/** LGDT and LIDT m16&32, m16&64: a 16-bit operand size takes 24 bits of base. SDM Vol. 2A, "LGDT/LIDT". */
const loadTable =
  (name: 'lgdt' | 'lidt'): Semantics =>
  (t, i) => {
    t.call('requireSupervisor')
    const at = memory(i, last(i))
    const offset = t.address(at)
    const limit = t.load(at.seg, offset, 2)
    const base = t.load(at.seg, t.add(at.addressSize, offset, number(t, 2)), i.mode === 64 ? 8 : 4)
    const kept = i.mode !== 64 && i.operandSize === 2 ? t.and(base, t.constant(0xff_ffffn)) : base
    t.call(name, kept, limit)
  }
export const [lgdt, lidt] = [loadTable('lgdt'), loadTable('lidt')]

/** SGDT and SIDT. SDM Vol. 2B, under their names. */
const storeTable =
  (base: 'gdtBase' | 'idtBase', limit: 'gdtLimit' | 'idtLimit'): Semantics =>
  (t, i) => {
    t.call('requireUmip')
    const at = memory(i, last(i))
    const offset = t.address(at)
    const size = i.mode === 64 ? 8 : 4
    t.settle(at.seg, offset, 2 + size)
    t.store(at.seg, offset, 2, t.call(limit))
    t.store(at.seg, t.add(at.addressSize, offset, number(t, 2)), size, t.truncate(t.call(base), size))
  }
export const [sgdt, sidt] = [storeTable('gdtBase', 'gdtLimit'), storeTable('idtBase', 'idtLimit')]

/** LLDT and LTR. SDM Vol. 2A, under their names. */
export const lldt: Semantics = (t, i) => {
  t.call('requireSystemSegments')
  t.call('requireSupervisor')
  t.call('lldt', t.truncate(t.read(last(i)), 2))
}
export const ltr: Semantics = (t, i) => {
  t.call('requireSystemSegments')
  t.call('requireSupervisor')
  t.call('ltr', t.truncate(t.read(last(i)), 2))
}

/** SLDT, STR and SMSW: zero-extended into a register, 16 bits in memory. SDM Vol. 2B, under their names. */
const storeWord = <V, C>(t: Tier<V, C>, i: Insn, value: V) => {
  const to = dst(i)
  t.write(to, to.kind === 'mem' ? t.truncate(value, 2) : t.truncate(value, sizeOf(to)))
}
export const sldt: Semantics = (t, i) => {
  t.call('requireSystemSegments')
  t.call('requireUmip')
  storeWord(t, i, t.call('ldtSelector'))
}
export const str: Semantics = (t, i) => {
  t.call('requireSystemSegments')
  t.call('requireUmip')
  storeWord(t, i, t.call('taskSelector'))
}
export const smsw: Semantics = (t, i) => {
  t.call('requireUmip')
  storeWord(t, i, t.call('machineStatus'))
}

/** VERR and VERW. SDM Vol. 2D, "VERR/VERW". */
export const verr: Semantics = (t, i) => {
  t.call('requireSystemSegments')
  t.setFlag('zf', t.no(t.isZero(t.call('verr', t.truncate(t.read(last(i)), 2)))))
}
export const verw: Semantics = (t, i) => {
  t.call('requireSystemSegments')
  t.setFlag('zf', t.no(t.isZero(t.call('verw', t.truncate(t.read(last(i)), 2)))))
}

/** LAR and LSL: the destination changes only where ZF is set. SDM Vol. 2A, under their names. */
const describe =
  (allowed: 'larAllowed' | 'lslAllowed', value: 'lar' | 'lsl'): Semantics =>
  (t, i) => {
    t.call('requireSystemSegments')
    const selector = t.truncate(t.read(src(i)), 2)
    const seen = t.no(t.isZero(t.call(allowed, selector)))
    t.setFlag('zf', seen)
    t.when(seen, () => t.write(dst(i), t.truncate(t.call(value, selector), sizeOf(dst(i)))))
  }
export const [lar, lsl] = [describe('larAllowed', 'lar'), describe('lslAllowed', 'lsl')]

/** ARPL r/m16, r16: raises the selector's RPL to the source's. SDM Vol. 2A, "ARPL". */
export const arpl: Semantics = (t, i) => {
  t.call('requireSystemSegments')
  const rpl = t.and(t.read(src(i)), number(t, 3))
  t.update(dst(i), a => {
    const lower = t.below(t.and(a, number(t, 3)), rpl)
    t.setFlag('zf', lower)
    return t.select(lower, t.or(t.and(a, number(t, 0xfffc)), rpl), a)
  })
}
