/** Decimal adjustments, outside 64-bit mode. */
import * as flags from '../flags.ts'
import type { Semantics, Tier } from '../tier.ts'
import { AH, last, number, rax, zero } from './operands.ts'

/** DAA and DAS: 6 for a digit past 9 or AF, 60 for two digits past 99 or CF. SDM Vol. 2A, "DAA" and "DAS". */
const packed = <V, C>(t: Tier<V, C>, adjust: (a: V, by: V) => V, borrows: boolean) => {
  const al = t.read(rax(1))
  const low = t.either(t.below(number(t, 9), t.and(al, number(t, 15))), t.flag('af'))
  const high = t.either(t.below(number(t, 0x99), al), t.flag('cf'))
  const once = t.select(low, adjust(al, number(t, 6)), al)
  const result = t.select(high, adjust(once, number(t, 0x60)), once)
  // DAS: subtracting 6 from less than 6 borrows, and CF says so even where the second step is not taken.
  const carry = borrows ? t.either(high, t.both(low, t.below(al, number(t, 6)))) : high
  t.flags(flags.decimal, 1, al, al, result)
  t.setFlag('af', low)
  t.setFlag('cf', carry)
  t.write(rax(1), result)
}
export const daa: Semantics = t => packed(t, (a, by) => t.add(1, a, by), false)
export const das: Semantics = t => packed(t, (a, by) => t.sub(1, a, by), true)

/** AAA and AAS. SDM Vol. 2A, "AAA" and "AAS". */
const unpacked = <V, C>(t: Tier<V, C>, adjust: (ax: V) => V) => {
  const ax = t.read(rax(2))
  const past = t.either(t.below(number(t, 9), t.and(ax, number(t, 15))), t.flag('af'))
  t.setFlag('af', past)
  t.setFlag('cf', past)
  t.write(rax(2), t.and(t.select(past, adjust(ax), ax), number(t, 0xff0f)))
}
export const aaa: Semantics = t => unpacked(t, ax => t.add(2, ax, number(t, 0x106)))
export const aas: Semantics = t => unpacked(t, ax => t.sub(2, ax, number(t, 0x106)))

/** AAM imm8: #DE for 0. SDM Vol. 2A, "AAM". */
export const aam: Semantics = (t, i) => {
  const { quotient, remainder } = t.divide(1, zero(t), t.read(rax(1)), t.read(last(i)), false)
  t.flags(flags.decimal, 1, remainder, remainder, remainder)
  t.write(AH, quotient)
  t.write(rax(1), remainder)
}

/** AAD imm8. SDM Vol. 2A, "AAD". */
export const aad: Semantics = (t, i) => {
  const al = t.add(1, t.read(rax(1)), t.mul(1, t.read(AH), t.read(last(i))))
  t.flags(flags.decimal, 1, al, al, al)
  t.write(rax(2), al)
}
