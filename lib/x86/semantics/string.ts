/** String instructions. SDM Vol. 2B, "REP/REPE/REPZ/REPNE/REPNZ" and under their names. */
import type { Size } from '#bits'
import * as flags from '../flags.ts'
import { DS, ES, type Insn, type Reg, type Seg } from '../insn.ts'
import type { Semantics, Tier } from '../tier.ts'
import { elementSize, number, rax, rdi, rdx, rsi } from './operands.ts'

/** The segment of the rSI side: DS, or the one a prefix names. ES:rDI cannot be overridden. */
const sourceSeg = (i: Insn): Seg => {
  const found = i.operands.find(o => o.kind === 'mem' && o.base === 6)
  return found?.kind === 'mem' ? found.seg : DS
}

/** Moves a string register on by one element, in the direction that DF says. */
const advance = <V, C>(t: Tier<V, C>, i: Insn, register: (size: Size) => Reg, size: Size): void => {
  const r = register(i.addressSize)
  const at = t.read(r)
  const step = number(t, size)
  t.write(r, t.select(t.flag('df'), t.sub(i.addressSize, at, step), t.add(i.addressSize, at, step)))
}

/** MOVS: rSI to rDI. SDM Vol. 2B, "MOVS". */
export const movs: Semantics = (t, i) => {
  const size = elementSize(i)
  t.repeat(i, () => {
    t.store(ES, t.read(rdi(i.addressSize)), size, t.load(sourceSeg(i), t.read(rsi(i.addressSize)), size))
    advance(t, i, rsi, size)
    advance(t, i, rdi, size)
    return t.always(true)
  })
}

/** STOS: the accumulator to rDI. SDM Vol. 2B, "STOS". */
export const stos: Semantics = (t, i) => {
  const size = elementSize(i)
  t.repeat(i, () => {
    t.store(ES, t.read(rdi(i.addressSize)), size, t.read(rax(size)))
    advance(t, i, rdi, size)
    return t.always(true)
  })
}

/** LODS: rSI to the accumulator. SDM Vol. 2A, "LODS". */
export const lods: Semantics = (t, i) => {
  const size = elementSize(i)
  t.repeat(i, () => {
    t.write(rax(size), t.load(sourceSeg(i), t.read(rsi(i.addressSize)), size))
    advance(t, i, rsi, size)
    return t.always(true)
  })
}

/** REPE goes on while equal, REPNE while not. */
const goOn = <V, C>(t: Tier<V, C>, i: Insn): C => (i.rep === 'repne' ? t.no(t.flag('zf')) : t.flag('zf'))

/** CMPS: the element at rSI minus that at rDI. SDM Vol. 2A, "CMPS". */
export const cmps: Semantics = (t, i) => {
  const size = elementSize(i)
  t.repeat(i, () => {
    const a = t.load(sourceSeg(i), t.read(rsi(i.addressSize)), size)
    const b = t.load(ES, t.read(rdi(i.addressSize)), size)
    t.flags(flags.sub, size, a, b, t.sub(size, a, b))
    advance(t, i, rsi, size)
    advance(t, i, rdi, size)
    return goOn(t, i)
  })
}

/** SCAS: the accumulator minus the element at rDI. SDM Vol. 2B, "SCAS". */
export const scas: Semantics = (t, i) => {
  const size = elementSize(i)
  t.repeat(i, () => {
    const a = t.read(rax(size))
    const b = t.load(ES, t.read(rdi(i.addressSize)), size)
    t.flags(flags.sub, size, a, b, t.sub(size, a, b))
    advance(t, i, rdi, size)
    return goOn(t, i)
  })
}

/**
 * INS: the port in DX to rDI; memory is settled before the port is read. Whether the port may be used is asked even
 * where REP counts from 0, as processors do. SDM Vol. 2A, "INS".
 */
export const ins: Semantics = (t, i) => {
  const size = elementSize(i)
  t.call('allowPort', t.read(rdx(2)), number(t, size))
  t.repeat(i, () => {
    const at = t.read(rdi(i.addressSize))
    t.settle(ES, at, size)
    t.store(ES, at, size, t.call('in', t.read(rdx(2)), number(t, size)))
    advance(t, i, rdi, size)
    return t.always(true)
  })
}

/** OUTS: rSI to the port in DX. SDM Vol. 2B, "OUTS". */
export const outs: Semantics = (t, i) => {
  const size = elementSize(i)
  t.call('allowPort', t.read(rdx(2)), number(t, size))
  t.repeat(i, () => {
    const value = t.load(sourceSeg(i), t.read(rsi(i.addressSize)), size)
    t.call('out', t.read(rdx(2)), number(t, size), value)
    advance(t, i, rsi, size)
    return t.always(true)
  })
}
