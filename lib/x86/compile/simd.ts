/**
 * SIMD operations that WebAssembly's v128 does exactly. Floating point runs while MXCSR masks everything, rounds to
 * nearest and has its precision flag set already: then a result that is a normal number from operands that are none of
 * the odd ones changes nothing but its destination, and every other one is the interpreter's.
 */

import type { Node } from './node.ts'
import * as n from './node.ts'

/** v128 instructions by what they are called in packed.ts; the operands in their order, or `swapped`. */
const DIRECT: Record<string, number> = {
  pand: 0x4e,
  por: 0x50,
  pxor: 0x51,
  paddb: 0x6e,
  paddw: 0x8e,
  paddd: 0xae,
  paddq: 0xce,
  psubb: 0x71,
  psubw: 0x91,
  psubd: 0xb1,
  psubq: 0xd1,
  paddsb: 0x6f,
  paddusb: 0x70,
  paddsw: 0x8f,
  paddusw: 0x90,
  psubsb: 0x72,
  psubusb: 0x73,
  psubsw: 0x92,
  psubusw: 0x93,
  pmullw: 0x95,
  pmulld: 0xb5,
  pcmpeqb: 0x23,
  pcmpeqw: 0x2d,
  pcmpeqd: 0x37,
  pcmpeqq: 0xd6,
  pcmpgtb: 0x27,
  pcmpgtw: 0x31,
  pcmpgtd: 0x3b,
  pcmpgtq: 0xd9,
  pminub: 0x77,
  pmaxub: 0x79,
  pminsw: 0x96,
  pmaxsw: 0x98,
  pminsb: 0x76,
  pmaxsb: 0x78,
  pminuw: 0x97,
  pmaxuw: 0x99,
  pminsd: 0xb6,
  pminud: 0xb7,
  pmaxsd: 0xb8,
  pmaxud: 0xb9,
  pavgb: 0x7b,
  pavgw: 0x9b,
}
const ANDNOT = 0x4f
const SHUFFLE = 0x0d
/** Shifts by a constant: instruction, bits of a lane. */
const SHIFTS: Record<string, readonly [number, number]> = {
  psllw: [0x8b, 16],
  pslld: [0xab, 32],
  psllq: [0xcb, 64],
  psrlw: [0x8d, 16],
  psrld: [0xad, 32],
  psrlq: [0xcd, 64],
  psraw: [0x8c, 16],
  psrad: [0xac, 32],
}
const UNPACK: Record<string, readonly [size: number, high: boolean]> = {
  punpcklbw: [1, false],
  punpcklwd: [2, false],
  punpckldq: [4, false],
  punpcklqdq: [8, false],
  punpckhbw: [1, true],
  punpckhwd: [2, true],
  punpckhdq: [4, true],
  punpckhqdq: [8, true],
}

const simd = (
  opcode: number,
  width: 32 | 64 | 128,
  bits: number,
  a?: Node,
  b?: Node,
  lanes: readonly number[] = [],
): Node => ({
  ...n.make('simd', width, bits, a, b, undefined, opcode),
  lanes,
})
/** v128.const 0. */
export const zeroVector = (): Node => simd(0x0c, 128, 128, undefined, undefined, new Array<number>(16).fill(0))
const shuffle = (a: Node, b: Node, lanes: readonly number[]): Node => simd(SHUFFLE, 128, 128, a, b, lanes)

/** Zero-extended to 16 bytes. */
export const to128 = (a: Node): Node => (a.width === 128 ? a : simd(0x1e, 128, 128, zeroVector(), n.to64(a), [0]))

export const lane = (a: Node, at: number, size: number): Node => {
  if (a.width !== 128) return n.truncate(n.shr(8, a, n.number(at * size * 8)), size as 1)
  if (size === 16) return a
  if (size === 8) return simd(0x1d, 64, 64, a, undefined, [at])
  if (size === 4) return simd(0x1b, 32, 32, a, undefined, [at])
  return simd(size === 2 ? 0x19 : 0x16, 32, size * 8, a, undefined, [at])
}
export const withLane = (a: Node, at: number, size: number, value: Node): Node => {
  if (size === 16) return to128(value)
  const opcode = size === 8 ? 0x1e : size === 4 ? 0x1c : size === 2 ? 0x1a : 0x17
  return simd(opcode, 128, 128, to128(a), size === 8 ? n.to64(value) : n.to32(value), [at])
}

