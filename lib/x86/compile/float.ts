/**
 * SSE floating point as WebAssembly's. It runs while MXCSR masks everything and rounds to nearest. Where its precision
 * flag is set already, an operation on plain numbers (normal ones and zeros) whose result is a normal number changes
 * nothing but its destination; where it is not, that is so if the result is exact, too. Every other operation is the
 * interpreter's, but for exact zeros.
 */
import { isExact, isExactInteger, isSame } from './exact.ts'
import type { Node } from './node.ts'
import * as n from './node.ts'
import { simd, to128, zeroVector } from './simd.ts'

/**
 * The instruction goes on where `fast` is not 0, else where `slow` holds; then `value` is plain. What `slow` is made of
 * is used nowhere else.
 */
export type Check = { readonly value: Node; readonly fast: Node; readonly slow: Node }
export type Leave = {
  readonly unless: (f: Format, check: Check) => void
  readonly when: (condition: Node) => void
  /** Nothing was inexact before: what is has to be left. */
  readonly inexact: boolean
}

/** How numbers of one size are written, and the numbers of the instructions for them. */
export type Format = {
  readonly size: 4 | 8
  readonly type: 'f32' | 'f64'
  readonly toFloat: 'f32.reinterpret_i32' | 'f64.reinterpret_i64'
  readonly toBits: 'i32.reinterpret_f32' | 'i64.reinterpret_f64'
  /** Bits of the fraction; and of the exponent, but the lowest. */
  readonly fraction: number
  readonly exponent: number
  readonly lanes: { readonly extract: number; readonly replace: number }
  readonly vector: Readonly<Record<string, number>>
}
export const DOUBLE: Format = {
  size: 8,
  type: 'f64',
  toFloat: 'f64.reinterpret_i64',
  toBits: 'i64.reinterpret_f64',
  fraction: 52,
  exponent: 0x7fe,
  lanes: { extract: 0x21, replace: 0x22 },
  vector: {
    ...{ add: 0xf0, sub: 0xf1, mul: 0xf2, div: 0xf3, sqrt: 0xef, min: 0xf6, max: 0xf7 },
    ...{
      eq: 0x47,
      ne: 0x48,
      lt: 0x49,
      gt: 0x4a,
      le: 0x4b,
      ge: 0x4c,
      ceil: 0x74,
      floor: 0x75,
      trunc: 0x7a,
      nearest: 0x94,
    },
    ...{ bitsAdd: 0xce, bitsShift: 0xcd, bitsDiffer: 0xd7, allTrue: 0xc3 },
  },
}
export const SINGLE: Format = {
  size: 4,
  type: 'f32',
  toFloat: 'f32.reinterpret_i32',
  toBits: 'i32.reinterpret_f32',
  fraction: 23,
  exponent: 0xfe,
  lanes: { extract: 0x1f, replace: 0x20 },
  vector: {
    ...{ add: 0xe4, sub: 0xe5, mul: 0xe6, div: 0xe7, sqrt: 0xe3, min: 0xea, max: 0xeb },
    ...{
      eq: 0x41,
      ne: 0x42,
      lt: 0x43,
      gt: 0x44,
      le: 0x45,
      ge: 0x46,
      ceil: 0x67,
      floor: 0x68,
      trunc: 0x69,
      nearest: 0x6a,
    },
    ...{ bitsAdd: 0xae, bitsShift: 0xad, bitsDiffer: 0x38, allTrue: 0xa3 },
  },
}

// Scalars

const asFloat = (f: Format, bits: Node): Node => n.make(f.toFloat, f.type, f.size * 8, bits)
const bitsOf = (f: Format, value: Node): Node =>
  value.op === f.toFloat ? value.a! : n.make(f.toBits, f.size === 8 ? 64 : 32, f.size * 8, value)
/** The number in a lane of a register, or in what was loaded. */
const number = (f: Format, from: Node, at = 0): Node =>
  from.width === 128 ? simd(f.lanes.extract, f.type, f.size * 8, from, undefined, [at]) : asFloat(f, from)
export const withNumber = (f: Format, a: Node, value: Node): Node =>
  simd(f.lanes.replace, 128, 128, to128(a), value, [0])
const apply = (f: Format, op: string, a: Node, b?: Node): Node =>
  n.make(`${f.type}.${op}` as 'f64.add', f.type, f.size * 8, a, b)
const compare = (f: Format, op: string, a: Node, b: Node): Node => n.make(`${f.type}.${op}` as 'f64.lt', 32, 1, a, b)

