/** The x87's transcendental instructions: ranges, special values and the stack. SDM Vol. 2A, under their names. */
import type { Cpu } from './cpu.ts'
import {
  type Control,
  DENORMAL,
  DIVIDE,
  EXTENDED,
  type Float,
  INEXACT,
  INVALID,
  indefinite,
  packInfinity,
  packZero,
  round,
  unpack,
} from './softfloat.ts'
import { angle, eighths, exponential, type Real, scaledLog, scaledLog1, sincos, tangent } from './transcendental.ts'
import { bitsOf, C2, isEmpty, nan, pop, push, setBits, settle, special, stackFault, start } from './x87.ts'

/** Powers of two that come out exactly are reported as inexact all the same, as measured. */
const rounded = (r: Real, c: Control): bigint => {
  if (r.significand !== 0n) c.raised |= INEXACT
  return round(EXTENDED, r.sign, r.exponent, r.significand, !r.exact, c)
}
const invalid = (c: Control): bigint => {
  c.raised |= INVALID
  return indefinite(EXTENDED)
}
const signed = (infinite: boolean, sign: boolean): bigint => (infinite ? packInfinity : packZero)(EXTENDED, sign)
/** Exponent of the leading bit. */
const magnitude = (v: Float): number => v.exponent + v.significand.toString(2).length - 1
const noteDenormals = (c: Control, ...values: readonly Float[]): void => {
  if (values.some(v => v.denormal)) c.raised |= DENORMAL
}
/** Is ±v 1 * 2^0? */
const isOne = (v: Float): boolean => magnitude(v) === 0 && (v.significand & (v.significand - 1n)) === 0n

// Of ST(0) alone

const alone = (cpu: Cpu, of: (v: Float, c: Control) => bigint): void => {
  const c = start(cpu, true)
  if (isEmpty(cpu, 0)) {
    if (stackFault(cpu, false)) setBits(cpu, 0, indefinite(EXTENDED))
    return
  }
  const v = unpack(EXTENDED, bitsOf(cpu, 0))
  const result = special(v) ? nan(v, v, c) : of(v, c)
  if (settle(cpu, c)) setBits(cpu, 0, result)
}

/** The range is -1 to 1; beyond it the operand stays, where the SDM leaves the result undefined. */
export const f2xm1 = (cpu: Cpu): void =>
  alone(cpu, (v, c) => {
    if (v.kind === 'zero') return packZero(EXTENDED, v.sign)
    if (v.kind === 'infinity') return v.sign ? round(EXTENDED, true, 0, 1n, false, c) : packInfinity(EXTENDED, false)
    noteDenormals(c, v)
    if (isOne(v)) return rounded({ sign: v.sign, exponent: v.sign ? -1 : 0, significand: 1n, exact: true }, c)
    if (magnitude(v) >= 0) return rounded({ ...v, exact: true }, c)
    return rounded(exponential(v), c)
  })

/** C2 says that the operand is 2^63 or more and stays as it is. */
const outOfRange = (cpu: Cpu, v: Float): boolean => {
  if (v.kind !== 'finite' || magnitude(v) < 63) {
    cpu.x87.fsw &= ~C2
    return false
  }
  cpu.x87.fsw |= C2
  return true
}
const circular = (cpu: Cpu, of: (v: Float, c: Control) => bigint): void => {
  if (isEmpty(cpu, 0) || !outOfRange(cpu, unpack(EXTENDED, bitsOf(cpu, 0)))) alone(cpu, of)
  else start(cpu, true)
}
const sine = (v: Float, c: Control): bigint =>
  v.kind === 'zero' ? packZero(EXTENDED, v.sign) : rounded(sincos(v).sine, c)
const cosine = (v: Float, c: Control): bigint =>
  v.kind === 'zero' ? round(EXTENDED, false, 0, 1n, false, c) : rounded(sincos(v).cosine, c)

export const fsin = (cpu: Cpu): void =>
  circular(cpu, (v, c) => {
    if (v.kind === 'infinity') return invalid(c)
    noteDenormals(c, v)
    return sine(v, c)
  })
export const fcos = (cpu: Cpu): void =>
  circular(cpu, (v, c) => {
    if (v.kind === 'infinity') return invalid(c)
    noteDenormals(c, v)
    return cosine(v, c)
  })

