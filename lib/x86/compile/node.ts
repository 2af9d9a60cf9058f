/**
 * What the compiler's values are before they are WebAssembly: expressions without effects, folded as they are made.
 * A node is written where it is used; one that is used twice goes through a temporary local.
 */
import type { Size } from '#bits'
import type { Op } from '#wasm'

/** The WebAssembly value: i32, i64 or v128 by their bits, f32 or f64. A pair of v128 is never one value. */
export type Width = 32 | 64 | 128 | 'f32' | 'f64' | 'pair'

/**
 * `const`: `value`. `local`: local `n` of the function. `temp`: the result of an effect, in the local it was given.
 * `flag` and `cc`: flag number `n`, condition code `n`; they become expressions once it is known where the flags are.
 * `frame`: the byte, doubleword (by its bits) or quadword at offset `n` of the state frame. `cell`: what is there, as many
 * bits as the node has. Of the cold tier: `field` is in the record of the instruction at offset `n`, never 0 where `value`
 * is 1; `slot` is at the offset of the state frame that the record has at `n`, in two bytes, or one
 * where `value` is 1; where it is 2, it is the 16 bytes behind.
 */
export type NodeOp =
  | Op
  | 'pair'
  | 'const'
  | 'local'
  | 'temp'
  | 'flag'
  | 'cc'
  | 'frame'
  | 'cell'
  | 'slot'
  | 'field'
  | 'simd'

export type Node = {
  readonly op: NodeOp
  readonly width: Width
  /** The value is below 2^bits. */
  readonly bits: number
  readonly value: bigint
  readonly n: number
  readonly a: Node | undefined
  readonly b: Node | undefined
  readonly c: Node | undefined
  /** The product that this is the high half of: its flags are cheaper made from the factors. */
  /** Lanes of a vector instruction, whose number is `n`. */
  lanes: readonly number[]
  factors: { readonly a: Node; readonly b: Node; readonly signed: boolean } | undefined
  /** What a flag or condition stands for here. */
  as: Node | undefined
  uses: number
  /** The local it is kept in, or -1. */
  temp: number
}

const NONE: readonly number[] = []

export const make = (
  op: NodeOp,
  width: Width,
  bits: number,
  a?: Node,
  b?: Node,
  c?: Node,
  n = 0,
  value = 0n,
): Node => ({ op, width, bits, value, n, a, b, c, lanes: NONE, factors: undefined, as: undefined, uses: 0, temp: -1 })

const lengthOf = (value: bigint): number =>
  value < 0x1_0000_0000n ? 32 - Math.clz32(Number(value)) : 32 + lengthOf(value >> 32n)

export const constant = (value: bigint, width: Width = value > 0xffff_ffffn ? 64 : 32): Node =>
  make('const', width, lengthOf(value), undefined, undefined, undefined, 0, value)
export const number = (value: number): Node => constant(BigInt(value), 32)
export const local = (n: number, width: Width, bits: number): Node =>
  make('local', width, bits, undefined, undefined, undefined, n)
export const temp = (width: Width, bits: number): Node => make('temp', width, bits)
export const frameByte = (offset: number): Node => make('frame', 32, 1, undefined, undefined, undefined, offset)
export const frameWord = (offset: number): Node => make('frame', 32, 32, undefined, undefined, undefined, offset)
export const frameQuad = (offset: number): Node => make('frame', 64, 64, undefined, undefined, undefined, offset)

export const isConst = (node: Node): boolean => node.op === 'const'
const isZeroConst = (node: Node): boolean => node.op === 'const' && node.value === 0n

const MASK32 = 0xffff_ffffn
const MASK64 = 0xffff_ffff_ffff_ffffn
const maskOf = (size: Size): bigint => (size === 8 ? MASK64 : (1n << BigInt(size * 8)) - 1n)

/** The low 32 bits as an i32. */
export const to32 = (a: Node): Node => {
  if (a.width === 32) return a
  if (a.op === 'const') return constant(a.value & MASK32, 32)
  if (a.op === 'i64.extend_i32_u' || a.op === 'i64.extend_i32_s') return a.a!
  return make('i32.wrap_i64', 32, Math.min(a.bits, 32), a)
}
/** Zero-extended to an i64. */
export const to64 = (a: Node): Node => {
  if (a.width === 64) return a
  if (a.op === 'const') return constant(a.value, 64)
  if (a.op === 'i32.wrap_i64' && a.a!.bits <= 32) return a.a!
  return make('i64.extend_i32_u', 64, a.bits, a)
}
/** Both as i32 where they fit, else both as i64. */
const isNarrow = (a: Node, b: Node): boolean => a.bits <= 32 && b.bits <= 32