const twice = (f: Format, bits: Node): Node => n.shl(f.size, bits, n.number(1))
const isZero = (f: Format, value: Node): Node => n.isZero(twice(f, bitsOf(f, value)))
/** Not 0 where the exponent is neither the least nor the greatest: adding one to those leaves only its lowest bit. */
export const normal = (f: Format, value: Node): Node => {
  const exponent = n.to32(n.shr(f.size, bitsOf(f, value), n.number(f.fraction)))
  return n.and(n.add(4, exponent, n.number(1)), n.number(f.exponent))
}

// Vectors

/** A constant in all lanes, its upper 32 bits apart. */
const splat = (f: Format, low: number, high = 0): Node => {
  const lanes = Array.from({ length: 16 }, (_, k) => ((k % f.size < 4 ? low : high) >> (8 * (k % 4))) & 0xff)
  return simd(0x0c, 128, 128, undefined, undefined, lanes)
}
const wide = (f: Format, op: string, a: Node, b?: Node): Node => simd(f.vector[op]!, 128, 128, a, b)
const allTrue = (f: Format, a: Node): Node => simd(f.vector['allTrue']!, 32, 1, a)
const anyOf = (a: Node, b: Node): Node => simd(0x50, 128, 128, a, b)
const bothOf = (a: Node, b: Node): Node => simd(0x4e, 128, 128, a, b)
export const normals = (f: Format, value: Node): Node => {
  const exponents = simd(f.vector['bitsShift']!, 128, 128, value, n.number(f.fraction))
  return bothOf(wide(f, 'bitsAdd', exponents, splat(f, 1)), splat(f, f.exponent))
}
const zeros = (f: Format, value: Node): Node => wide(f, 'eq', value, zeroVector())
/** All lanes normal, or as `otherwise` has them. */
const normalsOr = (f: Format, value: Node, otherwise: Node): Node =>
  allTrue(f, anyOf(wide(f, 'bitsDiffer', normals(f, value), zeroVector()), otherwise))

// Operations

const ARITHMETIC = /^(add|sub|mul|div|sqrt|min|max)(s|p)(s|d)$/
const HORIZONTAL = /^h(add|sub)p(s|d)$/
const COMPARISON = /^cmp(s|p)(s|d)$/
const ROUND = /^round(s|p)(s|d)$/
/** By the immediate (VEX has more bits, which only tell NaNs apart): what holds where no operand is a NaN. */
const PREDICATES = ['eq', 'lt', 'le', undefined, 'ne', 'ge', 'gt', undefined]
const ROUNDINGS = ['nearest', 'floor', 'ceil', 'trunc', 'nearest', 'nearest', 'nearest', 'nearest']
export const formatOf = (letter: string | undefined): Format => (letter === 'd' ? DOUBLE : SINGLE)

const lanesOf = (f: Format): number[] => Array.from({ length: 16 / f.size }, (_, k) => k)

export const checkNumber = (f: Format, from: Node, { unless }: Leave): Node => {
  const value = number(f, from)
  unless(f, { value, fast: normal(f, value), slow: isZero(f, number(f, from)) })
  return value
}
export const checkVector = (f: Format, value: Node, { unless }: Leave): void =>
  unless(f, { value, fast: allTrue(f, normals(f, value)), slow: normalsOr(f, value, zeros(f, value)) })

/** Lane 0 of `a` with `b`. */
const scalar = (f: Format, operation: string, a: Node, b: Node, leave: Leave): Node => {
  const y = checkNumber(f, b, leave)
  const x = operation === 'sqrt' ? y : checkNumber(f, a, leave)
  if (operation === 'min' || operation === 'max') {
    const first = compare(f, operation === 'min' ? 'lt' : 'gt', x, y)
    return n.make('select', f.type, f.size * 8, x, y, first)
  }
  const value = operation === 'sqrt' ? apply(f, 'sqrt', y) : apply(f, operation, x, y)
  // A zero is exact where it is a sum, or has a zero to be made from.
  let slow = isZero(f, value)
  if (operation === 'mul') slow = n.both(slow, n.either(isZero(f, number(f, a)), isZero(f, number(f, b))))
  if (operation === 'div') slow = n.both(slow, isZero(f, number(f, a)))
  leave.unless(f, { value, fast: normal(f, value), slow })
  if (leave.inexact) leave.when(n.no(isExact(f, operation, x, y, value)))
  return value
}

const packed = (f: Format, operation: string, x: Node, y: Node, leave: Leave): Node => {
  checkVector(f, y, leave)
  if (operation !== 'sqrt') checkVector(f, x, leave)
  // pmin and pmax give the first where neither is less: MINPS and MAXPS the second.
  if (operation === 'min' || operation === 'max') return wide(f, operation, y, x)
  const value = operation === 'sqrt' ? wide(f, 'sqrt', y) : wide(f, operation, x, y)
  let exact = zeros(f, value)
  if (operation === 'mul') exact = bothOf(exact, anyOf(zeros(f, x), zeros(f, y)))
  if (operation === 'div') exact = bothOf(exact, zeros(f, x))
  leave.unless(f, { value, fast: allTrue(f, normals(f, value)), slow: normalsOr(f, value, exact) })
  if (leave.inexact)
    for (const k of lanesOf(f)) {
      const [p, q, r] = [x, y, value].map(v => number(f, v, k)) as [Node, Node, Node]
      leave.when(n.no(isExact(f, operation, p, q, r)))
    }
  return value
}

