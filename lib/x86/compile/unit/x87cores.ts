/** Rounding, addition, multiplication and division of the x87 unit's numbers: what the functions for all kinds of operands call. */
import type { Module } from '#wasm'
import { STATE } from '../../state.ts'
import { emitDivide } from '../divide.ts'
import type { Node } from '../node.ts'
import * as n from '../node.ts'
import { begin, type Writer } from './writer.ts'
import {
  BIAS,
  C0,
  c,
  exponentOf,
  INEXACT,
  INTEGER,
  not0,
  quad,
  roundsUp,
  signOf,
  Unit,
  type Value,
  zero64,
} from './x87unit.ts'

/**
 * `round(frame, at, sign, exponent, high, low)`: the number high:low, its integer bit set, rounded as FCW says into the register
 * at `at`. What is below `low` is in its lowest bit.
 */
export const writeRound = (module: Module): number => {
  const { index, w, params } = begin(module, [32, 32, 32, 32, 64, 64], [32])
  const [frame, at, sign, given, high, low] = params as [Node, Node, Node, Node, Node, Node]
  const u = new Unit(w, frame)
  const control = u.control()
  const exponent = w.variable(given)
  u.refuse(n.no(n.below(n.sub(4, exponent, c(1)), c(0x7ffe))))
  const [m, rest, unit] = [w.let(high), w.let(low), w.local(64)]
  w.set(unit, quad(1n))
  w.if(n.isZero(n.and(control, c(C0))), () => {
    const cut = w.let(n.select(n.bit(control, 9), c(11), c(40)))
    w.set(rest, n.or(n.shl(8, m, n.sub(4, c(64), cut)), n.to64(not0(low))))
    w.set(unit, n.shl(8, quad(1n), cut))
    w.set(m, n.and(m, n.sub(8, zero64, unit)))
  })
  const up = roundsUp(w, control, sign, rest, not0(n.and(m, unit)))
  w.if(up, () => {
    w.set(m, n.add(8, m, unit))
    w.if(n.isZero(m), () => {
      w.set(m, quad(INTEGER))
      w.set(exponent, n.add(4, exponent, c(1)))
      u.refuse(n.equal(exponent, c(0x7fff)))
    })
  })
  u.write(at, { m, se: n.or(exponent, n.shl(4, sign, c(15))) })
  u.settled(n.or(n.select(not0(rest), c(INEXACT), c(0)), n.shl(4, up, c(9))))
  w.put(c(0))
  return index
}

/** The upper half of a product, and its lower one. */
export const product = (w: Writer, a: Node, b: Node): [Node, Node] => [
  w.let(n.mulHigh(8, a, b, false)),
  w.let(n.mul(8, a, b)),
]

/** `core(frame, at, am, ase, bm, bse)`: an operation of two numbers into the register at `at`. */
const writeCore = (module: Module, write: (u: Unit, at: Node, a: Value, b: Value) => void): number => {
  const { index, w, params } = begin(module, [32, 32, 64, 32, 64, 32], [32])
  const [frame, at, am, ase, bm, bse] = params as [Node, Node, Node, Node, Node, Node]
  write(new Unit(w, frame), at, { m: am, se: ase }, { m: bm, se: bse })
  return index
}

