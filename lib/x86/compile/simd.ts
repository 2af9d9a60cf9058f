/** Vector values as nodes: halves, pairs and lanes, all in v128. */

import type { Node, Width } from './node.ts'
import * as n from './node.ts'

const SHUFFLE = 0x0d

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
export const shuffle = (a: Node, b: Node, lanes: readonly number[]): Node => simd(SHUFFLE, 128, 128, a, b, lanes)

/** Zero-extended to 16 bytes. */
export const to128 = (a: Node): Node =>
  a.width === 128
    ? a
    : a.width === 'pair'
      ? a.a!
      : n.isConst(a) && a.value === 0n
        ? zeroVector()
        : simd(0x1e, 128, 128, zeroVector(), n.to64(a), [0])

/** 32 bytes. */
export const pair = (low: Node, high: Node): Node => n.make('pair', 'pair', 256, low, high)
/** The lower or the upper 16 bytes, which are zero where there are none. */
export const half = (a: Node, which: 0 | 1): Node => {
  if (which === 0) return to128(a)
  return a.width === 'pair' ? a.b! : zeroVector()
}

export const lane = (a: Node, at: number, size: number): Node => {
  const group = 16 / size
  if (a.width === 'pair') return lane(at < group ? a.a! : a.b!, at % group, size)
  if (at >= group) return size === 16 ? zeroVector() : n.number(0)
  if (a.width !== 128) return n.truncate(n.shr(8, a, n.number(at * size * 8)), size as 1)
  if (size === 16) return a
  if (size === 8) return simd(0x1d, 64, 64, a, undefined, [at])
  if (size === 4) return simd(0x1b, 32, 32, a, undefined, [at])
  return simd(size === 2 ? 0x19 : 0x16, 32, size * 8, a, undefined, [at])
}
export const withLane = (a: Node, at: number, size: number, value: Node): Node => {
  const group = 16 / size
  if (a.width === 'pair' || at >= group) {
    const [low, high] = [half(a, 0), half(a, 1)]
    return at < group ? pair(withLane(low, at, size, value), high) : pair(low, withLane(high, at - group, size, value))
  }
  if (size === 16) return to128(value)
  const opcode = size === 8 ? 0x1e : size === 4 ? 0x1c : size === 2 ? 0x1a : 0x17
  return simd(opcode, 128, 128, to128(a), size === 8 ? n.to64(value) : n.to32(value), [at])
}

/** The lanes' signs as a number. */
export const signs = (a: Node, size: 1 | 4 | 8): Node =>
  simd(size === 1 ? 0x64 : size === 4 ? 0xa4 : 0xc4, 32, 16 / size, to128(a))

/** Lanes of `then` where those of `mask` are negative. */
export const blend = (size: 1 | 4 | 8, mask: Node, then: Node, otherwise: Node): Node => {
  const [shift, bits] = size === 1 ? [0x6c, 7] : size === 4 ? [0xac, 31] : [0xcc, 63]
  const chosen = simd(shift, 128, 128, mask, n.number(bits))
  // v128.bitselect
  return { ...n.make('simd', 128, 128, then, otherwise, chosen, 0x52), lanes: [] }
}
