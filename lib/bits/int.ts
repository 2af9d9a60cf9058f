/** Integers of a fixed size in bytes, held as bigints that are always wrapped (unsigned) to that size. */

/** Operand sizes in bytes. */
export type Size = 1 | 2 | 4 | 8

/** All ones in the low `bits` bits. */
export const ones = (bits: number): bigint => (1n << BigInt(bits)) - 1n

const MASK: Record<Size, bigint> = { 1: 0xffn, 2: 0xffffn, 4: 0xffff_ffffn, 8: 0xffff_ffff_ffff_ffffn }

/** All ones in `size` bytes. */
export const mask = (size: Size): bigint => MASK[size]

/** `value` wrapped to `size` bytes. */
export const wrap = (value: bigint, size: Size): bigint => BigInt.asUintN(size * 8, value)

/** `value` of `size` bytes as a signed number. */
export const signed = (value: bigint, size: Size): bigint => BigInt.asIntN(size * 8, value)

/** `value` of `from` bytes sign-extended and wrapped to `to` bytes. */
export const signExtend = (value: bigint, from: Size, to: Size): bigint =>
  BigInt.asUintN(to * 8, BigInt.asIntN(from * 8, value))

/** Bit `n` of `value` as a boolean. */
export const bit = (value: bigint, n: number): boolean => ((value >> BigInt(n)) & 1n) === 1n

/** Bits `high:low` of `value`, as the manuals write them. */
export const bits = (value: bigint, high: number, low: number): bigint => (value >> BigInt(low)) & ones(high - low + 1)

/** Is `value` a multiple of `to` (a power of two)? */
export const isAligned = (value: bigint, to: bigint): boolean => (value & (to - 1n)) === 0n

/** Hex as the manuals print it: 0x and lower case, in groups of four from eight digits on. */
export const hex = (value: bigint | number): string => {
  const digits = value.toString(16)
  return digits.length < 8 ? `0x${digits}` : `0x${digits.replace(/\B(?=(.{4})+$)/g, '_')}`
}
