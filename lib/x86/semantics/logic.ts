/** AND, OR, XOR, NOT and TEST, and what BMI1 adds to them. */

import type { FlagRule } from '../flags.ts'
import * as flags from '../flags.ts'
import type { Insn } from '../insn.ts'
import type { Semantics, Tier } from '../tier.ts'
import { dst, number, sizeOf, src, third, zero } from './operands.ts'

/** AND r/m, r/imm. SDM Vol. 2A, "AND". */
export const and: Semantics = (t, i) => {
  const b = t.read(src(i))
  t.update(dst(i), a => {
    const result = t.and(a, b)
    t.flags(flags.logic, sizeOf(dst(i)), a, b, result)
    return result
  })
}

/** OR r/m, r/imm. SDM Vol. 2B, "OR". */
export const or: Semantics = (t, i) => {
  const b = t.read(src(i))
  t.update(dst(i), a => {
    const result = t.or(a, b)
    t.flags(flags.logic, sizeOf(dst(i)), a, b, result)
    return result
  })
}

/** XOR r/m, r/imm. SDM Vol. 2D, "XOR". */
export const xor: Semantics = (t, i) => {
  const b = t.read(src(i))
  t.update(dst(i), a => {
    const result = t.xor(a, b)
    t.flags(flags.logic, sizeOf(dst(i)), a, b, result)
    return result
  })
}

/** NOT r/m: no flags. SDM Vol. 2B, "NOT". */
export const not: Semantics = (t, i) => t.update(dst(i), a => t.not(sizeOf(dst(i)), a))

/** TEST r/m, r/imm. SDM Vol. 2D, "TEST". */
export const test: Semantics = (t, i) => {
  const [a, b] = [t.read(dst(i)), t.read(src(i))]
  t.flags(flags.logic, sizeOf(dst(i)), a, b, t.and(a, b))
}

/** ANDN r, r, r/m. SDM Vol. 2A, "ANDN". */
export const andn: Semantics = (t, i) => {
  const size = sizeOf(dst(i))
  const [a, b] = [t.read(src(i)), t.read(third(i))]
  const result = t.and(t.not(size, a), b)
  t.flags(flags.andn, size, a, b, result)
  t.write(dst(i), result)
}

/** BLSR, BLSMSK and BLSI: how the source meets its neighbour. */
const lowest = <V, C>(t: Tier<V, C>, i: Insn, rule: FlagRule, of: (a: V) => V) => {
  const a = t.read(src(i))
  const result = of(a)
  t.flags(rule, sizeOf(dst(i)), a, zero(t), result)
  t.write(dst(i), result)
}
/** BLSR r, r/m: without its lowest one. SDM Vol. 2A, "BLSR". */
export const blsr: Semantics = (t, i) => lowest(t, i, flags.blsr, a => t.and(a, t.sub(sizeOf(dst(i)), a, number(t, 1))))
/** BLSMSK r, r/m: up to and with its lowest one. SDM Vol. 2A, "BLSMSK". */
export const blsmsk: Semantics = (t, i) =>
  lowest(t, i, flags.blsmsk, a => t.xor(a, t.sub(sizeOf(dst(i)), a, number(t, 1))))
/** BLSI r, r/m: only its lowest one. SDM Vol. 2A, "BLSI". */
export const blsi: Semantics = (t, i) => lowest(t, i, flags.blsi, a => t.and(a, t.sub(sizeOf(dst(i)), zero(t), a)))