const compared = (f: Format, isScalar: boolean, imm: number, a: Node, b: Node, leave: Leave): Node | undefined => {
  if (isScalar) {
    checkNumber(f, a, leave)
    checkNumber(f, b, leave)
  } else {
    checkVector(f, to128(a), leave)
    checkVector(f, to128(b), leave)
  }
  const op = PREDICATES[imm & 7]
  const none = zeroVector()
  const all = op !== undefined ? wide(f, op, to128(a), to128(b)) : (imm & 7) === 3 ? none : simd(0x4d, 128, 128, none)
  return isScalar ? withNumber(f, a, number(f, all)) : all
}

/** A number as an integer; `nearest` rounds, else the fraction is cut off. */
const integer = (f: Format, nearest: boolean, bytes: number, from: Node, leave: Leave): Node => {
  const given = checkNumber(f, from, leave)
  const whole = nearest ? apply(f, 'nearest', given) : given
  // Below 2^31 or 2^63 in magnitude, compared as bits without the sign; rounding stays below.
  const most =
    f === DOUBLE ? (bytes === 8 ? 0x43e0n << 48n : 0x41e0n << 48n) : bytes === 8 ? 0x5f00n << 16n : 0x4f00n << 16n
  const limit = n.constant(most << 1n, f.size === 8 ? 64 : 32)
  leave.when(n.no(n.below(twice(f, bitsOf(f, whole)), limit)))
  const op = `i${bytes === 8 ? 64 : 32}.trunc_${f.type}_s` as 'i64.trunc_f64_s'
  const value = n.make(op, bytes === 8 ? 64 : 32, bytes * 8, whole)
  if (leave.inexact) {
    const back = `${f.type}.convert_i${bytes * 8}_s` as 'f64.convert_i32_s'
    leave.when(n.no(isSame(given, n.make(back, f.type, f.size * 8, value))))
  }
  return value
}

/** Of a shuffle: the low 8 bytes, or the low half of each 8, and those again. */
const lanesAgain = (size: number): number[] =>
  Array.from({ length: 16 }, (_, k) => (size === 8 ? k % 8 : ((k >> 2) & 1) * 8 + (k & 3)))

/** Conversions between formats, and from integers. */
const conversion = (name: string, a: Node, b: Node, imm: number, leave: Leave): Node | undefined => {
  switch (name) {
    case 'cvtsi2sd':
    case 'cvtsi2ss': {
      const f = name === 'cvtsi2sd' ? DOUBLE : SINGLE
      const op = `${f.type}.convert_i${imm * 8}_s` as 'f64.convert_i32_s'
      const from = imm === 8 ? n.to64(b) : n.to32(b)
      const value = n.make(op, f.type, f.size * 8, from)
      if (leave.inexact) leave.when(n.no(isExactInteger(f, imm, from, value)))
      return withNumber(f, a, value)
    }
    case 'cvtss2sd':
      return withNumber(DOUBLE, a, n.make('f64.promote_f32', 'f64', 64, checkNumber(SINGLE, b, leave)))
    case 'cvtsd2ss': {
      const given = checkNumber(DOUBLE, b, leave)
      const value = n.make('f32.demote_f64', 'f32', 32, given)
      const slow = n.both(isZero(SINGLE, value), isZero(DOUBLE, number(DOUBLE, b)))
      leave.unless(SINGLE, { value, fast: normal(SINGLE, value), slow })
      if (leave.inexact) leave.when(n.no(isSame(given, value)))
      return withNumber(SINGLE, a, value)
    }
    case 'cvtdq2ps':
      return leave.inexact ? undefined : simd(0xfa, 128, 128, to128(b))
    case 'cvtdq2pd':
      return simd(0xfe, 128, 128, to128(b))
    case 'cvttps2dq':
    case 'cvtps2dq':
    case 'cvttpd2dq':
    case 'cvtpd2dq': {
      if (leave.inexact) return undefined
      const f = name.includes('pd') ? DOUBLE : SINGLE
      const from = to128(b)
      checkVector(f, from, leave)
      const whole = name.startsWith('cvtt') ? from : wide(f, 'nearest', from)
      // Below 2^31 in magnitude.
      const [sign, most] =
        f === DOUBLE
          ? [splat(f, -1, 0x7fff_ffff), splat(f, 0, 0x41e0_0000)]
          : [splat(f, 0x7fff_ffff), splat(f, 0x4f00_0000)]
      leave.when(n.no(allTrue(f, wide(f, 'lt', bothOf(whole, sign), most))))
      return simd(f === DOUBLE ? 0xfc : 0xf8, 128, 128, whole)
    }
    case 'cvtpd2ps': {
      if (leave.inexact) return undefined
      const from = to128(b)
      checkVector(DOUBLE, from, leave)
      const twice = (v: Node, size: number) => simd(0x0d, 128, 128, v, v, lanesAgain(size))
      // Both results, twice; a 0 has to come from one.
      const demoted = simd(0x5e, 128, 128, from)
      const value = twice(demoted, 8)
      const exact = bothOf(zeros(SINGLE, value), twice(zeros(DOUBLE, from), 4))
      leave.unless(SINGLE, {
        value,
        fast: allTrue(SINGLE, normals(SINGLE, value)),
        slow: normalsOr(SINGLE, value, exact),
      })
      return demoted
    }
    case 'cvtps2pd': {
      // Of the low half only.
      const low = simd(0x0d, 128, 128, to128(b), zeroVector(), [
        0,
        1,
        2,
        3,
        4,
        5,
        6,
        7,
        ...Array.from({ length: 8 }, () => 16),
      ])
      checkVector(SINGLE, low, leave)
      return simd(0x5f, 128, 128, low)
    }
    default:
      return undefined
  }
}

