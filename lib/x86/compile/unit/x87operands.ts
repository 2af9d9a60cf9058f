/** What the x87 unit does with an operand of each kind: arithmetic, comparison, loads and stores. */
import type { Module } from '#wasm'
import type { Node } from '../node.ts'
import * as n from '../node.ts'
import { SCRATCH } from '../sites.ts'
import { begin } from './writer.ts'
import {
  BIAS,
  C0,
  C1,
  C2,
  C3,
  c,
  exponentOf,
  INEXACT,
  type Kind,
  not0,
  PENDING,
  quad,
  roundsUp,
  signOf,
  Unit,
  type Value,
  zero64,
} from './x87unit.ts'

/** Flags of the arithmetic functions: how often to pop; the operands' signs to turn around; the operands to exchange. */
export const POP = 1
export const TURN_SOURCE = 2
export const TURN_DESTINATION = 4
export const EXCHANGED = 8
/** Of comparisons, whose pops are counted in the lowest two bits: the result goes to the scratch word alone, as flags want it. */
export const TO_FLAGS = 4

/** `arithmetic(frame, to, flags, value)`: ST(to) with what `value` is by its kind. */
export const writeArithmetic = (module: Module, kind: Kind, core: number): number => {
  const { index, w, params } = begin(module, kind === 'ST' ? [32, 32, 32, 32] : [32, 32, 32, 64], [32])
  const [frame, to, flags, value] = params as [Node, Node, Node, Node]
  const u = new Unit(w, frame)
  const top = u.top()
  const destination = u.physical(top, to)
  const at = u.at(destination)
  let b: Value
  if (kind === 'ST') {
    const from = u.physical(top, value)
    u.need(n.or(u.bit(destination), u.bit(from)))
    b = u.read(u.at(from))
  } else {
    u.need(u.bit(destination))
    b = u.converted(kind, value)
  }
  const a = u.read(at)
  const turn = (se: Node, by: number): Node => n.xor(se, n.shl(4, n.bit(flags, 31 - Math.clz32(by)), c(15)))
  const [ase, bse] = [w.let(turn(a.se, TURN_DESTINATION)), w.let(turn(b.se, TURN_SOURCE))]
  const done = w.local(32)
  const apply = (x: Node, xse: Node, y: Node, yse: Node) => (): void => {
    w.call(core, [frame, at, x, xse, y, yse])
    w.code.set(done.n)
  }
  w.if(n.isZero(n.and(flags, c(EXCHANGED))), apply(a.m, ase, b.m, bse), apply(b.m, bse, a.m, ase))
  u.refuse(done)
  w.if(n.bit(flags, 0), () => u.pop(top))
  w.put(c(0))
  return index
}

/** `compare(frame, flags, value)`: C3, C2 and C0, and with TO_FLAGS CF and ZF, as they are in RFLAGS, in the scratch word. */
export const writeCompare = (module: Module, kind: Kind): number => {
  const { index, w, params } = begin(module, kind === 'ST' ? [32, 32, 32] : [32, 32, 64], [32])
  const [frame, flags, value] = params as [Node, Node, Node]
  const u = new Unit(w, frame)
  u.control()
  const top = u.top()
  let b: Value
  if (kind === 'ST') {
    const from = u.physical(top, value)
    u.need(n.or(u.bit(top), u.bit(from)))
    b = u.read(u.at(from))
  } else {
    u.need(u.bit(top))
    b = u.converted(kind, value)
  }
  const a = u.read(u.at(top))
  const plain = (v: Value) => n.either(u.isZero(v), u.isNormal(v))
  u.refuse(n.no(n.both(plain(a), plain(b))))
  // By magnitude, exponents first; zeros are equal whatever their signs.
  const below = w.local(32)
  w.set(
    below,
    n.select(
      n.equal(exponentOf(a.se), exponentOf(b.se)),
      n.below(a.m, b.m),
      n.below(exponentOf(a.se), exponentOf(b.se)),
    ),
  )
  const same = w.let(n.both(n.equal(exponentOf(a.se), exponentOf(b.se)), n.equal(a.m, b.m)))
  const zeros = n.both(u.isZero(a), u.isZero(b))
  const equal = w.let(n.either(zeros, n.both(same, n.equal(signOf(a.se), signOf(b.se)))))
  const less = n.select(
    n.equal(signOf(a.se), signOf(b.se)),
    n.select(signOf(a.se), n.both(n.no(below), n.no(same)), below),
    signOf(a.se),
  )
  const isLess = w.let(n.both(less, n.no(equal)))
  w.if(
    n.bit(flags, 2),
    () => {
      w.store('i32.store', frame, SCRATCH.VALUE, n.or(isLess, n.shl(4, equal, c(6))))
      u.setStatus(n.and(u.status, c(0xffff & ~PENDING)))
    },
    () => {
      const kept = n.and(u.status, c(0xffff & ~(PENDING | C0 | C1 | C2 | C3)))
      u.setStatus(n.or(kept, n.or(n.shl(4, isLess, c(8)), n.shl(4, equal, c(14)))))
    },
  )
  w.if(not0(n.and(flags, c(3))), () => u.pop(top))
  w.if(n.bit(flags, 1), () => u.pop(w.let(n.and(n.add(4, top, c(1)), c(7)))))
  w.put(c(0))
  return index
}

