/**
 * Division by a constant without DIV: a multiplication by its inverse and shifts. Granlund and Montgomery, "Division by
 * Invariant Integers using Multiplication" (PLDI 1994), figures 4.2, 5.2 and 6.2.
 */
import type { Operand, Vreg } from './ir.ts'
import type { Scope } from './scope.ts'
import { type IntType, i64, u64 } from './types.ts'

/** log2, rounded up. */
const ceilLog2 = (value: bigint): number => (value === 1n ? 0 : (value - 1n).toString(2).length)

/** MUL RDX, IMUL RDX: the product of RAX and RDX. */
const MUL = Uint8Array.of(0x48, 0xf7, 0xe2)
const IMUL = Uint8Array.of(0x48, 0xf7, 0xea)
const [RAX, RDX] = [0, 2]

/** The upper 64 bits of `a * m`, both unsigned or both signed. */
const mulHigh = (scope: Scope, a: Vreg, m: bigint, bytes = MUL): Vreg => {
  const dst = scope.vreg()
  const ins = [
    [RAX, a],
    [RDX, m],
  ] as const
  scope.emit({ op: 'fixed', code: { bytes }, ins, outs: [[RDX, dst]], clobbers: (1 << RAX) | (1 << RDX) })
  return dst
}

const unsigned = (scope: Scope, bits: number, a: Vreg, c: bigint): Operand => {
  const n = BigInt(bits)
  let shift = ceilLog2(c)
  let low = (1n << (n + BigInt(shift))) / c
  let m = ((1n << (n + BigInt(shift))) + (1n << BigInt(shift))) / c
  while (shift > 0 && low >> 1n < m >> 1n) {
    low >>= 1n
    m >>= 1n
    shift--
  }
  const right = (value: Operand, by: number): Operand =>
    by === 0 ? value : scope.binary('shr', u64, value, BigInt(by))
  // The whole product has room, or all but its top bit has.
  if (bits < 32 || (bits === 32 && m < 1n << n)) return right(scope.binary('mul', u64, a, m), bits + shift)
  const high = (by: bigint): Operand =>
    bits === 64 ? mulHigh(scope, a, by) : right(scope.binary('mul', u64, a, by), bits)
  if (m < 1n << n) return right(high(m), shift)
  const t = high(m - (1n << n))
  const half = right(scope.binary('sub', u64, a, t), 1)
  return right(scope.binary('add', u64, half, t), shift - 1)
}

/** Of at most 4 bytes: the product of a 32-bit number and the inverse has room in 64 bits. */
const signed = (scope: Scope, type: IntType, a: Vreg, c: bigint): Operand => {
  const size = c < 0n ? -c : c
  const length = Math.max(ceilLog2(size), 1)
  const m = (1n << BigInt(31 + length)) / size + 1n
  const wide = scope.convert(a, type, i64)
  const product = scope.binary('shr', i64, scope.binary('mul', i64, wide, m), BigInt(31 + length))
  const quotient = scope.binary('add', i64, product, scope.binary('shr', u64, wide, 63n))
  return scope.convert(c < 0n ? scope.unary('neg', i64, quotient) : quotient, i64, type)
}

/** Of 8 bytes: the inverse has 65 bits, the topmost of which is an addition. */
const signed64 = (scope: Scope, a: Vreg, c: bigint): Operand => {
  const size = c < 0n ? -c : c
  const length = Math.max(ceilLog2(size), 1)
  const m = (1n << BigInt(63 + length)) / size + 1n - (1n << 64n)
  const high = mulHigh(scope, a, BigInt.asUintN(64, m), IMUL)
  const sum = scope.binary('add', i64, a, high)
  const rounded = length === 1 ? sum : scope.binary('shr', i64, sum, BigInt(length - 1))
  const sign = scope.binary('shr', i64, a, 63n)
  return c < 0n ? scope.binary('sub', i64, sign, rounded) : scope.binary('sub', i64, rounded, sign)
}

/** `a / c`, rounded towards zero; undefined where DIV is as good. `c` is no power of two where `type` is unsigned. */
export const quotientBy = (scope: Scope, type: IntType, a: Vreg, c: bigint): Operand | undefined => {
  if (!type.signed) return c > 1n ? unsigned(scope, type.size * 8, a, c) : undefined
  const smallest = -(1n << BigInt(type.size * 8 - 1))
  if (c === 0n || c === 1n || c === -1n || c === smallest) return undefined
  return type.size === 8 ? signed64(scope, a, c) : signed(scope, type, a, c)
}
