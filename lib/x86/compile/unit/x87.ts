/**
 * The x87 unit as functions of a WebAssembly module, on the registers in the state frame. They do what numbers do that are
 * zero or normal, come to such, and meet no exception but an inexact result while all are masked; a function returns 0 then.
 * It returns 1, and has changed nothing, for all else: the interpreter takes the instruction (x87.ts and its neighbours,
 * which these functions must agree with to the last bit). SDM Vol. 1, "Programming with the x87 FPU".
 */
import { Module } from '#wasm'
import { STATE } from '../../state.ts'
import { emitDivide } from '../divide.ts'
import type { Node } from '../node.ts'
import * as n from '../node.ts'
import { SCRATCH } from '../sites.ts'
import { begin, type Writer } from './writer.ts'

const C0 = 0x100
const C1 = 0x200
const C2 = 0x400
const C3 = 0x4000
/** ES and B, which nothing that is pending leaves clear. */
const PENDING = 0x8080
const INEXACT = 0x20
const BIAS = 16383
const INTEGER = 1n << 63n

/** Flags of the arithmetic functions: how often to pop; the operands' signs to turn around; the operands to exchange. */
export const POP = 1
export const TURN_SOURCE = 2
export const TURN_DESTINATION = 4
export const EXCHANGED = 8
/** Of comparisons, whose pops are counted in the lowest two bits: the result goes to the scratch word alone, as flags want it. */
export const TO_FLAGS = 4

/** Sources of operands, as FROM in x87.ts numbers them. */
export const KINDS = ['ST', 'M32', 'M64', 'M80', 'I16', 'I32', 'I64'] as const
export type Kind = (typeof KINDS)[number]

const c = (value: number): Node => n.number(value)
const quad = (value: bigint): Node => n.constant(value, 64)
const zero64 = quad(0n)
const not0 = (a: Node): Node => n.no(n.isZero(a))

/** The significand, and the exponent with the sign above it. */
type Value = { readonly m: Node; readonly se: Node }

class Unit {
  readonly w: Writer
  readonly frame: Node
  /** FSW as it was. */
  readonly status: Node

  constructor(w: Writer, frame: Node) {
    this.w = w
    this.frame = frame
    this.status = w.load('i32.load16_u', frame, STATE.FSW)
  }

  top(): Node {
    return this.w.let(n.and(n.shr(4, this.status, c(11)), c(7)))
  }

  /** Number of the physical register that ST(i) is. */
  physical(top: Node, i: Node): Node {
    return this.w.let(n.and(n.add(4, top, i), c(7)))
  }

  at(physical: Node): Node {
    return this.w.let(n.add(4, this.frame, n.mul(4, physical, c(10))))
  }

  refuse(condition: Node): void {
    this.w.if(condition, () => this.w.return(c(1)))
  }

  /** Refuses unless all these registers are in use: a mask of FTW. */
  need(mask: Node): void {
    const tags = this.w.load('i32.load8_u', this.frame, STATE.FTW)
    this.refuse(n.no(n.equal(n.and(tags, mask), mask)))
  }

  bit(physical: Node): Node {
    return n.shl(4, c(1), physical)
  }

  read(at: Node): Value {
    return {
      m: this.w.load('i64.load', at, STATE.X87),
      se: this.w.load('i32.load16_u', at, STATE.X87 + 8),
    }
  }

  write(at: Node, { m, se }: Value): void {
    this.w.store('i64.store', at, STATE.X87, m)
    this.w.store('i32.store16', at, STATE.X87 + 8, se)
  }

  setStatus(value: Node): void {
    this.w.store('i32.store16', this.frame, STATE.FSW, value)
  }

  pop(top: Node): void {
    const tags = this.w.load('i32.load8_u', this.frame, STATE.FTW)
    this.w.store('i32.store8', this.frame, STATE.FTW, n.and(tags, n.xor(this.bit(top), c(0xff))))
    const status = this.w.load('i32.load16_u', this.frame, STATE.FSW)
    const next = n.shl(4, n.and(n.add(4, top, c(1)), c(7)), c(11))
    this.setStatus(n.or(n.and(status, c(0xffff & ~0x3800)), next))
  }

