/** Of the x87 unit: the square root, and rounding to an integer. */
import type { Module } from '#wasm'
import type { Node } from '../node.ts'
import * as n from '../node.ts'
import { begin } from './writer.ts'
import { product } from './x87cores.ts'
import { BIAS, c, exponentOf, INEXACT, INTEGER, not0, quad, roundsUp, signOf, Unit, zero64 } from './x87unit.ts'

/** `squareRoot(frame)`: of ST(0). */
export const writeSquareRoot = (module: Module, round: number): number => {
  const { index, w, params } = begin(module, [32], [32])
  const [frame] = params as [Node]
  const u = new Unit(w, frame)
  const top = u.top()
  u.need(u.bit(top))
  const at = u.at(top)
  const v = u.read(at)
  w.if(u.isZero(v), () => {
    u.control()
    u.settled()
    w.return(c(0))
  })
  u.refuse(n.either(signOf(v.se), n.no(u.isNormal(v))))
  // A square of 127 or 128 bits, whose root has 64.
  const [high, low] = [w.let(v.m), w.local(64)]
  w.set(low, zero64)
  const power = w.let(n.sub(4, exponentOf(v.se), c(BIAS)))
  w.if(n.no(n.bit(power, 0)), () => {
    w.set(low, n.shl(8, v.m, c(63)))
    w.set(high, n.shr(8, v.m, c(1)))
  })
  const float = (op: 'f64.sqrt' | 'f64.mul' | 'f64.min' | 'f64.div', a: Node, b?: Node): Node =>
    n.make(op, 'f64', 64, a, b)
  const toFloat = (a: Node, op: 'f64.convert_i64_u' | 'f64.convert_i64_s'): Node => n.make(op, 'f64', 64, a)
  const number = (value: bigint): Node => n.make('f64.reinterpret_i64', 'f64', 64, quad(value))
  // The root to 52 bits, in half its size so that it is below 2^63; 2^31 and 2^63 - 1024 as doubles.
  const guess = float(
    'f64.min',
    float('f64.mul', float('f64.sqrt', toFloat(high, 'f64.convert_i64_u')), number(0x41e0n << 48n)),
    number(0x43df_ffff_ffff_ffffn),
  )
  const root = w.let(n.shl(8, n.make('i64.trunc_f64_s', 64, 64, guess), c(1)))
  /** What is missing: the square less that of the root. */
  const missing = (): [Node, Node] => {
    const [sh, sl] = product(w, root, root)
    const rl = w.let(n.sub(8, low, sl))
    return [w.let(n.sub(8, n.sub(8, high, sh), n.to64(n.below(low, sl)))), rl]
  }
  // Newton's step: what is missing, over twice the root. 2^64 as a double, and 2.
  const [mh, ml] = missing()
  const wide = n.make(
    'f64.add',
    'f64',
    64,
    float('f64.mul', toFloat(mh, 'f64.convert_i64_s'), number(0x43f0n << 48n)),
    toFloat(ml, 'f64.convert_i64_u'),
  )
  const step = float('f64.div', wide, float('f64.mul', toFloat(root, 'f64.convert_i64_u'), number(0x4000n << 48n)))
  w.set(root, n.add(8, root, n.make('i64.trunc_f64_s', 64, 64, step)))
  const [rh, rl] = missing()
  const one = quad(1n)
  w.code.loop(again => {
    w.if(n.bit(rh, 63), () => {
      // One less: twice that and one are not missing any more.
      w.set(root, n.sub(8, root, one))
      const back = w.let(n.add(8, n.shl(8, root, c(1)), one))
      const sum = w.let(n.add(8, rl, back))
      w.set(rh, n.add(8, n.add(8, rh, n.to64(n.bit(root, 63))), n.to64(n.below(sum, rl))))
      w.set(rl, sum)
      w.code.br(again)
    })
    // More than twice the root is missing: one more.
    const [th, tl] = [n.shr(8, root, c(63)), n.shl(8, root, c(1))]
    const more = n.either(n.below(th, rh), n.both(n.equal(n.to64(th), rh), n.below(tl, rl)))
    w.if(more, () => {
      const away = w.let(n.add(8, n.shl(8, root, c(1)), one))
      w.set(rh, n.sub(8, n.sub(8, rh, n.to64(n.bit(root, 63))), n.to64(n.below(rl, away))))
      w.set(rl, n.sub(8, rl, away))
      w.set(root, n.add(8, root, one))
      w.code.br(again)
    })
  })
  // A root that is not whole is never half way between two numbers of 64 bits.
  const above = n.either(not0(rh), n.below(root, rl))
  w.set(low, n.select(n.isZero(n.or(rh, rl)), zero64, n.select(above, quad(INTEGER | 1n), one)))
  const exponent = n.add(4, n.make('i32.shr_s', 32, 32, power, c(1)), c(BIAS))
  w.call(round, [frame, at, c(0), exponent, root, low])
  return index
}

/** `roundToInteger(frame)`: FRNDINT. */
export const writeRoundToInteger = (module: Module): number => {
  const { index, w, params } = begin(module, [32], [32])
  const [frame] = params as [Node]
  const u = new Unit(w, frame)
  const control = u.control()
  const top = u.top()
  u.need(u.bit(top))
  const at = u.at(top)
  const v = u.read(at)
  const power = w.let(n.sub(4, exponentOf(v.se), c(BIAS)))
  u.refuse(n.no(n.either(u.isZero(v), u.isNormal(v))))
  w.if(n.either(u.isZero(v), n.no(n.less(4, power, c(63)))), () => {
    u.settled()
    w.return(c(0))
  })
  const [whole, rest] = [w.local(64), w.local(64)]
  w.set(rest, n.select(n.equal(power, n.constant(0xffff_ffffn, 32)), v.m, quad(1n)))
  w.set(whole, zero64)
  w.if(n.no(n.less(4, power, c(0))), () => {
    w.set(whole, n.shr(8, v.m, n.sub(4, c(63), power)))
    w.set(rest, n.shl(8, v.m, n.add(4, power, c(1))))
  })
  const sign = w.let(n.and(v.se, c(0x8000)))
  const up = roundsUp(w, control, w.let(signOf(v.se)), rest, n.bit(whole, 0))
  w.set(whole, n.add(8, whole, n.to64(up)))
  w.if(
    n.isZero(whole),
    () => u.write(at, { m: zero64, se: sign }),
    () => {
      const zeros = w.let(n.to32(n.leadingZeros(8, whole)))
      u.write(at, { m: n.shl(8, whole, zeros), se: n.or(sign, n.sub(4, c(BIAS + 63), zeros)) })
    },
  )
  u.settled(n.or(n.select(not0(rest), c(INEXACT), c(0)), n.shl(4, up, c(9))))
  w.put(c(0))
  return index
}