const binary = (op: string, wide: boolean, bits: number, a: Node, b: Node): Node =>
  wide ? make(`i64.${op}` as Op, 64, bits, to64(a), to64(b)) : make(`i32.${op}` as Op, 32, bits, to32(a), to32(b))

/** `a` cut to `size` bytes. */
export const truncate = (a: Node, size: Size): Node => {
  if (a.bits <= size * 8) return a
  if (a.op === 'const') return constant(a.value & maskOf(size))
  if (size === 4) return to32(a)
  return make('i32.and', 32, size * 8, to32(a), constant(maskOf(size), 32))
}

export const add = (size: Size, a: Node, b: Node): Node => {
  if (isZeroConst(b)) return truncate(a, size)
  if (isZeroConst(a)) return truncate(b, size)
  if (isConst(a) && isConst(b)) return constant((a.value + b.value) & maskOf(size))
  if (size === 8) return binary('add', true, 64, a, b)
  return truncate(binary('add', false, size === 4 ? 32 : Math.max(a.bits, b.bits) + 1, a, b), size)
}
export const sub = (size: Size, a: Node, b: Node): Node => {
  if (isZeroConst(b)) return truncate(a, size)
  if (isConst(a) && isConst(b)) return constant((a.value - b.value) & maskOf(size))
  if (a === b) return constant(0n)
  if (size === 8) return binary('sub', true, 64, a, b)
  return truncate(binary('sub', false, 32, a, b), size)
}
export const mul = (size: Size, a: Node, b: Node): Node => {
  if (isConst(a) && isConst(b)) return constant((a.value * b.value) & maskOf(size))
  if (size === 8) return binary('mul', true, 64, a, b)
  return truncate(binary('mul', false, 32, a, b), size)
}
export const and = (a: Node, b: Node): Node => {
  if (isConst(a) && isConst(b)) return constant(a.value & b.value)
  if (isZeroConst(a) || isZeroConst(b)) return constant(0n)
  if (a === b) return a
  if (isConst(b) && b.value === (1n << BigInt(a.bits)) - 1n) return a
  if (isConst(a) && a.value === (1n << BigInt(b.bits)) - 1n) return b
  const bits = Math.min(a.bits, b.bits)
  return binary('and', bits > 32, bits, a, b)
}
export const or = (a: Node, b: Node): Node => {
  if (isConst(a) && isConst(b)) return constant(a.value | b.value)
  if (isZeroConst(a) || a === b) return b
  if (isZeroConst(b)) return a
  return binary('or', !isNarrow(a, b), Math.max(a.bits, b.bits), a, b)
}
export const xor = (a: Node, b: Node): Node => {
  if (isConst(a) && isConst(b)) return constant(a.value ^ b.value)
  if (isZeroConst(a)) return b
  if (isZeroConst(b)) return a
  if (a === b) return constant(0n)
  return binary('xor', !isNarrow(a, b), Math.max(a.bits, b.bits), a, b)
}
export const not = (size: Size, a: Node): Node => xor(size === 8 ? to64(a) : a, constant(maskOf(size)))

