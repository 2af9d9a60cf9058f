/** FMA and F16C as the compiler has them, under the conditions of float.ts; what is inexact must have been so before. */
import {
  checkNumber,
  checkVector,
  DOUBLE,
  type Format,
  formatOf,
  type Leave,
  normal,
  normals,
  withNumber,
} from './float.ts'
import type { Node } from './node.ts'
import * as n from './node.ts'
import { shuffle, simd, to128, zeroVector } from './simd.ts'

type Call = (name: string, args: readonly Node[], width: 128 | 'f32' | 'f64') => Node

const NAME = /^f(n?)m(addsub|subadd|add|sub)(s|p)(s|d)$/
const XOR = 0x51
const bytes = (of: (k: number) => number): Node =>
  simd(
    0x0c,
    128,
    128,
    undefined,
    undefined,
    Array.from({ length: 16 }, (_, k) => of(k)),
  )
/** The signs of lanes of a format. */
const signs = (f: Format, turned: (lane: number) => boolean): Node =>
  bytes(k => (k % f.size === f.size - 1 && turned(Math.floor(k / f.size)) ? 0x80 : 0))
const number = (f: Format, v: Node): Node => simd(f.lanes.extract, f.type, f.size * 8, v, undefined, [0])

/** a * b plus or minus the addend, on 16 bytes. */
export const fused = (name: string, a: Node, b: Node, addend: Node, leave: Leave, call: Call): Node | undefined => {
  const found = NAME.exec(name)
  if (found === null || leave.inexact) return undefined
  const [, negates, operation, kind, letter] = found
  const f = formatOf(letter)
  const [x, y, z] = [a, b, addend].map(to128) as [Node, Node, Node]
  const isScalar = kind === 's'
  // Where the numbers are plain, they still are with other signs.
  for (const v of [x, y, z]) {
    if (isScalar) checkNumber(f, v, leave)
    else checkVector(f, v, leave)
  }
  const subtracts = (lane: number): boolean =>
    operation === 'sub' || (operation === 'addsub' && lane % 2 === 0) || (operation === 'subadd' && lane % 2 === 1)
  const first =
    negates === 'n'
      ? simd(
          XOR,
          128,
          128,
          x,
          signs(f, () => true),
        )
      : x
  const last = operation === 'add' ? z : simd(XOR, 128, 128, z, signs(f, subtracts))
  if (isScalar) {
    const args = [first, y, last].map(v => number(f, v))
    const value = call(`fma.s${letter}`, args, f.type)
    leave.unless(f, { value, fast: normal(f, value), slow: n.number(0) })
    return withNumber(f, zeroVector(), value)
  }
  const value = call(`fma.p${letter}`, [first, y, last], 128)
  leave.unless(f, { value, fast: allOf(f, normals(f, value)), slow: n.number(0) })
  return value
}
const allOf = (f: Format, v: Node): Node => simd(f === DOUBLE ? 0xc3 : 0xa3, 32, 1, v)

const op = (opcode: number, a: Node, b: Node): Node => simd(opcode, 128, 128, a, b)
const splat = (value: number): Node => bytes(k => (value >>> (8 * (k % 4))) & 0xff)
const any = (v: Node): Node => simd(0x53, 32, 1, v)

/** Four halves in the low 8 bytes, as singles. A signaling NaN is invalid: what is a NaN is left. */
export const fromHalves = (b: Node, leave: Leave): Node => {
  const halves = simd(0xa9, 128, 128, to128(b))
  const size = op(0x4e, halves, splat(0x7fff))
  leave.when(any(op(0x3b, size, splat(0x7c00))))
  // The exponent as it is, and then 112 more: exact, also for what is denormal. 2^112, and 2^16, which only an infinity reaches.
  const scaled = op(0xe6, simd(0xab, 128, 128, size, n.number(13)), splat(0x7780_0000))
  const infinite = op(0x4e, op(0x46, scaled, splat(0x4780_0000)), splat(0x7f80_0000))
  const sign = simd(0xab, 128, 128, op(0x4e, halves, splat(0x8000)), n.number(16))
  return op(0x50, op(0x50, scaled, infinite), sign)
}

/** Four singles as halves, to nearest, where these are normal numbers. */
export const toHalves = (b: Node, leave: Leave): Node | undefined => {
  if (leave.inexact) return undefined
  const from = to128(b)
  const size = op(0x4e, from, splat(0x7fff_ffff))
  // From 2^-14 to what rounds to 65504: as integers, which are in the order of the numbers. f32 65520 is not below itself.
  const inside = op(0x4e, op(0x3f, size, splat(0x3880_0000)), op(0x39, size, splat(0x477f_f000)))
  leave.when(n.no(simd(0xa3, 32, 1, inside)))
  const odd = op(0x4e, simd(0xad, 128, 128, size, n.number(13)), splat(1))
  const rounded = simd(0xad, 128, 128, op(0xae, op(0xae, size, splat(0xfff)), odd), n.number(13))
  const based = op(0xb1, rounded, splat(112 << 10))
  const whole = op(0x50, based, simd(0xad, 128, 128, op(0x4e, from, splat(0x8000_0000 | 0)), n.number(16)))
  // The low half of each lane.
  return shuffle(
    whole,
    zeroVector(),
    Array.from({ length: 16 }, (_, k) => (k < 8 ? (k >> 1) * 4 + (k & 1) : 16)),
  )
}
