/** What x87 instructions move: loads, stores, constants, decimals, exchanges. SDM Vol. 2A, under "F…". */
import type { Cpu } from './cpu.ts'
import { convert, DENORMAL, EXTENDED, INVALID, indefinite, round, toInteger, unpack, ZERO } from './softfloat.ts'
import { type DIGITS, scaled } from './transcendental.ts'
import {
  bitsOf,
  FORMATS,
  FROM,
  fetch,
  INTEGER_BITS,
  isEmpty,
  isInteger,
  moveTop,
  pop,
  push,
  room,
  setBits,
  settle,
  stackFault,
  start,
} from './x87.ts'

/** FLD, FILD: onto the stack. Only narrower formats can be invalid or denormal. */
export const load = (cpu: Cpu, from: number, value: bigint): void => {
  const c = start(cpu, true)
  if (from === FROM.ST && isEmpty(cpu, Number(value))) {
    if (stackFault(cpu, false)) push(cpu, indefinite(EXTENDED))
    return
  }
  if (from === FROM.ST || from === FROM.M80) {
    const bits = from === FROM.ST ? bitsOf(cpu, Number(value)) : value
    if (room(cpu)) push(cpu, bits)
    return
  }
  if (!room(cpu)) return
  const format = isInteger(from) ? EXTENDED : FORMATS[from]!
  const v = isInteger(from) ? fetch(cpu, from, value) : unpack(format, value)
  const bits = convert(EXTENDED, v, format, c)
  if (settle(cpu, c)) push(cpu, bits)
}

/** What FST and FIST write, or undefined where an unmasked exception keeps memory as it is. */
export const stored = (cpu: Cpu, to: number, truncate: boolean): bigint | undefined => {
  const c = start(cpu, true)
  const empty = isEmpty(cpu, 0)
  if (empty && !stackFault(cpu, false)) return undefined
  if (isInteger(to)) {
    const wide = INTEGER_BITS[to]!
    if (empty) return 1n << BigInt(wide - 1)
    if (truncate) c.rounding = ZERO
    const value = toInteger(unpack(EXTENDED, bitsOf(cpu, 0)), c)
    if (value === undefined || BigInt.asIntN(wide, value) !== value) {
      c.raised = INVALID
      c.roundedUp = false
      return settle(cpu, c, true) ? 1n << BigInt(wide - 1) : undefined
    }
    return settle(cpu, c, true) ? BigInt.asUintN(wide, value) : undefined
  }
  const format = FORMATS[to]!
  if (empty) return indefinite(format)
  if (to === FROM.M80) return bitsOf(cpu, 0)
  const result = convert(format, unpack(EXTENDED, bitsOf(cpu, 0)), EXTENDED, c)
  c.raised &= ~DENORMAL
  return settle(cpu, c, true) ? result : undefined
}

/** FST ST(i): a copy of the bits. */
export const copy = (cpu: Cpu, to: number, pops: boolean): void => {
  start(cpu, true)
  if (isEmpty(cpu, 0)) {
    if (!stackFault(cpu, false)) return
    setBits(cpu, to, indefinite(EXTENDED))
  } else setBits(cpu, to, bitsOf(cpu, 0))
  if (pops) pop(cpu)
}

/** FLD1, FLDZ, FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2. */
export type Constant = 'fld1' | 'fldz' | keyof typeof DIGITS
export const constant = (cpu: Cpu, name: Constant): void => {
  const c = start(cpu, true)
  const value = (): bigint => {
    if (name === 'fldz') return 0n
    if (name === 'fld1') return round(EXTENDED, false, 0, 1n, false, c)
    return round(EXTENDED, false, -128, scaled(name, 128), true, c)
  }
  const bits = value()
  if (room(cpu)) push(cpu, bits)
}

/** FBLD and FBSTP: 18 decimal digits and a sign. SDM Vol. 1, "BCD and Packed BCD Integers". */
export const loadDecimal = (cpu: Cpu, bits: bigint): void => {
  const c = start(cpu, true)
  let value = 0n
  for (let n = 17n; n >= 0n; n--) value = value * 10n + ((bits >> (4n * n)) & 15n)
  if (room(cpu)) push(cpu, round(EXTENDED, ((bits >> 79n) & 1n) === 1n, 0, value, false, c))
}
const DECIMAL_INDEFINITE = 0xffff_c000_0000_0000_0000n
export const storedDecimal = (cpu: Cpu): bigint | undefined => {
  const c = start(cpu, true)
  if (isEmpty(cpu, 0)) return stackFault(cpu, false) ? DECIMAL_INDEFINITE : undefined
  const v = unpack(EXTENDED, bitsOf(cpu, 0))
  const value = toInteger(v, c)
  const size = value === undefined ? 0n : value < 0n ? -value : value
  if (value === undefined || size >= 10n ** 18n) {
    c.raised = INVALID
    c.roundedUp = false
    return settle(cpu, c, true) ? DECIMAL_INDEFINITE : undefined
  }
  if (!settle(cpu, c, true)) return undefined
  let bits = v.sign ? 1n << 79n : 0n
  for (let n = 0n, rest = size; rest !== 0n; n++, rest /= 10n) bits |= (rest % 10n) << (4n * n)
  return bits
}

/** FXCH. */
export const exchange = (cpu: Cpu, i: number): void => {
  start(cpu, true)
  for (const n of [0, i])
    if (isEmpty(cpu, n)) {
      if (!stackFault(cpu, false)) return
      setBits(cpu, n, indefinite(EXTENDED))
    }
  const [a, b] = [bitsOf(cpu, 0), bitsOf(cpu, i)]
  setBits(cpu, 0, b)
  setBits(cpu, i, a)
}
/** FCMOVcc where it moves: ST(i) to ST(0). */
export const conditional = (cpu: Cpu, i: number, moves: boolean): void => {
  if (isEmpty(cpu, 0) || isEmpty(cpu, i)) {
    if (stackFault(cpu, false)) setBits(cpu, 0, indefinite(EXTENDED))
  } else if (moves) setBits(cpu, 0, bitsOf(cpu, i))
}
/** FABS and FCHS: only the sign, whatever the value. */
export const sign = (cpu: Cpu, change: (bits: bigint) => bigint): void => {
  start(cpu, true)
  if (isEmpty(cpu, 0)) {
    if (stackFault(cpu, false)) setBits(cpu, 0, indefinite(EXTENDED))
  } else setBits(cpu, 0, change(bitsOf(cpu, 0)))
}
export const turn = (cpu: Cpu, by: number): void => {
  start(cpu, true)
  moveTop(cpu, by)
}
