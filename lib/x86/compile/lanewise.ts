/** SIMD operations on integers that WebAssembly's v128 does exactly, by the names of packed.ts. */
import type { Node } from './node.ts'
import * as n from './node.ts'
import { half, lane, pair, shuffle, simd, to128, zeroVector } from './simd.ts'

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

/** The operation on 16 bytes, where it is one of these. */
export const packed = (name: string, a: Node, b: Node, imm: number): Node | undefined => {
  const direct = DIRECT[name]
  if (direct !== undefined) return simd(direct, 128, 128, to128(a), to128(b))
  if (name === 'pandn') return simd(ANDNOT, 128, 128, to128(b), to128(a))
  const shift = SHIFTS[name]
  if (shift !== undefined) {
    const [opcode, width] = shift
    if (b.width === 128) return shiftBy(name, opcode, width, to128(a), b)
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
  return rearranged(name, a, b, imm) ?? made(name, to128(a), to128(b))
}

/** By the quadword in `b`: what is shifted too far is gone, or only sign. */
const shiftBy = (name: string, opcode: number, width: number, a: Node, b: Node): Node => {
  const count = lane(b, 0, 8)
  const inside = n.below(count, n.number(width))
  if (name.startsWith('psra')) return simd(opcode, 128, 128, a, n.to32(n.select(inside, count, n.number(width - 1))))
  return n.make('select', 128, 128, simd(opcode, 128, 128, a, n.to32(count)), zeroVector(), inside)
}

const lanesOf = (of: (k: number) => number): number[] => Array.from({ length: 16 }, (_, k) => of(k))
/** A shuffle's lanes of `size` bytes, by the number of the lane. */
const byLane = (size: number, of: (n: number) => number): number[] =>
  lanesOf(k => of(Math.floor(k / size)) * size + (k % size))

/** What only moves lanes. */
const rearranged = (name: string, a: Node, b: Node, imm: number): Node | undefined => {
  const from = (lanes: number[]): Node => shuffle(to128(b), to128(b), lanes)
  const both = (lanes: number[]): Node => shuffle(to128(a), to128(b), lanes)
  const two = (n: number) => (imm >> (2 * (n & 3))) & 3
  switch (name) {
    case 'pshufd':
      return from(byLane(4, two))
    case 'pshuflw':
      return from(byLane(2, n => (n < 4 ? two(n) : n)))
    case 'pshufhw':
      return from(byLane(2, n => (n < 4 ? n : 4 + two(n))))
    case 'shufps':
      return both(byLane(4, n => two(n) + (n >= 2 ? 4 : 0)))
    case 'shufpd':
      return both(byLane(8, n => ((imm >> n) & 1) + n * 2))
    case 'movddup':
      return from(byLane(8, () => 0))
    case 'movsldup':
      return from(byLane(4, n => n & ~1))
    case 'movshdup':
      return from(byLane(4, n => n | 1))
    case 'blendpd':
      return both(byLane(8, n => n + ((imm >> n) & 1) * 2))
    case 'blendps':
      return both(byLane(4, n => n + ((imm >> n) & 1) * 4))
    case 'pblendw':
      return both(byLane(2, n => n + ((imm >> n) & 1) * 8))
    case 'insertps': {
      const lanes = byLane(4, n => (n === ((imm >> 4) & 3) ? 4 + (imm >> 6) : n))
      const kept = simd(
        0x0c,
        128,
        128,
        undefined,
        undefined,
        lanesOf(k => ((imm >> (k >> 2)) & 1 ? 0 : 0xff)),
      )
      return simd(0x4e, 128, 128, both(lanes), kept)
    }
    case 'palignr':
      if (imm <= 16)
        return shuffle(
          to128(b),
          to128(a),
          lanesOf(k => k + imm),
        )
      return shuffle(
        to128(a),
        zeroVector(),
        lanesOf(k => Math.min(k + imm - 16, 16)),
      )
    case 'psrldq':
      return shuffle(
        to128(a),
        zeroVector(),
        lanesOf(k => k + Math.min(imm, 16)),
      )
    case 'pslldq':
      return shuffle(
        zeroVector(),
        to128(a),
        lanesOf(k => 16 + k - Math.min(imm, 16)),
      )
    default:
      return undefined
  }
}

const op = (opcode: number, a: Node, b?: Node): Node => simd(opcode, 128, 128, a, b)
/** v128.const of equal bytes, words, doublewords or quadwords. */
const splat = (size: number, value: number): Node =>
  simd(
    0x0c,
    128,
    128,
    undefined,
    undefined,
    lanesOf(k => (k % size < 4 ? (value >> (8 * (k % size))) & 0xff : 0)),
  )
const and = (a: Node, b: Node): Node => op(0x4e, a, b)
const xor = (a: Node, b: Node): Node => op(0x51, a, b)

/** Lanes that go to an operation in pairs: even ones, odd ones; of a, then of b. */
const horizontal = (size: 2 | 4, opcode: number, a: Node, b: Node): Node =>
  op(
    opcode,
    shuffle(
      a,
      b,
      byLane(size, n => 2 * n),
    ),
    shuffle(
      a,
      b,
      byLane(size, n => 2 * n + 1),
    ),
  )
/** Extensions of the low lanes, one doubling after the other. */
const widened = (b: Node, ...opcodes: number[]): Node => opcodes.reduce((from, opcode) => op(opcode, from), b)
/** Where `b` is negative, the opposite; where it is 0, 0. */
const signed = (a: Node, b: Node, lessThan: number, differs: number, subtract: number): Node => {
  const negative = op(lessThan, b, zeroVector())
  return and(op(subtract, xor(a, negative), negative), op(differs, b, zeroVector()))
}
/** The upper halves of products of words. */
const highWords = (low: number, high: number, a: Node, b: Node): Node =>
  shuffle(
    op(low, a, b),
    op(high, a, b),
    byLane(2, n => 2 * n + 1),
  )

/** What takes more than one instruction, or no second operand. */
const made = (name: string, a: Node, b: Node): Node | undefined => {
  switch (name) {
    case 'pmaddwd':
      return op(0xba, a, b)
    case 'packsswb':
      return op(0x65, a, b)
    case 'packuswb':
      return op(0x66, a, b)
    case 'packssdw':
      return op(0x85, a, b)
    case 'packusdw':
      return op(0x86, a, b)
    case 'pabsb':
      return op(0x60, b)
    case 'pabsw':
      return op(0x80, b)
    case 'pabsd':
      return op(0xa0, b)
    case 'pshufb':
      // Lane numbers above 15 give 0: with the top bit they are.
      return op(0x0e, a, and(b, splat(1, 0x8f)))
    case 'pmulhw':
      return highWords(0xbc, 0xbd, a, b)
    case 'pmulhuw':
      return highWords(0xbe, 0xbf, a, b)
    case 'pmuludq':
      return op(0xd5, and(a, splat(8, 0xffff_ffff)), and(b, splat(8, 0xffff_ffff)))
    case 'pmuldq': {
      const even = (v: Node) =>
        shuffle(
          v,
          v,
          byLane(4, n => (2 * n) & 3),
        )
      return op(0xdc, even(a), even(b))
    }
    case 'pmulhrsw': {
      // WebAssembly's saturates where both are the least number.
      const least = (v: Node) => op(0x2d, v, splat(2, 0x8000))
      return xor(op(0x82, a, b), and(least(a), least(b)))
    }
    case 'pmaddubsw': {
      const even = op(0x95, and(a, splat(2, 0xff)), op(0x8c, simd(0x8b, 128, 128, b, n.number(8)), n.number(8)))
      const odd = op(0x95, op(0x8d, a, n.number(8)), op(0x8c, b, n.number(8)))
      return op(0x8f, even, odd)
    }
    case 'psadbw': {
      const sums = op(0x7f, op(0x7d, op(0x71, op(0x79, a, b), op(0x77, a, b))))
      return op(0xce, and(sums, splat(8, 0xffff_ffff)), op(0xcd, sums, n.number(32)))
    }
    case 'psignb':
      return signed(a, b, 0x25, 0x24, 0x71)
    case 'psignw':
      return signed(a, b, 0x2f, 0x2e, 0x91)
    case 'psignd':
      return signed(a, b, 0x39, 0x38, 0xb1)
    case 'phaddw':
      return horizontal(2, 0x8e, a, b)
    case 'phaddd':
      return horizontal(4, 0xae, a, b)
    case 'phaddsw':
      return horizontal(2, 0x8f, a, b)
    case 'phsubw':
      return horizontal(2, 0x91, a, b)
    case 'phsubd':
      return horizontal(4, 0xb1, a, b)
    case 'phsubsw':
      return horizontal(2, 0x92, a, b)
    case 'pmovsxbw':
      return widened(b, 0x87)
    case 'pmovsxbd':
      return widened(b, 0x87, 0xa7)
    case 'pmovsxbq':
      return widened(b, 0x87, 0xa7, 0xc7)
    case 'pmovsxwd':
      return widened(b, 0xa7)
    case 'pmovsxwq':
      return widened(b, 0xa7, 0xc7)
    case 'pmovsxdq':
      return widened(b, 0xc7)
    case 'pmovzxbw':
      return widened(b, 0x89)
    case 'pmovzxbd':
      return widened(b, 0x89, 0xa9)
    case 'pmovzxbq':
      return widened(b, 0x89, 0xa9, 0xc9)
    case 'pmovzxwd':
      return widened(b, 0xa9)
    case 'pmovzxwq':
      return widened(b, 0xa9, 0xc9)
    case 'pmovzxdq':
      return widened(b, 0xc9)
    default:
      return undefined
  }
}

/** Operations on 8 bytes that put what they make of `a` before what they make of `b`. */
const JOINED = /^(pack|phadd|phsub)/

/** The operation on 8 bytes of MMX registers, as the lower half of one on 16. */
export const packedHalf = (name: string, a: Node, b: Node, imm: number): Node | undefined => {
  const low = (v: Node | undefined): Node | undefined => (v === undefined ? undefined : lane(v, 0, 8))
  const both = (first: Node, second: Node): Node =>
    shuffle(
      to128(first),
      to128(second),
      lanesOf(k => (k < 8 ? k : k + 8)),
    )
  if (JOINED.test(name)) return low(packed(name, both(a, b), both(a, b), imm))
  if (name.startsWith('punpckh')) {
    const whole = packed(name.replace('punpckh', 'punpckl'), a, b, imm)
    return whole === undefined ? undefined : lane(whole, 1, 8)
  }
  if (name === 'palignr') return low(packed('psrldq', both(b, a), zeroVector(), Math.min(imm, 16)))
  if (name === 'pshufb') return low(packed(name, a, and(to128(b), splat(1, 0x87)), imm))
  if (name === 'pshufw') return low(packed('pshuflw', a, b, imm))
  const counts = SHIFTS[name] !== undefined && n.isConst(b)
  return low(packed(name, a, counts ? b : to128(b), imm))
}

/** Bytes of its source that 16 bytes of PMOVSX or PMOVZX are made from, by its last letters. */
const SOURCE: Record<string, number> = { bw: 8, bd: 4, bq: 2, wd: 8, wq: 4, dq: 8 }

/** The operation on 32 bytes: the same on either half, where immediates and extensions go on in the upper one. */
export const packedPair = (name: string, a: Node, b: Node, imm: number): Node | undefined => {
  const low = packed(name, half(a, 0), b.width === 'pair' ? half(b, 0) : b, imm)
  let [second, bits] = [b.width === 'pair' ? half(b, 1) : b, imm]
  if (name === 'shufpd' || name === 'blendpd') bits = imm >> 2
  if (name === 'blendps') bits = imm >> 4
  if (/^pmov[sz]x/.test(name)) {
    const from = SOURCE[name.slice(-2)]!
    second = shuffle(
      half(b, 0),
      zeroVector(),
      lanesOf(k => Math.min(k + from, 16)),
    )
  }
  // The counts of shifts are in the lower half.
  if (SHIFTS[name] !== undefined && b.width === 'pair') second = half(b, 0)
  const high = packed(name, half(a, 1), second, bits)
  return low === undefined || high === undefined ? undefined : pair(low, high)
}