/** Two results: one for ST(0), and one to be pushed. */
const twofold = (cpu: Cpu, of: (v: Float, c: Control) => readonly [kept: bigint, pushed: bigint]): void => {
  const c = start(cpu, true)
  const empty = isEmpty(cpu, 0)
  if (empty || !isEmpty(cpu, 7)) {
    if (!stackFault(cpu, !empty)) return
    setBits(cpu, 0, indefinite(EXTENDED))
    push(cpu, indefinite(EXTENDED))
    return
  }
  const v = unpack(EXTENDED, bitsOf(cpu, 0))
  if (outOfRange(cpu, v)) return
  const both = (bits: bigint) => [bits, bits] as const
  const [kept, pushed] = special(v) ? both(nan(v, v, c)) : v.kind === 'infinity' ? both(invalid(c)) : of(v, c)
  if (!settle(cpu, c)) return
  setBits(cpu, 0, kept)
  push(cpu, pushed)
}
export const fsincos = (cpu: Cpu): void =>
  twofold(cpu, (v, c) => {
    noteDenormals(c, v)
    // C1 and the exceptions are those of both; the sine decides which way C1 says.
    const second = cosine(v, c)
    return [sine(v, c), second]
  })
export const fptan = (cpu: Cpu): void =>
  twofold(cpu, (v, c) => {
    noteDenormals(c, v)
    const { rounding } = c
    const one = round(EXTENDED, false, 0, 1n, false, { ...c, rounding })
    return [v.kind === 'zero' ? packZero(EXTENDED, v.sign) : rounded(tangent(v), c), one]
  })

// Of ST(0) and ST(1), into ST(1), which becomes the top

const joined = (cpu: Cpu, of: (x: Float, y: Float, c: Control) => bigint): void => {
  const c = start(cpu, true)
  if (isEmpty(cpu, 0) || isEmpty(cpu, 1)) {
    if (!stackFault(cpu, false)) return
    setBits(cpu, 1, indefinite(EXTENDED))
  } else {
    const [x, y] = [unpack(EXTENDED, bitsOf(cpu, 0)), unpack(EXTENDED, bitsOf(cpu, 1))]
    const result = special(x) || special(y) ? nan(x, y, c) : of(x, y, c)
    if (!settle(cpu, c)) return
    setBits(cpu, 1, result)
  }
  pop(cpu)
}

/** y times a logarithm that is infinite, or y infinite and the logarithm not 0. */
const infinitely = (y: Float, sign: boolean, c: Control): bigint =>
  y.kind === 'zero' ? invalid(c) : packInfinity(EXTENDED, y.sign !== sign)

export const fyl2x = (cpu: Cpu): void =>
  joined(cpu, (x, y, c) => {
    if (x.kind === 'zero') {
      if (y.kind === 'finite') c.raised |= DIVIDE
      return infinitely(y, true, c)
    }
    if (x.sign) return invalid(c)
    if (x.kind === 'infinity') {
      if (y.kind !== 'zero') noteDenormals(c, y)
      return infinitely(y, false, c)
    }
    if (y.kind === 'infinity') {
      if (isOne(x)) return invalid(c)
      noteDenormals(c, x)
      return infinitely(y, magnitude(x) < 0, c)
    }
    noteDenormals(c, x, y)
    if (y.kind === 'zero') return packZero(EXTENDED, y.sign !== magnitude(x) < 0)
    return rounded(scaledLog(x, y), c)
  })

/** The range is -(1 - sqrt(1/2)) to sqrt(2) - 1; from -1 down, where the SDM leaves it undefined, the operand stays. */
export const fyl2xp1 = (cpu: Cpu): void =>
  joined(cpu, (x, y, c) => {
    if (x.kind === 'infinity') return x.sign ? invalid(c) : infinitely(y, false, c)
    if (x.kind === 'zero') {
      if (y.kind === 'infinity') return invalid(c)
      noteDenormals(c, y)
      return packZero(EXTENDED, x.sign !== y.sign)
    }
    noteDenormals(c, x, y)
    if (y.kind !== 'finite') return signed(y.kind === 'infinity', x.sign !== y.sign)
    if (x.sign && magnitude(x) >= 0) return rounded({ ...x, exact: true }, c)
    return rounded(scaledLog1(x, y), c)
  })

export const fpatan = (cpu: Cpu): void =>
  joined(cpu, (x, y, c) => {
    const turn = (n: number): bigint => rounded(eighths(y.sign, n), c)
    if (y.kind === 'infinity') {
      if (x.kind !== 'infinity') noteDenormals(c, x)
      return turn(x.kind !== 'infinity' ? 2 : x.sign ? 3 : 1)
    }
    noteDenormals(c, x, y)
    if (x.kind === 'infinity' || y.kind === 'zero') return x.sign ? turn(4) : packZero(EXTENDED, y.sign)
    if (x.kind === 'zero') return turn(2)
    return rounded(angle(y, x), c)
  })
