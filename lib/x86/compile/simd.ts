/** SIMD operations on integers that WebAssembly's v128 does exactly. */

import type { Node, Width } from './node.ts'
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

export const simd = (
  opcode: number,
  width: Width,
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