/** The operation on 16 bytes, where it is one of these. */
export const packed = (name: string, a: Node, b: Node, imm: number): Node | undefined => {
  const direct = DIRECT[name]
  if (direct !== undefined) return simd(direct, 128, 128, to128(a), to128(b))
  if (name === 'pandn') return simd(ANDNOT, 128, 128, to128(b), to128(a))
  const shift = SHIFTS[name]
  if (shift !== undefined) {
    const [opcode, width] = shift
    if (!n.isConst(b)) return undefined
    if (imm >= width && !name.startsWith('psra')) return zeroVector()
    return simd(opcode, 128, 128, to128(a), n.number(Math.min(imm, width - 1)))
  }
  const unpack = UNPACK[name]
  if (unpack !== undefined) {
    const [size, high] = unpack
    const first = high ? 8 : 0
    const lanes = Array.from({ length: 16 }, (_, k) => {
      const pair = Math.floor(k / (2 * size))
      const odd = Math.floor(k / size) % 2
      return first + pair * size + (k % size) + odd * 16
    })
    return shuffle(to128(a), to128(b), lanes)
  }
  const all = (length: number, of: (k: number) => number) => Array.from({ length }, (_, k) => of(k))
  if (name === 'pshufd') {
    const from = to128(b)
    return shuffle(
      from,
      from,
      all(16, k => ((imm >> ((k >> 2) * 2)) & 3) * 4 + (k & 3)),
    )
  }
  if (name === 'shufps')
    return shuffle(
      to128(a),
      to128(b),
      all(16, k => ((imm >> ((k >> 2) * 2)) & 3) * 4 + (k & 3) + (k >= 8 ? 16 : 0)),
    )
  if (name === 'shufpd')
    return shuffle(
      to128(a),
      to128(b),
      all(16, k => ((imm >> (k >> 3)) & 1) * 8 + (k & 7) + (k >= 8 ? 16 : 0)),
    )
  if (name === 'pslldq' || name === 'psrldq') {
    if (!n.isConst(b)) return undefined
    const by = Math.min(imm, 16)
    if (name === 'psrldq')
      return shuffle(
        to128(a),
        zeroVector(),
        all(16, k => k + by),
      )
    return shuffle(
      zeroVector(),
      to128(a),
      all(16, k => 16 + k - by),
    )
  }
  return undefined
}

// Floating point. An f64 or f32 is never a node of its own: it is bits before and bits after.

/** How numbers of one size are written. */
type Format = {
  readonly size: 4 | 8
  readonly type: 'f32' | 'f64'
  readonly toFloat: 'f32.reinterpret_i32' | 'f64.reinterpret_i64'
  readonly toBits: 'i32.reinterpret_f32' | 'i64.reinterpret_f64'
  /** Twice the least normal number, and how far above it the normal ones go. */
  readonly least: Node
  readonly range: Node
}
const DOUBLE: Format = {
  size: 8,
  type: 'f64',
  toFloat: 'f64.reinterpret_i64',
  toBits: 'i64.reinterpret_f64',
  least: n.constant(1n << 53n, 64),
  range: n.constant(0x7fen << 53n, 64),
}
const SINGLE: Format = {
  size: 4,
  type: 'f32',
  toFloat: 'f32.reinterpret_i32',
  toBits: 'i32.reinterpret_f32',
  least: n.constant(1n << 24n, 32),
  range: n.constant(0xfen << 24n, 32),
}
const float = (f: Format, bits: Node): Node => n.make(f.toFloat, f.size === 8 ? 64 : 32, 64, bits)
const bitsOf = (f: Format, value: Node): Node => n.make(f.toBits, f.size === 8 ? 64 : 32, f.size * 8, value)
const twice = (f: Format, bits: Node): Node => n.shl(f.size, bits, n.number(1))
const isNormal = (f: Format, bits: Node): Node => n.below(n.sub(f.size, twice(f, bits), f.least), f.range)
const isZero = (f: Format, bits: Node): Node => n.isZero(twice(f, bits))
const isPlain = (f: Format, bits: Node): Node => n.either(isNormal(f, bits), isZero(f, bits))

type Leave = (condition: Node) => void
type Operation = 'add' | 'sub' | 'mul' | 'div' | 'sqrt' | 'min' | 'max'
const ARITHMETIC = /^(add|sub|mul|div|sqrt|min|max)(s|p)(s|d)$/