/** Counts go from 0 to 63. */
export const shl = (size: Size, a: Node, count: Node): Node => {
  if (isZeroConst(count) || isZeroConst(a)) return a
  if (isConst(count)) {
    if (isConst(a)) return constant((a.value << count.value) & maskOf(size))
    if (count.value >= BigInt(size * 8)) return constant(0n)
  }
  if (size === 8) return binary('shl', true, 64, a, count)
  const most = isConst(count) ? Number(count.value) : 31
  if (count.bits <= 5) return truncate(binary('shl', false, Math.min(32, a.bits + most), a, count), size)
  return truncate(binary('shl', true, 64, a, count), size)
}
export const shr = (_size: Size, a: Node, count: Node): Node => {
  if (isZeroConst(count) || isZeroConst(a)) return a
  if (isConst(count)) {
    if (isConst(a)) return constant(a.value >> count.value)
    if (count.value >= BigInt(a.bits)) return constant(0n)
    const bits = a.bits - Number(count.value)
    return binary('shr_u', a.bits > 32, bits, a, count)
  }
  if (a.bits <= 32 && count.bits <= 5) return binary('shr_u', false, a.bits, a, count)
  return binary('shr_u', true, a.bits, a, count)
}
export const signExtend = (a: Node, from: Size, to: Size): Node => {
  if (isConst(a)) return constant(BigInt.asIntN(from * 8, a.value) & maskOf(to))
  if (a.bits < from * 8) return a
  if (to === 8) {
    const op = from === 1 ? 'i64.extend8_s' : from === 2 ? 'i64.extend16_s' : 'i64.extend32_s'
    if (from === 8) return a
    if (from === 4 && a.width === 32) return make('i64.extend_i32_s', 64, 64, a)
    return make(op, 64, 64, to64(a))
  }
  if (from === 4) return to32(a)
  return truncate(make(from === 1 ? 'i32.extend8_s' : 'i32.extend16_s', 32, 32, to32(a)), to)
}
export const sar = (size: Size, a: Node, count: Node): Node => {
  if (isZeroConst(count)) return a
  if (isConst(count) && isConst(a)) return constant((BigInt.asIntN(size * 8, a.value) >> count.value) & maskOf(size))
  if (a.bits < size * 8) return shr(size, a, count)
  if (size === 8) return binary('shr_s', true, 64, a, count)
  const small = isConst(count) ? count.value < 32n : count.bits <= 5
  if (small) return truncate(binary('shr_s', false, 32, signExtend(a, size, 4), count), size)
  return truncate(binary('shr_s', true, 64, signExtend(a, size, 8), count), size)
}

/** Conditions are i32 nodes of one bit. */
const bool = (value: boolean): Node => number(value ? 1 : 0)
const compare = (op: string, wide: boolean, a: Node, b: Node): Node =>
  wide ? make(`i64.${op}` as Op, 32, 1, to64(a), to64(b)) : make(`i32.${op}` as Op, 32, 1, to32(a), to32(b))

export const isZero = (a: Node): Node => {
  if (isConst(a)) return bool(a.value === 0n)
  if (a.op === 'field' && a.value === 1n) return bool(false)
  if (a.bits === 1) return no(a)
  // v128.any_true
  if (a.width === 'pair') return both(isZero(a.a!), isZero(a.b!))
  if (a.width === 128) return no(make('simd', 32, 1, a, undefined, undefined, 0x53))
  if (a.op === 'i64.extend_i32_u') return isZero(a.a!)
  return a.width === 64 ? make('i64.eqz', 32, 1, a) : make('i32.eqz', 32, 1, a)
}
export const equal = (a: Node, b: Node): Node => {
  if (isConst(a) && isConst(b)) return bool(a.value === b.value)
  if (isZeroConst(a)) return isZero(b)
  if (isZeroConst(b)) return isZero(a)
  return compare('eq', !isNarrow(a, b), a, b)
}
export const below = (a: Node, b: Node): Node => {
  if (isConst(a) && isConst(b)) return bool(a.value < b.value)
  if (isZeroConst(b)) return bool(false)
  return compare('lt_u', !isNarrow(a, b), a, b)
}
export const atMost = (a: Node, b: Node): Node => {
  if (isConst(a) && isConst(b)) return bool(a.value <= b.value)
  return compare('le_u', !isNarrow(a, b), a, b)
}
const signedCompare = (op: string, size: Size, a: Node, b: Node): Node =>
  size === 8 ? compare(op, true, a, b) : compare(op, false, signExtend(a, size, 4), signExtend(b, size, 4))
