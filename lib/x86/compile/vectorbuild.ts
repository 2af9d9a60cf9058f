/** SIMD semantics as the compiler has them: halves of 16 bytes, each by what WebAssembly has for it or by a function of a unit. */
import type { PackedName } from '../packed.ts'
import type { Context } from './context.ts'
import { type Check, type Format, floating, isLanewise, type Leave } from './float.ts'
import { fromHalves, fused, toHalves } from './fused.ts'
import { packed, packedHalf, packedPair } from './lanewise.ts'
import type { Node } from './node.ts'
import * as n from './node.ts'
import * as simd from './simd.ts'
import { cryptoCall } from './unit/crypto.ts'
import { type Effect, refuse, unsupported } from './unit.ts'

/** What SIMD may do to the instruction that is being built. */
export type VectorDoors = {
  readonly context: Context
  readonly effect: (effect: Effect) => void
  /** The result of a function that cannot fail. */
  readonly result: (name: string, args: readonly Node[], width: 128 | 'f32' | 'f64') => Node
}

export const buildPacked = (name: PackedName, bytes: number, a: Node, b: Node, imm: number, d: VectorDoors): Node => {
  const unit = (of: string, ...args: Node[]): Node => d.result(of, args, 128)
  if (bytes === 32) {
    const made = packedPair(name, a, b, imm)
    if (made !== undefined) return made
    if (name === 'sha256rnds2') return simd.pair(cryptoCall(name, a, b, imm, unit)!, simd.zeroVector())
    const of = (half: 0 | 1) => cryptoCall(name, simd.half(a, half), simd.half(b, half), imm, unit) ?? refuse()
    return simd.pair(of(0), of(1))
  }
  if (bytes === 8) return packedHalf(name, a, b, imm) ?? refuse()
  if (bytes !== 16) throw unsupported
  return packed(name, a, b, imm) ?? cryptoCall(name, a, b, imm, unit) ?? refuse()
}

export const buildFloat = (
  name: string,
  bytes: number,
  a: Node,
  b: Node,
  imm: number,
  addend: Node | undefined,
  d: VectorDoors,
): Node => {
  const { float } = d.context
  if (float === 'none') throw unsupported
  const leave: Leave = {
    unless: (format: Format, check: Check) => d.effect({ kind: 'check', format, ...check }),
    when: (condition: Node) => d.effect({ kind: 'leaveIf', condition }),
    inexact: float === 'exact',
  }
  if (addend !== undefined) {
    const half = (k: 0 | 1): Node =>
      fused(name, simd.half(a, k), simd.half(b, k), simd.half(addend, k), leave, d.result) ?? refuse()
    return bytes === 32 ? simd.pair(half(0), half(1)) : half(0)
  }
  if (name === 'cvtph2ps') {
    const low = fromHalves(b, leave)
    return bytes === 32 ? simd.pair(low, fromHalves(simd.lane(b, 1, 8), leave)) : low
  }
  if (name === 'cvtps2ph' && (imm & 7) % 4 === 0 && bytes === 16) return toHalves(b, leave) ?? refuse()
  if (bytes !== 32) return floating(name, bytes, a, b, imm, leave) ?? refuse()
  if (!isLanewise(name)) throw unsupported
  const of = (half: 0 | 1) => floating(name, 16, simd.half(a, half), simd.half(b, half), imm, leave) ?? refuse()
  return simd.pair(of(0), of(1))
}

export const buildSigns = (a: Node, bytes: number, size: 1 | 4 | 8): Node => {
  if (bytes <= 16) return simd.signs(a, size)
  const high = n.shl(4, simd.signs(simd.half(a, 1), size), n.number(16 / size))
  return n.or(simd.signs(simd.half(a, 0), size), high)
}

export const buildBlend = (mask: Node, bytes: number, size: 1 | 4 | 8, then: Node, otherwise: Node): Node => {
  const of = (half: 0 | 1) => simd.blend(size, simd.half(mask, half), simd.half(then, half), simd.half(otherwise, half))
  return bytes === 32 ? simd.pair(of(0), of(1)) : of(0)
}