export const writeAdd = (module: Module, round: number): number =>
  writeCore(module, (u, at, a, b) => {
    const { w } = u
    const [p, q] = [
      { m: w.let(a.m), se: w.let(a.se) },
      { m: w.let(b.m), se: w.let(b.se) },
    ]
    const finish = (sign: Node, exponent: Node, high: Node, low: Node): void =>
      w.call(round, [u.frame, at, sign, exponent, high, low])
    const zero = (sign: Node): void => {
      u.control()
      u.write(at, { m: zero64, se: n.shl(4, sign, c(15)) })
      u.settled()
      w.return(c(0))
    }
    /** A sum of nothing: negative only where that is how it is rounded, or both were. */
    const nothing = (): Node => {
      const control = w.load('i32.load16_u', u.frame, STATE.FCW)
      const down = n.equal(n.and(n.shr(4, control, c(10)), c(3)), c(1))
      return n.select(n.equal(signOf(p.se), signOf(q.se)), signOf(p.se), down)
    }
    const one = ({ m, se }: Value): void => {
      u.refuse(n.no(u.isNormal({ m, se })))
      finish(signOf(se), exponentOf(se), m, zero64)
      w.code.op('return')
    }
    w.if(n.no(n.both(u.isNormal(p), u.isNormal(q))), () => {
      w.if(u.isZero(p), () => {
        w.if(u.isZero(q), () => zero(nothing()))
        one(q)
      })
      u.refuse(n.no(u.isZero(q)))
      one(p)
    })
    // The larger one first.
    const exchanges = n.select(
      n.equal(exponentOf(p.se), exponentOf(q.se)),
      n.below(p.m, q.m),
      n.below(exponentOf(p.se), exponentOf(q.se)),
    )
    w.if(exchanges, () => {
      const [m, se] = [w.let(p.m), w.let(p.se)]
      w.set(p.m, q.m)
      w.set(p.se, q.se)
      w.set(q.m, m)
      w.set(q.se, se)
    })
    const exponent = w.variable(exponentOf(p.se))
    const distance = w.let(n.sub(4, exponent, exponentOf(q.se)))
    const [high, low] = [w.let(q.m), w.local(64)]
    w.set(low, zero64)
    w.if(not0(distance), () => {
      w.if(
        n.below(distance, c(64)),
        () => {
          w.set(low, n.shl(8, q.m, n.sub(4, c(64), distance)))
          w.set(high, n.shr(8, q.m, distance))
        },
        () => {
          w.set(high, zero64)
          w.if(
            n.below(distance, c(128)),
            () => {
              // A shift by 64 is none.
              const lost = n.select(n.equal(distance, c(64)), zero64, n.shl(8, q.m, n.sub(4, c(128), distance)))
              w.set(low, n.or(n.shr(8, q.m, n.sub(4, distance, c(64))), n.to64(not0(lost))))
            },
            () => w.set(low, quad(1n)),
          )
        },
      )
    })
    const sign = w.let(signOf(p.se))
    w.if(
      n.equal(sign, signOf(q.se)),
      () => {
        w.set(high, n.add(8, high, p.m))
        w.if(n.below(high, p.m), () => {
          w.set(low, n.or(n.or(n.shr(8, low, c(1)), n.and(low, quad(1n))), n.shl(8, high, c(63))))
          w.set(high, n.or(n.shr(8, high, c(1)), quad(INTEGER)))
          w.set(exponent, n.add(4, exponent, c(1)))
        })
      },
      () => {
        w.set(high, n.sub(8, n.sub(8, p.m, high), n.to64(not0(low))))
        w.set(low, n.sub(8, zero64, low))
        w.if(n.isZero(high), () => {
          w.if(n.isZero(low), () => zero(nothing()))
          w.set(high, low)
          w.set(low, zero64)
          w.set(exponent, n.sub(4, exponent, c(64)))
        })
        const zeros = w.let(n.to32(n.leadingZeros(8, high)))
        w.if(not0(zeros), () => {
          w.set(high, n.or(n.shl(8, high, zeros), n.shr(8, low, n.sub(4, c(64), zeros))))
          w.set(low, n.shl(8, low, zeros))
          w.set(exponent, n.sub(4, exponent, zeros))
        })
      },
    )
    finish(sign, exponent, high, low)
  })

/** A product or quotient of which one is zero, and that is zero. */
const nothingOf = (u: Unit, at: Node, sign: Node): void => {
  u.control()
  u.write(at, { m: zero64, se: n.shl(4, sign, c(15)) })
  u.settled()
  u.w.return(c(0))
}

export const writeMultiply = (module: Module, round: number): number =>
  writeCore(module, (u, at, a, b) => {
    const { w } = u
    const sign = w.let(n.differ(signOf(a.se), signOf(b.se)))
    w.if(n.no(n.both(u.isNormal(a), u.isNormal(b))), () => {
      const plain = (v: Value) => n.either(u.isZero(v), u.isNormal(v))
      u.refuse(n.no(n.both(plain(a), plain(b))))
      nothingOf(u, at, sign)
    })
    const exponent = w.variable(n.sub(4, n.add(4, exponentOf(a.se), exponentOf(b.se)), c(BIAS - 1)))
    const [high, low] = product(w, a.m, b.m)
    w.if(n.no(n.bit(high, 63)), () => {
      w.set(high, n.or(n.shl(8, high, c(1)), n.shr(8, low, c(63))))
      w.set(low, n.shl(8, low, c(1)))
      w.set(exponent, n.sub(4, exponent, c(1)))
    })
    w.call(round, [u.frame, at, sign, exponent, high, low])
  })

export const writeDivide = (module: Module, round: number): number =>
  writeCore(module, (u, at, a, b) => {
    const { w } = u
    const sign = w.let(n.differ(signOf(a.se), signOf(b.se)))
    u.refuse(n.no(u.isNormal(b)))
    w.if(n.no(u.isNormal(a)), () => {
      u.refuse(n.no(u.isZero(a)))
      nothingOf(u, at, sign)
    })
    const exponent = w.variable(n.add(4, n.sub(4, exponentOf(a.se), exponentOf(b.se)), c(BIAS - 1)))
    const [high, low] = [w.let(a.m), w.local(64)]
    w.set(low, zero64)
    w.if(n.no(n.below(high, b.m)), () => {
      w.set(low, n.shl(8, high, c(63)))
      w.set(high, n.shr(8, high, c(1)))
      w.set(exponent, n.add(4, exponent, c(1)))
    })
    const quotient = n.temp(64, 64)
    emitDivide(w.emit, { high, low, by: b.m, to: quotient })
    const q = w.let(n.local(quotient.temp, 64, 64))
    w.emit.release()
    const rest = w.let(n.sub(8, low, n.mul(8, q, b.m)))
    // Beside one half: the rest against what is missing of another.
    const missing = w.let(n.sub(8, b.m, rest))
    w.set(
      low,
      n.select(n.equal(rest, missing), quad(INTEGER), n.select(n.below(missing, rest), quad(INTEGER | 1n), quad(1n))),
    )
    w.set(low, n.select(n.isZero(rest), zero64, low))
    w.call(round, [u.frame, at, sign, exponent, q, low])
  })
