/**
 * Whether a result is exact: asked while MXCSR's precision flag is clear, which an inexact result would set. What cannot
 * be told cheaply counts as inexact. Operands and results are plain numbers (see float.ts).
 */
import type { Format } from './float.ts'
import type { Node } from './node.ts'
import * as n from './node.ts'

const apply = (f: Format, op: string, a: Node, b?: Node): Node =>
  n.make(`${f.type}.${op}` as 'f64.add', f.type, f.size * 8, a, b)
const equal = (a: Node, b: Node, type: 'f32' | 'f64'): Node => n.make(`${type}.eq`, 32, 1, a, b)
const promoted = (a: Node): Node => (a.width === 'f64' ? a : n.make('f64.promote_f32', 'f64', 64, a))
const product = (a: Node, b: Node): Node => n.make('f64.mul', 'f64', 64, a, b)

/** Zeros at the end of a double's significand, whose first bit is the 52nd. */
const zerosOf = (a: Node): Node => {
  const bits = n.make('i64.reinterpret_f64', 64, 64, a)
  return n.trailingZeros(8, n.or(bits, n.constant(1n << 52n, 64)))
}
/** The product has at most 53 bits: as many as both have together, or one is a power of two (or 0). */
const isShort = (a: Node, b: Node): Node => {
  const [x, y] = [n.to32(zerosOf(a)), n.to32(zerosOf(b))]
  const isPower = (zeros: Node) => n.equal(zeros, n.number(52))
  return n.either(n.no(n.below(n.add(4, x, y), n.number(53))), n.either(isPower(x), isPower(y)))
}
/** `a` times `b` is `c`, and that is no rounding: products of singles always fit a double. */
const isProduct = (f: Format, a: Node, b: Node, c: Node): Node => {
  const same = equal(product(promoted(a), promoted(b)), promoted(c), 'f64')
  return f.size === 4 ? same : n.both(same, isShort(a, b))
}

/** `value` is what `operation` makes of `x` and `y`, without rounding. */
export const isExact = (f: Format, operation: string, x: Node, y: Node, value: Node): Node => {
  switch (operation) {
    case 'mul':
      return f.size === 8 ? isShort(x, y) : isProduct(f, x, y, value)
    case 'div':
      return isProduct(f, value, y, x)
    case 'sqrt':
      return isProduct(f, value, value, y)
    default: {
      // What rounding has taken from a sum. D. E. Knuth, "The Art of Computer Programming", vol. 2, 4.2.2, theorem B.
      const b = operation === 'sub' ? apply(f, 'neg', y) : y
      const second = apply(f, 'sub', value, x)
      const lostOfX = apply(f, 'sub', x, apply(f, 'sub', value, second))
      const lost = apply(f, 'add', lostOfX, apply(f, 'sub', b, second))
      return equal(lost, apply(f, 'sub', x, x), f.type)
    }
  }
}

/** A number made of an integer of `bytes` bytes is that integer. */
export const isExactInteger = (f: Format, bytes: number, from: Node, value: Node): Node => {
  if (bytes === 4) {
    if (f.size === 8) return n.number(1)
    return equal(n.make('f64.convert_i32_s', 'f64', 64, from), promoted(value), 'f64')
  }
  const small = n.below(n.add(8, from, n.constant(1n << 53n)), n.constant(1n << 54n))
  return n.both(small, equal(n.make('f64.convert_i64_s', 'f64', 64, from), promoted(value), 'f64'))
}

/** Two numbers, of one size or two, are the same. */
export const isSame = (a: Node, b: Node): Node => equal(promoted(a), promoted(b), 'f64')