export const less = (size: Size, a: Node, b: Node): Node => signedCompare('lt_s', size, a, b)
export const lessOrEqual = (size: Size, a: Node, b: Node): Node => signedCompare('le_s', size, a, b)
export const bit = (a: Node, n: number): Node => {
  if (isConst(a)) return bool(((a.value >> BigInt(n)) & 1n) === 1n)
  if (n >= a.bits) return bool(false)
  if (n === 0 && a.bits === 1) return to32(a)
  if (n === 63) return make('i64.lt_s', 32, 1, a, constant(0n, 64))
  if (n === 31 && a.width === 32) return make('i32.lt_s', 32, 1, a, constant(0n, 32))
  return to32(and(shr(8, a, number(n)), number(1)))
}
export const parity = (a: Node): Node => {
  const low = truncate(a, 1)
  if (isConst(low)) {
    let ones = 0
    for (let rest = Number(low.value); rest !== 0; rest >>= 1) ones += rest & 1
    return bool((ones & 1) === 0)
  }
  return no(to32(and(make('i32.popcnt', 32, 4, to32(low)), number(1))))
}
export const no = (a: Node): Node => {
  if (isConst(a)) return bool(a.value === 0n)
  if (a.op === 'i32.eqz' && a.a!.bits === 1) return a.a!
  return make('i32.eqz', 32, 1, to32(a))
}
export const both = (a: Node, b: Node): Node => to32(and(a, b))
export const either = (a: Node, b: Node): Node => {
  if ((isConst(a) && a.value === 1n) || (isConst(b) && b.value === 1n)) return bool(true)
  return to32(or(a, b))
}
export const differ = (a: Node, b: Node): Node => {
  if (isConst(a)) return a.value === 0n ? b : no(b)
  if (isConst(b)) return b.value === 0n ? a : no(a)
  return to32(xor(a, b))
}
export const select = (condition: Node, then: Node, otherwise: Node): Node => {
  if (isConst(condition)) return condition.value === 1n ? then : otherwise
  if (then === otherwise) return then
  const bits = Math.max(then.bits, otherwise.bits)
  return bits > 32
    ? make('select', 64, bits, to64(then), to64(otherwise), condition)
    : make('select', 32, bits, to32(then), to32(otherwise), condition)
}

/** The high half of a product. */
export const mulHigh = (size: Size, a: Node, b: Node, signed: boolean): Node => {
  const high = highHalf(size, a, b, signed)
  if (!isConst(high) && high.factors === undefined) high.factors = { a, b, signed }
  return high
}
const highHalf = (size: Size, a: Node, b: Node, signed: boolean): Node => {
  const width = size * 8
  if (isConst(a) && isConst(b)) {
    const of = (n: Node) => (signed ? BigInt.asIntN(width, n.value) : n.value)
    return constant(((of(a) * of(b)) >> BigInt(width)) & maskOf(size))
  }
  if (size === 4) {
    const wide = (n: Node) => (signed ? signExtend(n, 4, 8) : to64(n))
    return to32(shr(8, binary('mul', true, 64, wide(a), wide(b)), number(32)))
  }
  if (size < 4) {
    const wide = (n: Node) => (signed ? signExtend(n, size, 4) : to32(n))
    return truncate(shr(4, binary('mul', false, 32, wide(a), wide(b)), number(width)), size)
  }
  const low = (n: Node) => and(to64(n), constant(MASK32))
  const high = (n: Node) => to64(shr(8, to64(n), number(32)))
  const product = (x: Node, y: Node) => binary('mul', true, 64, x, y)
  const [al, ah, bl, bh] = [low(a), high(a), low(b), high(b)]
  const first = add(8, product(ah, bl), shr(8, product(al, bl), number(32)))
  const second = add(8, product(al, bh), low(first))
  const unsigned = add(8, add(8, product(ah, bh), high(first)), high(second))
  if (!signed) return unsigned
  const correction = (x: Node, y: Node) => and(sar(8, to64(x), number(63)), to64(y))
  return sub(8, sub(8, unsigned, correction(a, b)), correction(b, a))
}

export const popcount = (a: Node): Node =>
  a.bits > 32 ? make('i64.popcnt', 64, 7, to64(a)) : make('i32.popcnt', 32, 6, to32(a))
export const leadingZeros = (size: Size, a: Node): Node =>
  size === 8 ? make('i64.clz', 64, 7, to64(a)) : sub(4, make('i32.clz', 32, 6, to32(a)), number(32 - size * 8))
export const trailingZeros = (size: Size, a: Node): Node =>
  size === 8
    ? make('i64.ctz', 64, 7, to64(a))
    : make('i32.ctz', 32, 6, or(to32(a), size === 4 ? number(0) : number(2 ** (size * 8))))
export const byteSwap = (size: Size, a: Node): Node => {
  if (size === 1) return a
  if (size === 2) return or(shl(2, a, number(8)), shr(2, a, number(8)))
  if (size === 8)
    return or(shl(8, to64(byteSwap(4, to32(a))), number(32)), to64(byteSwap(4, to32(shr(8, a, number(32))))))
  const low = to32(a)
  const outer = make('i32.rotl', 32, 32, and(low, constant(0x00ff00ffn)), number(24))
  const inner = make('i32.rotl', 32, 32, and(low, constant(0xff00ff00n)), number(8))
  return or(outer, inner)
}
export const divide = (op: 'div_s' | 'div_u' | 'rem_s' | 'rem_u', a: Node, b: Node): Node => binary(op, true, 64, a, b)