  /** What there is room for goes on the stack; status without C1 and `cleared`. */
  push(value: Value, cleared: number): void {
    const top = this.w.let(n.and(n.add(4, n.shr(4, this.status, c(11)), c(7)), c(7)))
    const tags = this.w.load('i32.load8_u', this.frame, STATE.FTW)
    this.refuse(not0(n.and(tags, this.bit(top))))
    this.w.store('i32.store8', this.frame, STATE.FTW, n.or(tags, this.bit(top)))
    this.setStatus(n.or(n.and(this.status, c(0xffff & ~(0x3800 | C1 | cleared))), n.shl(4, top, c(11))))
    this.write(this.at(top), value)
  }

  isZero({ m, se }: Value): Node {
    return n.isZero(n.or(m, n.to64(n.and(se, c(0x7fff)))))
  }

  /** Neither zero, denormal, infinite nor a NaN, and a number that the unit itself would make. */
  isNormal({ m, se }: Value): Node {
    const exponent = n.and(se, c(0x7fff))
    return n.both(n.bit(m, 63), n.below(n.and(n.sub(4, exponent, c(1)), c(0xffff)), c(0x7ffe)))
  }

  /** The operand that memory or a general register has the bits of. */
  converted(kind: Kind, bits: Node): Value {
    const { w } = this
    const [m, se] = [w.local(64), w.local(32)]
    if (kind === 'M32' || kind === 'M64') {
      const [fraction, exponents, least, top] = kind === 'M64' ? [52, 0x7ff, 15360, 63] : [23, 0xff, 16256, 31]
      const exponent = w.let(n.and(n.to32(n.shr(8, bits, c(fraction))), c(exponents)))
      const rest = w.let(n.and(bits, quad((1n << BigInt(fraction)) - 1n)))
      const sign = w.let(n.shl(4, n.and(n.to32(n.shr(8, bits, c(top))), c(1)), c(15)))
      this.refuse(n.equal(exponent, c(exponents)))
      w.if(
        n.isZero(exponent),
        () => {
          this.refuse(not0(rest))
          w.set(m, zero64)
          w.set(se, sign)
        },
        () => {
          w.set(m, n.or(n.shl(8, n.to64(rest), c(63 - fraction)), quad(INTEGER)))
          w.set(se, n.or(sign, n.add(4, exponent, c(least))))
        },
      )
      return { m, se }
    }
    w.set(m, zero64)
    w.set(se, c(0))
    w.if(not0(bits), () => {
      const sign = w.let(n.bit(bits, 63))
      const size = w.let(n.select(sign, n.sub(8, zero64, bits), bits))
      const zeros = w.let(n.to32(n.leadingZeros(8, size)))
      w.set(m, n.shl(8, size, zeros))
      w.set(se, n.or(n.shl(4, sign, c(15)), n.sub(4, c(BIAS + 63), zeros)))
    })
    return { m, se }
  }

  /** C1 goes, and with it what says that an exception waits: there is none. `more` is set. */
  settled(more?: Node): void {
    const kept = n.and(this.status, c(0xffff & ~(C1 | PENDING)))
    this.setStatus(more === undefined ? kept : n.or(kept, more))
  }

  /** Refuses unless all exceptions are masked; FCW. */
  control(): Node {
    const control = this.w.load('i32.load16_u', this.frame, STATE.FCW)
    this.refuse(n.no(n.equal(n.and(control, c(0x3f)), c(0x3f))))
    return control
  }
}

