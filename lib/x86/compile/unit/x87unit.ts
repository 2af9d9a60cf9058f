/** The x87 unit: what its functions are written with: registers, tags and status in the state frame, and operands as numbers. */
import { STATE } from '../../state.ts'
import type { Node } from '../node.ts'
import * as n from '../node.ts'
import type { Writer } from './writer.ts'

export const C0 = 0x100
export const C1 = 0x200
export const C2 = 0x400
export const C3 = 0x4000
/** ES and B, which nothing that is pending leaves clear. */
export const PENDING = 0x8080
export const INEXACT = 0x20
export const BIAS = 16383
export const INTEGER = 1n << 63n

/** Sources of operands, as FROM in x87.ts numbers them. */
export const KINDS = ['ST', 'M32', 'M64', 'M80', 'I16', 'I32', 'I64'] as const
export type Kind = (typeof KINDS)[number]

export const c = (value: number): Node => n.number(value)
export const quad = (value: bigint): Node => n.constant(value, 64)
export const zero64 = quad(0n)
export const not0 = (a: Node): Node => n.no(n.isZero(a))

/** The significand, and the exponent with the sign above it. */
export type Value = { readonly m: Node; readonly se: Node }

export const signOf = (se: Node): Node => n.bit(se, 15)
export const exponentOf = (se: Node): Node => n.and(se, c(0x7fff))

export class Unit {
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
export const roundsUp = (w: Writer, control: Node, sign: Node, rest: Node, odd: Node): Node => {
  const way = w.let(n.and(n.shr(4, control, c(10)), c(3)))
  const half = quad(INTEGER)
  const nearest = n.either(n.below(half, rest), n.both(n.equal(rest, half), odd))
  const directed = n.either(n.both(n.equal(way, c(1)), sign), n.both(n.equal(way, c(2)), n.no(sign)))
  return w.let(n.both(not0(rest), n.select(n.isZero(way), nearest, directed)))
}