/** Operations of which each 128 bits are made from the same 128 bits of the operands. */
export const isLanewise = (name: string): boolean =>
  (/p[sd]$/.test(name) && /^(add|sub|mul|div|sqrt|min|max|cmp|round|hadd|hsub)/.test(name)) ||
  name === 'cvtdq2ps' ||
  name === 'cvttps2dq' ||
  name === 'cvtps2dq'

/** The operation under MXCSR as said above, where it is one of these; `leave` is told what has to be left. */
export const floating = (
  name: string,
  bytes: number,
  a: Node,
  b: Node,
  imm: number,
  leave: Leave,
): Node | undefined => {
  const toInteger = /^cvt(t?)s(s|d)2si$/.exec(name)
  if (toInteger !== null) return integer(formatOf(toInteger[2]), toInteger[1] === '', bytes, b, leave)
  if (bytes !== 16) return undefined
  const arithmetic = ARITHMETIC.exec(name)
  if (arithmetic !== null) {
    const [, operation, kind, letter] = arithmetic
    const f = formatOf(letter)
    if (kind === 'p') return packed(f, operation!, to128(a), to128(b), leave)
    return withNumber(f, a, scalar(f, operation!, a, b, leave))
  }
  const horizontal = HORIZONTAL.exec(name)
  if (horizontal !== null) {
    const f = formatOf(horizontal[2])
    const every = (odd: number) => {
      const lanes = Array.from({ length: 16 }, (_, k) => (Math.floor(k / f.size) * 2 + odd) * f.size + (k % f.size))
      return simd(0x0d, 128, 128, to128(a), to128(b), lanes)
    }
    return packed(f, horizontal[1]!, every(0), every(1), leave)
  }
  const comparison = COMPARISON.exec(name)
  if (comparison !== null) return compared(formatOf(comparison[2]), comparison[1] === 's', imm, a, b, leave)
  const round = ROUND.exec(name)
  if (round !== null) {
    const f = formatOf(round[2])
    const op = ROUNDINGS[imm & 7]!
    // Bit 3 of the immediate: the precision flag is left alone.
    const tells = leave.inexact && (imm & 8) === 0
    if (round[1] === 's') {
      const given = checkNumber(f, b, leave)
      const value = apply(f, op, given)
      if (tells) leave.when(n.no(isSame(given, value)))
      return withNumber(f, a, value)
    }
    if (tells) return undefined
    checkVector(f, to128(b), leave)
    return wide(f, op, to128(b))
  }
  if (/^u?comis[sd]$/.test(name)) {
    const f = formatOf(name.at(-1))
    const [x, y] = [checkNumber(f, a, leave), checkNumber(f, b, leave)]
    return n.or(compare(f, 'lt', x, y), n.shl(1, compare(f, 'eq', x, y), n.number(6)))
  }
  return conversion(name, a, b, imm, leave)
}

/** What a store writes, where that is a lane of a vector register: as a number it need not pass a general register. */
export const floatOf = (value: Node): Node | undefined => {
  if (value.op !== 'simd' || value.uses > 1 || value.as !== undefined) return undefined
  for (const f of [DOUBLE, SINGLE])
    if (value.n === (f.size === 8 ? 0x1d : 0x1b))
      return simd(f.lanes.extract, f.type, f.size * 8, value.a!, undefined, value.lanes)
  return undefined
}
