/** The stack: pushes, pops and frames. */
import type { Size } from '#bits'
import { type Operand, SS } from '../insn.ts'
import type { Semantics } from '../tier.ts'
import { dst, gpr, number, rbp, rsp, sizeOf } from './operands.ts'
import { drop, peek, pushValue } from './top.ts'

/**
 * PUSH. A segment register with a 32-bit operand size is stored in 16 bits and the rest of the slot is left, as recent
 * Intel processors do. SDM Vol. 2B, "PUSH".
 */
export const push: Semantics = (t, i) => {
  const from = dst(i)
  if (from.kind === 'reg' && from.file === 'seg')
    return pushValue(t, i.operandSize, t.read(from), i.operandSize === 4 ? 2 : i.operandSize)
  const size = from.kind === 'imm' ? i.operandSize : sizeOf(from)
  pushValue(t, size, t.read(from))
}

/** The operand with its address as it is once the stack pointer has moved. */
const afterPop = (to: Operand, size: Size): Operand =>
  to.kind === 'mem' && to.base === 4 ? { ...to, disp: to.disp + BigInt(size) } : to

/** POP. A memory destination based on rSP is addressed with the new rSP. SDM Vol. 2B, "POP". */
export const pop: Semantics = (t, i) => {
  const to = dst(i)
  if (to.kind === 'reg' && to.file === 'seg') {
    t.call('loadSegment', number(t, to.index), t.truncate(peek(t, i.operandSize), 2))
    drop(t, i.operandSize)
    return
  }
  const size = sizeOf(to)
  const value = peek(t, size)
  if (to.kind === 'mem') {
    t.write(afterPop(to, size), value)
    drop(t, size)
  } else {
    drop(t, size)
    t.write(to, value)
  }
}

/** PUSHA and PUSHAD. SDM Vol. 2B, "PUSHA/PUSHAD". */
export const pusha: Semantics = (t, i) => {
  const size = i.operandSize
  const sp = t.read(rsp(t.stackSize))
  const at = (n: number) => t.sub(t.stackSize, sp, number(t, n * size))
  // All but the last byte, which the first store has: the alignment that is checked is that of one register.
  t.settle(SS, at(8), 8 * size - 1)
  for (let n = 0; n < 8; n++) t.store(SS, at(n + 1), size, t.read(gpr(n, size)))
  t.write(rsp(t.stackSize), at(8))
}
export const pushad = pusha

/** POPA and POPAD: the image of SP is passed over. SDM Vol. 2B, "POPA/POPAD". */
export const popa: Semantics = (t, i) => {
  const size = i.operandSize
  const values = Array.from({ length: 8 }, (_, n) => peek(t, size, n * size))
  drop(t, 8 * size)
  values.forEach((value, n) => {
    if (n !== 3) t.write(gpr(7 - n, size), value)
  })
}
export const popad = popa

/** PUSHF, PUSHFD, PUSHFQ. SDM Vol. 2B, "PUSHF/PUSHFD/PUSHFQ". */
export const pushf: Semantics = (t, i) => pushValue(t, i.operandSize, t.call('pushedFlags', number(t, i.operandSize)))
export const [pushfd, pushfq] = [pushf, pushf]

/** POPF, POPFD, POPFQ: which flags change depends on CPL and IOPL. SDM Vol. 2B, "POPF/POPFD/POPFQ". */
export const popf: Semantics = (t, i) => {
  t.call('popFlags', peek(t, i.operandSize), number(t, i.operandSize))
  drop(t, i.operandSize)
}
export const [popfd, popfq] = [popf, popf]

/** ENTER imm16, imm8: a frame, and the frame pointers of the enclosing ones. SDM Vol. 2A, "ENTER". */
export const enter: Semantics = (t, i) => {
  const size = i.operandSize
  const [allocate, level] = i.operands
  if (allocate?.kind !== 'imm' || level?.kind !== 'imm') return
  const nesting = Number(level.value & 31n)
  const sp = t.read(rsp(t.stackSize))
  const bp = t.read(rbp(t.stackSize))
  const below = (n: number) => t.sub(t.stackSize, sp, number(t, n * size))
  const frame = t.truncate(below(1), size)
  t.store(SS, below(1), size, t.read(rbp(size)))
  for (let n = 1; n < nesting; n++) {
    const display = t.load(SS, t.sub(t.stackSize, bp, number(t, n * size)), size)
    t.store(SS, below(n + 1), size, display)
  }
  if (nesting > 0) t.store(SS, below(nesting + 1), size, frame)
  const end = t.sub(t.stackSize, below(nesting > 0 ? nesting + 1 : 1), t.constant(allocate.value))
  t.settle(SS, end, size)
  t.write(rsp(t.stackSize), end)
  t.write(rbp(size), frame)
}

/** LEAVE: the frame is dropped. SDM Vol. 2A, "LEAVE". */
export const leave: Semantics = (t, i) => {
  const size = i.operandSize
  const frame = t.read(rbp(t.stackSize))
  const outer = t.load(SS, frame, size)
  t.write(rsp(t.stackSize), t.add(t.stackSize, frame, number(t, size)))
  t.write(rbp(size), outer)
}