/** Does rounding go up, `rest` of 64 bits being cut off from a number that is odd or not? */
const roundsUp = (w: Writer, control: Node, sign: Node, rest: Node, odd: Node): Node => {
  const way = w.let(n.and(n.shr(4, control, c(10)), c(3)))
  const half = quad(INTEGER)
  const nearest = n.either(n.below(half, rest), n.both(n.equal(rest, half), odd))
  const directed = n.either(n.both(n.equal(way, c(1)), sign), n.both(n.equal(way, c(2)), n.no(sign)))
  return w.let(n.both(not0(rest), n.select(n.isZero(way), nearest, directed)))
}

/**
 * `round(frame, at, sign, exponent, high, low)`: the number high:low, its integer bit set, rounded as FCW says into the register
 * at `at`. What is below `low` is in its lowest bit.
 */
const writeRound = (module: Module): number => {
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
const product = (w: Writer, a: Node, b: Node): [Node, Node] => [w.let(n.mulHigh(8, a, b, false)), w.let(n.mul(8, a, b))]

/** `core(frame, at, am, ase, bm, bse)`: an operation of two numbers into the register at `at`. */
const writeCore = (module: Module, write: (u: Unit, at: Node, a: Value, b: Value) => void): number => {
  const { index, w, params } = begin(module, [32, 32, 64, 32, 64, 32], [32])
  const [frame, at, am, ase, bm, bse] = params as [Node, Node, Node, Node, Node, Node]
  write(new Unit(w, frame), at, { m: am, se: ase }, { m: bm, se: bse })
  return index
}

const signOf = (se: Node): Node => n.bit(se, 15)
const exponentOf = (se: Node): Node => n.and(se, c(0x7fff))

const writeAdd = (module: Module, round: number): number =>
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

const writeMultiply = (module: Module, round: number): number =>
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

const writeDivide = (module: Module, round: number): number =>
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

/** `arithmetic(frame, to, flags, value)`: ST(to) with what `value` is by its kind. */
const writeArithmetic = (module: Module, kind: Kind, core: number): number => {
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
const writeCompare = (module: Module, kind: Kind): number => {
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
const writeLoad = (module: Module, kind: Kind): number => {
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
const writeStore = (module: Module, kind: Kind): number => {
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

/** `squareRoot(frame)`: of ST(0). */
const writeSquareRoot = (module: Module, round: number): number => {
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
const writeRoundToInteger = (module: Module): number => {
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

/** What moves and says, without computing. Each clears C1 as the interpreter's does. */
const writeMoves = (module: Module): Record<string, number> => {
  const made: Record<string, number> = {}
  const write = (name: string, params: readonly (32 | 64)[], body: (u: Unit, ...rest: Node[]) => void): void => {
    const { index, w, params: nodes } = begin(module, [32, ...params], [32])
    body(new Unit(w, nodes[0]!), ...nodes.slice(1))
    w.put(c(0))
    made[name] = index
  }
  const clearC1 = (u: Unit): void => u.setStatus(n.and(u.status, c(0xffff & ~C1)))
  write('constant', [64, 32], (u, m, se) => u.push({ m: m!, se: se! }, 0))
  write('fxch', [32], (u, i) => {
    const top = u.top()
    const other = u.physical(top, i!)
    u.need(n.or(u.bit(top), u.bit(other)))
    const [first, second] = [u.at(top), u.at(other)]
    const [a, b] = [u.read(first), u.read(second)]
    u.write(first, b)
    u.write(second, a)
    clearC1(u)
  })
  write('fstReg', [32, 32], (u, i, pops) => {
    const top = u.top()
    const other = u.physical(top, i!)
    u.need(u.bit(top))
    const v = u.read(u.at(top))
    u.write(u.at(other), v)
    const tags = u.w.load('i32.load8_u', u.frame, STATE.FTW)
    u.w.store('i32.store8', u.frame, STATE.FTW, n.or(tags, u.bit(other)))
    clearC1(u)
    u.w.if(pops!, () => u.pop(top))
  })
  /** FCHS and FABS: exponent and sign AND one, XOR another number. */
  write('sign', [32, 32], (u, kept, turned) => {
    const top = u.top()
    u.need(u.bit(top))
    const at = u.at(top)
    const { se } = u.read(at)
    u.w.store('i32.store16', at, STATE.X87 + 8, n.xor(n.and(se, kept!), turned!))
    clearC1(u)
  })
  write('fcmov', [32, 32], (u, i, moves) => {
    const top = u.top()
    const other = u.physical(top, i!)
    u.need(n.or(u.bit(top), u.bit(other)))
    u.w.if(moves!, () => u.write(u.at(top), u.read(u.at(other))))
  })
  write('fpop', [], u => u.pop(u.top()))
  write('ffree', [32], (u, i) => {
    const tags = u.w.load('i32.load8_u', u.frame, STATE.FTW)
    u.w.store('i32.store8', u.frame, STATE.FTW, n.and(tags, n.xor(u.bit(u.physical(u.top(), i!)), c(0xff))))
  })
  write('turn', [32], (u, by) => {
    const next = n.shl(4, n.and(n.add(4, n.shr(4, u.status, c(11)), by!), c(7)), c(11))
    u.setStatus(n.or(n.and(u.status, c(0xffff & ~(C1 | 0x3800))), next))
  })
  write('fxam', [], u => {
    const top = u.top()
    const tags = u.w.load('i32.load8_u', u.frame, STATE.FTW)
    const v = u.read(u.at(top))
    const exponent = exponentOf(v.se)
    const isInfinite = n.isZero(n.shl(8, v.m, c(1)))
    const special = n.select(isInfinite, c(C2 | C0), c(C0))
    const whole = n.select(n.bit(v.m, 63), n.select(n.equal(exponent, c(0x7fff)), special, c(C2)), c(0))
    const least = n.select(n.isZero(v.m), c(C3), c(C3 | C2))
    const kind = n.select(n.isZero(exponent), least, whole)
    const used = n.and(tags, u.bit(top))
    const found = n.select(n.isZero(used), c(C3 | C0), kind)
    const kept = n.and(u.status, c(0xffff & ~(C0 | C1 | C2 | C3)))
    u.setStatus(n.or(n.or(kept, found), n.shl(4, signOf(v.se), c(9))))
  })
  write('fldcw', [32], (u, value) => {
    const control = u.w.let(n.or(n.and(value!, c(0x1f3f)), c(0x40)))
    u.w.store('i32.store16', u.frame, STATE.FCW, control)
    const waits = not0(n.and(n.and(u.status, n.xor(control, c(0xffff))), c(0x3f)))
    u.setStatus(n.or(n.and(u.status, c(0xffff & ~PENDING)), n.select(waits, c(PENDING), c(0))))
  })
  write('fnclex', [], u => u.setStatus(n.and(u.status, c(0x7f00))))
  return made
}

/** The module; its exports are the names of its functions: kinds of operands stand behind a dot. The memory is shared or is not. */
export const x87Module = (shared: boolean): Uint8Array<ArrayBuffer> => {
  const module = new Module()
  module.importMemory('env', 'memory', 1, 65536, shared)
  const round = writeRound(module)
  const cores = {
    add: writeAdd(module, round),
    mul: writeMultiply(module, round),
    div: writeDivide(module, round),
  }
  for (const kind of KINDS) {
    module.export(`ld.${kind}`, writeLoad(module, kind))
    if (kind !== 'ST') module.export(`st.${kind}`, writeStore(module, kind))
    if (kind === 'M80') continue
    for (const [name, core] of Object.entries(cores))
      module.export(`${name}.${kind}`, writeArithmetic(module, kind, core))
    module.export(`com.${kind}`, writeCompare(module, kind))
  }
  module.export('fsqrt', writeSquareRoot(module, round))
  module.export('frndint', writeRoundToInteger(module))
  for (const [name, index] of Object.entries(writeMoves(module))) module.export(name, index)
  return module.finish()
}
