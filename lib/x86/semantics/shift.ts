/** Shifts and rotates. */

import type { Size } from '#bits'
import type { FlagRule } from '../flags.ts'
import * as flags from '../flags.ts'
import type { Insn } from '../insn.ts'
import type { Semantics, Tier } from '../tier.ts'
import { bitsOf, dst, last, number, sizeOf, src, third, zero } from './operands.ts'

/** The count modulo 32, or 64 for 64-bit operands. SDM Vol. 2B, "SAL/SAR/SHL/SHR". */
const countOf = <V, C>(t: Tier<V, C>, i: Insn, size: Size): V => t.and(t.read(last(i)), number(t, size === 8 ? 63 : 31))

/** A count of 0 changes no flag, but the destination is written all the same. */
const shift = <V, C>(t: Tier<V, C>, i: Insn, rule: FlagRule, of: (size: Size, a: V, count: V) => V) => {
  const size = sizeOf(dst(i))
  const count = countOf(t, i, size)
  t.update(dst(i), a => {
    const result = of(size, a, count)
    t.when(t.no(t.isZero(count)), () => t.flags(rule, size, a, count, result))
    return result
  })
}

/** SHL and SAL r/m, 1/CL/imm8. SDM Vol. 2B, "SAL/SAR/SHL/SHR". */
export const shl: Semantics = (t, i) => shift(t, i, flags.shl, (size, a, count) => t.shl(size, a, count))
export const sal = shl
/** SHR r/m, 1/CL/imm8. SDM Vol. 2B, "SAL/SAR/SHL/SHR". */
export const shr: Semantics = (t, i) => shift(t, i, flags.shr, (size, a, count) => t.shr(size, a, count))
/** SAR r/m, 1/CL/imm8. SDM Vol. 2B, "SAL/SAR/SHL/SHR". */
export const sar: Semantics = (t, i) => shift(t, i, flags.sar, (size, a, count) => t.sar(size, a, count))

/** `a` rotated left by `count`, which is below the number of bits. */
const rotateLeft = <V, C>(t: Tier<V, C>, size: Size, a: V, count: V): V => {
  const back = t.and(t.sub(1, number(t, bitsOf(size)), count), number(t, bitsOf(size) - 1))
  return t.or(t.shl(size, a, count), t.shr(size, a, back))
}
const rotateRight = <V, C>(t: Tier<V, C>, size: Size, a: V, count: V): V => {
  const back = t.and(t.sub(1, number(t, bitsOf(size)), count), number(t, bitsOf(size) - 1))
  return t.or(t.shr(size, a, count), t.shl(size, a, back))
}
/** ROL r/m, 1/CL/imm8. SDM Vol. 2B, "RCL/RCR/ROL/ROR". */
export const rol: Semantics = (t, i) =>
  shift(t, i, flags.rol, (size, a, count) => rotateLeft(t, size, a, t.and(count, number(t, bitsOf(size) - 1))))
/** ROR r/m, 1/CL/imm8. SDM Vol. 2B, "RCL/RCR/ROL/ROR". */
export const ror: Semantics = (t, i) =>
  shift(t, i, flags.ror, (size, a, count) => rotateRight(t, size, a, t.and(count, number(t, bitsOf(size) - 1))))

/** RCL and RCR go through CF: one bit more than the operand has. */
const throughCarry = <V, C>(
  t: Tier<V, C>,
  i: Insn,
  rule: FlagRule,
  of: (size: Size, a: V, count: V, back: V, carry: V) => V,
) => {
  const size = sizeOf(dst(i))
  const masked = countOf(t, i, size)
  const count = size < 4 ? t.modulo(masked, bitsOf(size) + 1) : masked
  const none = t.isZero(count)
  const back = t.and(t.sub(1, number(t, bitsOf(size)), count), number(t, 63))
  t.update(dst(i), a => {
    const result = t.select(none, a, of(size, a, count, back, t.asValue(t.flag('cf'))))
    t.when(t.no(none), () => t.flags(rule, size, a, count, result))
    return result
  })
}
/** RCL r/m, 1/CL/imm8. SDM Vol. 2B, "RCL/RCR/ROL/ROR". */
export const rcl: Semantics = (t, i) =>
  throughCarry(t, i, flags.rcl, (size, a, count, back, carry) => {
    const one = number(t, 1)
    const in_ = t.shl(size, carry, t.and(t.sub(1, count, one), number(t, 63)))
    return t.or(t.or(t.shl(size, a, count), in_), t.shr(size, t.shr(size, a, one), back))
  })
