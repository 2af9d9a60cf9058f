/** The top of the stack. */
import type { Size } from '#bits'
import { SS } from '../insn.ts'
import type { Tier } from '../tier.ts'
import { number, rsp } from './operands.ts'

/** Stores below the stack pointer, then moves it. */
export const pushValue = <V, C>(t: Tier<V, C>, size: Size, value: V, written = size): void => {
  const top = t.sub(t.stackSize, t.read(rsp(t.stackSize)), number(t, size))
  t.store(SS, top, written, t.truncate(value, written))
  t.write(rsp(t.stackSize), top)
}

/** What is `depth` bytes above the stack pointer. */
export const peek = <V, C>(t: Tier<V, C>, size: Size, depth = 0): V => {
  const top = t.read(rsp(t.stackSize))
  return t.load(SS, depth === 0 ? top : t.add(t.stackSize, top, number(t, depth)), size)
}

/** Moves the stack pointer up. */
export const drop = <V, C>(t: Tier<V, C>, bytes: number): void =>
  t.write(rsp(t.stackSize), t.add(t.stackSize, t.read(rsp(t.stackSize)), number(t, bytes)))