/** `load(frame, value)`: onto the stack; from 80 bits `load(frame, low, high)`. */
export const writeLoad = (module: Module, kind: Kind): number => {
  const { index, w, params } = begin(module, kind === 'M80' ? [32, 64, 32] : kind === 'ST' ? [32, 32] : [32, 64], [32])
  const [frame, value, high] = params as [Node, Node, Node]
  const u = new Unit(w, frame)
  if (kind === 'M80') u.push({ m: value, se: high }, 0)
  else if (kind === 'ST') {
    const from = u.physical(u.top(), value)
    u.need(u.bit(from))
    u.push(u.read(u.at(from)), 0)
  } else {
    u.control()
    u.push(u.converted(kind, value), PENDING)
  }
  w.put(c(0))
  return index
}

/** `store(frame, cut)`: what FST writes, to the scratch word; with `cut`, of FISTTP, without its fraction. */
export const writeStore = (module: Module, kind: Kind): number => {
  const { index, w, params } = begin(module, [32, 32], [32])
  const [frame, cut] = params as [Node, Node]
  const u = new Unit(w, frame)
  const top = u.top()
  u.need(u.bit(top))
  const v = u.read(u.at(top))
  if (kind === 'M80') {
    w.store('i64.store', frame, SCRATCH.VALUE, v.m)
    w.store('i32.store16', frame, SCRATCH.VALUE + 8, v.se)
    u.setStatus(n.and(u.status, c(0xffff & ~C1)))
    w.put(c(0))
    return index
  }
  const control = w.let(u.control())
  const sign = w.let(signOf(v.se))
  const result = w.local(64)
  const isReal = kind === 'M32' || kind === 'M64'
  w.if(u.isZero(v), () => {
    const bits = isReal ? n.shl(8, n.to64(sign), c(kind === 'M64' ? 63 : 31)) : zero64
    w.store('i64.store', frame, SCRATCH.VALUE, bits)
    u.settled()
    w.return(c(0))
  })
  u.refuse(n.no(u.isNormal(v)))
  const [rest, up] = [w.local(64), w.local(32)]
  if (isReal) {
    const [away, least, most, top] = kind === 'M64' ? [11, 15360, 0x7fe, 63] : [40, 16256, 0xfe, 31]
    const exponent = w.let(n.sub(4, exponentOf(v.se), c(least)))
    const whole = n.sub(4, exponent, c(1))
    u.refuse(n.no(n.below(whole, c(most))))
    w.set(rest, n.shl(8, v.m, c(64 - away)))
    w.set(result, n.shr(8, v.m, c(away)))
    w.set(up, roundsUp(w, control, sign, rest, n.bit(result, 0)))
    w.set(result, n.add(8, result, n.to64(up)))
    // A carry out of the fraction is one into the exponent: the integer bit is added there, not kept.
    w.set(result, n.add(8, result, n.shl(8, n.to64(whole), c(63 - away))))
    u.refuse(n.no(n.below(n.shr(8, result, c(63 - away)), c(most + 1))))
    w.set(result, n.or(result, n.shl(8, n.to64(sign), c(top))))
  } else {
    const power = w.let(n.sub(4, exponentOf(v.se), c(BIAS)))
    u.refuse(n.no(n.less(4, power, c(63))))
    w.if(
      n.less(4, power, c(0)),
      () => {
        w.set(result, zero64)
        // Below one half, or from there on.
        w.set(rest, n.select(n.equal(power, n.constant(0xffff_ffffn, 32)), v.m, quad(1n)))
      },
      () => {
        w.set(result, n.shr(8, v.m, n.sub(4, c(63), power)))
        w.set(rest, n.shl(8, v.m, n.add(4, power, c(1))))
      },
    )
    const way = n.select(n.isZero(cut), control, c(0xc00))
    w.set(up, roundsUp(w, w.let(way), sign, rest, n.bit(result, 0)))
    w.set(result, n.add(8, result, n.to64(up)))
    const bits = kind === 'I16' ? 15 : kind === 'I32' ? 31 : 63
    u.refuse(not0(n.shr(8, result, c(bits))))
    w.set(result, n.select(sign, n.sub(8, zero64, result), result))
  }
  w.store('i64.store', frame, SCRATCH.VALUE, result)
  u.settled(n.or(n.select(not0(rest), c(INEXACT), c(0)), n.shl(4, up, c(9))))
  w.put(c(0))
  return index
}