/** RCR r/m, 1/CL/imm8. SDM Vol. 2B, "RCL/RCR/ROL/ROR". */
export const rcr: Semantics = (t, i) =>
  throughCarry(t, i, flags.rcr, (size, a, count, back, carry) => {
    const one = number(t, 1)
    return t.or(t.or(t.shr(size, a, count), t.shl(size, carry, back)), t.shl(size, t.shl(size, a, one), back))
  })

/**
 * SHLD and SHRD r/m, r, imm8/CL. A count of 0 changes no flag; a count above 16 of a 16-bit operand is undefined and
 * takes the bits of the source again, as one would by rotating dst:src:dst.
 */
const double = <V, C>(t: Tier<V, C>, i: Insn, left: boolean) => {
  const size = sizeOf(dst(i))
  const count = t.and(t.read(third(i)), number(t, size === 8 ? 63 : 31))
  const b = t.read(src(i))
  const none = t.isZero(count)
  const back = t.and(t.sub(1, number(t, bitsOf(size)), count), number(t, 63))
  t.update(dst(i), a => {
    const shifted = left
      ? t.or(t.shl(size, a, count), t.shr(size, b, back))
      : t.or(t.shr(size, a, count), t.shl(size, b, back))
    const result = t.select(none, a, shifted)
    t.when(t.no(none), () => t.flags(left ? flags.shld : flags.shrd, size, a, count, result))
    return result
  })
}
/** SHLD. SDM Vol. 2B, "SHLD". */
export const shld: Semantics = (t, i) => double(t, i, true)
/** SHRD. SDM Vol. 2B, "SHRD". */
export const shrd: Semantics = (t, i) => double(t, i, false)

/** SHLX, SHRX, SARX r, r/m, r: no flags. SDM Vol. 2B, "SARX/SHLX/SHRX". */
export const shlx: Semantics = (t, i) => {
  const size = sizeOf(dst(i))
  t.write(dst(i), t.shl(size, t.read(src(i)), countOf(t, i, size)))
}
export const shrx: Semantics = (t, i) => {
  const size = sizeOf(dst(i))
  t.write(dst(i), t.shr(size, t.read(src(i)), countOf(t, i, size)))
}
export const sarx: Semantics = (t, i) => {
  const size = sizeOf(dst(i))
  t.write(dst(i), t.sar(size, t.read(src(i)), countOf(t, i, size)))
}

/** RORX r, r/m, imm8: no flags. SDM Vol. 2B, "RORX". */
export const rorx: Semantics = (t, i) => {
  const size = sizeOf(dst(i))
  t.write(dst(i), rotateRight(t, size, t.read(src(i)), t.and(t.read(third(i)), number(t, bitsOf(size) - 1))))
}

/** BEXTR r, r/m, r: as many bits as bits 15:8 say, from the bit that bits 7:0 name. SDM Vol. 2A, "BEXTR". */
export const bextr: Semantics = (t, i) => {
  const size = sizeOf(dst(i))
  const control = t.read(third(i))
  const start = t.and(control, number(t, 255))
  const length = t.and(t.shr(size, control, number(t, 8)), number(t, 255))
  const a = t.read(src(i))
  const shifted = clampedShr(t, size, a, start)
  const result = lowBits(t, size, shifted, length)
  t.flags(flags.bextr, size, a, control, result)
  t.write(dst(i), result)
}

/** BZHI r, r/m, r: without the bits from bit number r[7:0] up. SDM Vol. 2A, "BZHI". */
export const bzhi: Semantics = (t, i) => {
  const size = sizeOf(dst(i))
  const a = t.read(src(i))
  const index = t.and(t.read(third(i)), number(t, 255))
  const result = lowBits(t, size, a, index)
  t.flags(flags.bzhi, size, a, index, result)
  t.write(dst(i), result)
}

/** A right shift by any count from 0 to 255. */
const clampedShr = <V, C>(t: Tier<V, C>, size: Size, a: V, count: V): V =>
  t.select(t.below(count, number(t, bitsOf(size))), t.shr(size, a, t.and(count, number(t, 63))), zero(t))

/** The low `length` bits of `a`, all of it where `length` (0 to 255) is not below its size. */
const lowBits = <V, C>(t: Tier<V, C>, size: Size, a: V, length: V): V => {
  const ones = t.not(size, t.shl(size, t.not(size, zero(t)), t.and(length, number(t, 63))))
  return t.select(t.below(length, number(t, bitsOf(size))), t.and(a, ones), a)
}