/** One lane, and under which condition it is right. */
const arithmetic = (f: Format, operation: Operation, x: Node, y: Node): { value: Node; holds: Node } => {
  const apply = (op: string, ...of: Node[]) =>
    n.make(`${f.type}.${op}` as 'f64.add', f.size === 8 ? 64 : 32, 64, of[0], of[1])
  if (operation === 'sqrt') {
    const value = bitsOf(f, apply('sqrt', float(f, y)))
    return { value, holds: n.both(isPlain(f, y), isNormal(f, value)) }
  }
  const plain = n.both(isPlain(f, x), isPlain(f, y))
  if (operation === 'min' || operation === 'max') {
    const less = n.make(`${f.type}.${operation === 'min' ? 'lt' : 'gt'}` as 'f64.lt', 32, 1, float(f, x), float(f, y))
    return { value: n.select(less, x, y), holds: plain }
  }
  const value = bitsOf(f, apply(operation, float(f, x), float(f, y)))
  const result = operation === 'add' || operation === 'sub' ? isPlain(f, value) : isNormal(f, value)
  return { value, holds: n.both(plain, result) }
}

/** The operation under MXCSR as said above, where it is one of these; `leave` names what has to be left. */
export const floating = (
  name: string,
  bytes: number,
  a: Node,
  b: Node,
  imm: number,
  leave: Leave,
): Node | undefined => {
  const found = ARITHMETIC.exec(name)
  if (found !== null) {
    const f = found[3] === 'd' ? DOUBLE : SINGLE
    const count = found[2] === 's' ? 1 : 16 / f.size
    if (count > 1 && bytes !== 16) return undefined
    let result = a
    for (let k = 0; k < count; k++) {
      const { value, holds } = arithmetic(f, found[1] as Operation, lane(a, k, f.size), lane(b, k, f.size))
      leave(n.no(holds))
      result = withLane(result, k, f.size, value)
    }
    return result
  }
  const f = name.endsWith('d') || name.endsWith('d2si') ? DOUBLE : SINGLE
  if (/^u?comis[sd]$/.test(name)) {
    const [x, y] = [lane(a, 0, f.size), lane(b, 0, f.size)]
    leave(n.no(n.both(isPlain(f, x), isPlain(f, y))))
    const is = (op: 'lt' | 'eq') => n.make(`${f.type}.${op}` as 'f64.lt', 32, 1, float(f, x), float(f, y))
    return n.or(is('lt'), n.shl(1, is('eq'), n.number(6)))
  }
  if (name === 'cvtsi2sd' || name === 'cvtsi2ss') {
    const from = imm === 8 ? n.to64(b) : n.to32(b)
    const value = n.make(`${f.type}.convert_i${imm * 8}_s` as 'f64.convert_i32_s', f.size === 8 ? 64 : 32, 64, from)
    return withLane(a, 0, f.size, bitsOf(f, value))
  }
  if (name === 'cvttsd2si' || name === 'cvttss2si') {
    const x = lane(b, 0, f.size)
    // Plain and below 2^31 or 2^63 in magnitude: compared as bits without the sign.
    const most =
      f === DOUBLE ? (bytes === 8 ? 0x43e0n << 48n : 0x41e0n << 48n) : bytes === 8 ? 0x5f00n << 16n : 0x4f00n << 16n
    leave(n.no(n.both(isPlain(f, x), n.below(twice(f, x), n.constant(most << 1n, f.size === 8 ? 64 : 32)))))
    const op = `i${bytes === 8 ? 64 : 32}.trunc_${f.type}_s` as 'i64.trunc_f64_s'
    return n.make(op, bytes === 8 ? 64 : 32, bytes * 8, float(f, x))
  }
  if (name === 'cvtss2sd') {
    const x = lane(b, 0, 4)
    leave(n.no(isPlain(SINGLE, x)))
    return withLane(a, 0, 8, bitsOf(DOUBLE, n.make('f64.promote_f32', 64, 64, float(SINGLE, x))))
  }
  if (name === 'cvtsd2ss') {
    const x = lane(b, 0, 8)
    const value = bitsOf(SINGLE, n.make('f32.demote_f64', 32, 64, float(DOUBLE, x)))
    leave(n.no(n.both(isPlain(DOUBLE, x), isNormal(SINGLE, value))))
    return withLane(a, 0, 4, value)
  }
  return undefined
}
