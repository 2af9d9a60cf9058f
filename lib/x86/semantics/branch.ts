/** Near and far control flow. */
import type { Size } from '#bits'
import type { Insn, Mem } from '../insn.ts'
import type { Semantics, Tier } from '../tier.ts'
import { dst, last, number, rcx, sizeOf } from './operands.ts'
import { drop, peek, pushValue } from './top.ts'

/** Near branches have 64-bit targets in 64-bit mode, whatever the prefixes: Intel ignores 66 there. */
const targetSize = (i: Insn): Size => (i.mode === 64 ? 8 : i.operandSize)

const go = <V, C>(t: Tier<V, C>, i: Insn): void => {
  const to = last(i)
  if (to.kind === 'rel') t.branch(to, targetSize(i))
  else t.jump(t.read(to), sizeOf(to))
}

/** Jcc rel. SDM Vol. 2A, "Jcc". */
export const jcc: Semantics = (t, i) => t.when(t.holds(i.cc), () => go(t, i))

/** JCXZ, JECXZ, JRCXZ rel8: the counter is as wide as an address. SDM Vol. 2A, "Jcc". */
export const jcxz: Semantics = (t, i) => t.when(t.isZero(t.read(rcx(i.addressSize))), () => go(t, i))
export const [jecxz, jrcxz] = [jcxz, jcxz]

const loop_ = <V, C>(t: Tier<V, C>, i: Insn, also: C) => {
  const size = i.addressSize
  const left = t.sub(size, t.read(rcx(size)), number(t, 1))
  t.when(t.both(t.no(t.isZero(left)), also), () => go(t, i))
  t.write(rcx(size), left)
}
/** LOOP, LOOPE, LOOPNE rel8. SDM Vol. 2A, "LOOP/LOOPcc". */
export const loop: Semantics = (t, i) => loop_(t, i, t.always(true))
export const loope: Semantics = (t, i) => loop_(t, i, t.flag('zf'))
export const loopne: Semantics = (t, i) => loop_(t, i, t.no(t.flag('zf')))
export const loopcc: Semantics = (t, i) =>
  i.row.mnemonic === 'LOOP'
    ? loop(t, i)
    : i.row.mnemonic === 'LOOPE' || i.row.mnemonic === 'LOOPZ'
      ? loope(t, i)
      : loopne(t, i)

/** JMP near. SDM Vol. 2A, "JMP". */
export const jmp: Semantics = (t, i) => go(t, i)

/** CALL near: the target is checked before anything is pushed. SDM Vol. 2A, "CALL". */
export const call: Semantics = (t, i) => {
  const to = last(i)
  const size = to.kind === 'rel' ? targetSize(i) : sizeOf(to)
  const back = t.next(size)
  go(t, i)
  pushValue(t, size, back)
}

/** RET near, and with bytes to drop. SDM Vol. 2B, "RET". */
export const ret: Semantics = (t, i) => {
  const size = targetSize(i)
  t.jump(peek(t, size), size)
  drop(t, size + released(i))
}
const released = (i: Insn): number => {
  const bytes = i.operands[0]
  return bytes?.kind === 'imm' ? Number(bytes.value) : 0
}

/** The offset and the selector behind it, from memory. */
const farTarget = <V, C>(t: Tier<V, C>, from: Mem): { selector: V; offset: V; size: Size } => {
  const size = from.size === 10 ? 8 : from.size === 6 ? 4 : 2
  const at = t.address(from)
  const offset = t.load(from.seg, at, size)
  return { offset, selector: t.load(from.seg, t.add(from.addressSize, at, number(t, size)), 2), size }
}
const far = <V, C>(t: Tier<V, C>, i: Insn, name: 'farJump' | 'farCall') => {
  const to = last(i)
  if (to.kind === 'far') t.call(name, number(t, to.selector), t.constant(to.offset), number(t, i.operandSize))
  else if (to.kind === 'mem') {
    const { selector, offset, size } = farTarget(t, to)
    t.call(name, selector, offset, number(t, size))
  }
}
/** JMP far. SDM Vol. 2A, "JMP". */
export const jmpfar: Semantics = (t, i) => far(t, i, 'farJump')
/** CALL far. SDM Vol. 2A, "CALL". */
export const callfar: Semantics = (t, i) => far(t, i, 'farCall')
/** RET far. SDM Vol. 2B, "RET". */
export const retfar: Semantics = (t, i) => {
  t.call('farReturn', number(t, i.operandSize), number(t, released(i)))
}
/** IRET, IRETD, IRETQ. SDM Vol. 2A, "IRET/IRETD/IRETQ". */
export const iret: Semantics = (t, i) => {
  t.call('iret', number(t, i.operandSize))
}
export const [iretd, iretq] = [iret, iret]

/** INT n, INT3, INT1, INTO. SDM Vol. 2A, "INT n/INTO/INT3/INT1". */
export const int: Semantics = (t, i) => {
  t.call('int', t.read(last(i)))
}
export const int3: Semantics = t => {
  t.call('int3')
}
export const int1: Semantics = t => {
  t.call('int1')
}
export const into: Semantics = t =>
  t.when(t.flag('of'), () => {
    t.call('into')
  })

/** BOUND r, m&m: #BR unless the signed index lies within. SDM Vol. 2A, "BOUND". */
export const bound: Semantics = (t, i) => {
  const size = sizeOf(dst(i))
  const pair = last(i)
  if (pair.kind !== 'mem') return
  const at = t.address(pair)
  const index = t.read(dst(i))
  const lower = t.load(pair.seg, at, size)
  const upper = t.load(pair.seg, t.add(pair.addressSize, at, number(t, size)), size)
  t.raiseIf(t.either(t.less(size, index, lower), t.less(size, upper, index)), 5)
}

/** UD0, UD1, UD2. SDM Vol. 2D, "UD". */
export const ud2: Semantics = t => t.raiseIf(t.always(true), 6)
export const [ud0, ud1, ud] = [ud2, ud2, ud2]
