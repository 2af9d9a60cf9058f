/**
 * Fused multiply-add of plain numbers, rounded once to nearest, as functions of a WebAssembly module. Doubles: the product
 * without error by T. Dekker, "A floating-point technique for extending the available precision", and then S. Boldo and
 * G. Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd". Singles: the product is a
 * double, its sum with the addend is rounded to odd, and that to a single.
 */
import { Module } from '#wasm'
import type { Node } from '../node.ts'
import * as n from '../node.ts'
import { simd, zeroVector } from '../simd.ts'
import { begin, type Writer } from './writer.ts'

const c = (value: number): Node => n.number(value)
const quad = (value: bigint): Node => n.constant(value, 64)
type Operation = 'add' | 'sub' | 'mul'
const of = (op: Operation, a: Node, b: Node): Node => n.make(`f64.${op}`, 'f64', 64, a, b)
const add = (a: Node, b: Node): Node => of('add', a, b)
const sub = (a: Node, b: Node): Node => of('sub', a, b)
const mul = (a: Node, b: Node): Node => of('mul', a, b)
const bits = (v: Node): Node => n.make('i64.reinterpret_f64', 64, 64, v)
const double = (v: Node): Node => n.make('f64.reinterpret_i64', 'f64', 64, v)
const constant = (value: bigint): Node => double(quad(value))
/** 2^27 + 1. */
const SPLITTER = 0x41a0_0000_0200_0000n
const NONE = 0x7ff8_0000_0000_0000n

/** A sum, and what rounding took from it. D. Knuth, "The Art of Computer Programming", 4.2.2, theorem B. */
const twoSum = (w: Writer, a: Node, b: Node): [sum: Node, error: Node] => {
  const sum = w.let(add(a, b))
  const other = w.let(sub(sum, a))
  return [sum, w.let(add(sub(a, sub(sum, other)), sub(b, other)))]
}

/** A sum rounded to odd: where it is not exact, its last bit is set. */
const oddSum = (w: Writer, a: Node, b: Node): Node => {
  const [sum, error] = twoSum(w, a, b)
  const whole = w.local(64)
  w.set(whole, bits(sum))
  const zero = constant(0n)
  const differs = n.make('f64.ne', 32, 1, error, zero)
  w.if(n.both(differs, n.no(n.bit(whole, 0))), () => {
    // Away from zero where the error is of the same sign.
    const same = n.equal(n.bit(bits(error), 63), n.bit(whole, 63))
    w.set(whole, n.add(8, whole, n.select(same, quad(1n), quad(0xffff_ffff_ffff_ffffn))))
  })
  return w.let(double(whole))
}

const split = (w: Writer, a: Node): [high: Node, low: Node] => {
  const scaled = w.let(mul(a, constant(SPLITTER)))
  const high = w.let(sub(scaled, sub(scaled, a)))
  return [high, w.let(sub(a, high))]
}

const exponent = (v: Node): Node => n.and(n.to32(n.shr(8, bits(v), c(52))), c(0x7ff))

/** A NaN where numbers are so large or small that a step would not be exact. */
const writeDouble = (module: Module): number => {
  const { index, w, params } = begin(module, ['f64', 'f64', 'f64'], ['f64'])
  const [a, b, d] = params as [Node, Node, Node]
  const isZero = (v: Node): Node => n.isZero(n.shl(8, bits(v), c(1)))
  w.if(n.either(isZero(a), n.either(isZero(b), isZero(d))), () => w.return(add(mul(a, b), d)))
  const [ea, eb, ed] = [a, b, d].map(v => w.let(exponent(v))) as [Node, Node, Node]
  const inside = (v: Node, from: number, to: number): Node => n.below(n.sub(4, v, c(from)), c(to - from))
  const product = n.sub(4, n.add(4, ea, eb), c(1023))
  const safe = n.both(inside(product, 120, 1990), inside(ed, 120, 1990))
  w.if(n.no(n.both(safe, n.both(n.below(ea, c(2010)), n.below(eb, c(2010))))), () => w.return(constant(NONE)))
  const [ah, al] = split(w, a)
  const [bh, bl] = split(w, b)
  const high = w.let(mul(a, b))
  const low = w.let(add(add(add(sub(mul(ah, bh), high), mul(ah, bl)), mul(al, bh)), mul(al, bl)))
  const [th, tl] = twoSum(w, d, low)
  const [vh, vl] = twoSum(w, high, th)
  w.put(add(vh, oddSum(w, tl, vl)))
  return index
}

const writeSingle = (module: Module): number => {
  const { index, w, params } = begin(module, ['f32', 'f32', 'f32'], ['f32'])
  const [a, b, d] = params.map(v => n.make('f64.promote_f32', 'f64', 64, v)) as [Node, Node, Node]
  w.put(n.make('f32.demote_f64', 'f32', 32, oddSum(w, w.let(mul(a, b)), w.let(d))))
  return index
}

/** `fma.sd`, `fma.ss` of numbers, `fma.pd`, `fma.ps` of vectors: a * b + d. */
export const fuseModule = (): Uint8Array<ArrayBuffer> => {
  const module = new Module()
  for (const [letter, width, extract, replace, lanes, func] of [
    ['d', 'f64', 0x21, 0x22, 2, writeDouble(module)],
    ['s', 'f32', 0x1f, 0x20, 4, writeSingle(module)],
  ] as const) {
    module.export(`fma.s${letter}`, func)
    const { index, w, params } = begin(module, [128, 128, 128], [128])
    const result = w.local(128)
    w.set(result, zeroVector())
    for (let k = 0; k < lanes; k++) {
      const value = w.local(width)
      w.call(
        func,
        params.map(v => simd(extract, width, width === 'f64' ? 64 : 32, v, undefined, [k])),
      )
      w.code.set(value.n)
      w.set(result, simd(replace, 128, 128, result, value, [k]))
    }
    w.put(result)
    module.export(`fma.p${letter}`, index)
  }
  return module.finish()
}
