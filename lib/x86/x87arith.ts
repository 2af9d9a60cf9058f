/** What x87 instructions compute: arithmetic, comparisons, rounding and remainders. SDM Vol. 2A, under "F…". */
import type { Cpu } from './cpu.ts'
import {
  addSigned,
  type Control,
  compare,
  DENORMAL,
  DIVIDE,
  divide,
  EXTENDED,
  type Float,
  INVALID,
  indefinite,
  multiply,
  packInfinity,
  packZero,
  round,
  squareRoot,
  toInteger,
  unpack,
  ZERO,
} from './softfloat.ts'
import {
  bitsOf,
  C0,
  C1,
  C2,
  C3,
  FROM,
  fetch,
  isEmpty,
  nan,
  pop,
  push,
  setBits,
  settle,
  special,
  stackFault,
  start,
} from './x87.ts'

type Operation = (a: Float, b: Float, c: Control) => bigint
const binary =
  (of: Operation): Operation =>
  (a, b, c) =>
    special(a) || special(b) ? nan(a, b, c) : of(a, b, c)
const operations = {
  add: binary((a, b, c) => addSigned(EXTENDED, a, b, false, c)),
  sub: binary((a, b, c) => addSigned(EXTENDED, a, b, true, c)),
  subr: binary((a, b, c) => addSigned(EXTENDED, b, a, true, c)),
  mul: binary((a, b, c) => multiply(EXTENDED, a, b, c)),
  div: binary((a, b, c) => divide(EXTENDED, a, b, c)),
  divr: binary((a, b, c) => divide(EXTENDED, b, a, c)),
}
export type Arithmetic = keyof typeof operations

/** ST(to) = ST(to) op source, then pops. */
export const arithmetic = (
  cpu: Cpu,
  name: Arithmetic,
  to: number,
  from: number,
  value: bigint,
  pops: boolean,
): void => {
  const c = start(cpu)
  if (isEmpty(cpu, to) || (from === FROM.ST && isEmpty(cpu, Number(value)))) {
    if (!stackFault(cpu, false)) return
    setBits(cpu, to, indefinite(EXTENDED))
  } else {
    const result = operations[name](unpack(EXTENDED, bitsOf(cpu, to)), fetch(cpu, from, value), c)
    if (!settle(cpu, c)) return
    setBits(cpu, to, result)
  }
  if (pops) pop(cpu)
}

/** C3, C2 and C0 of a comparison; 0x4500 is unordered. */
const relation = (a: Float, b: Float, quiet: boolean, c: Control): number => {
  const order = compare(a, b)
  if (order === undefined) {
    const bad = (v: Float) => v.kind === 'signaling' || v.kind === 'unsupported' || (!quiet && v.kind === 'quiet')
    if (bad(a) || bad(b)) c.raised |= INVALID
    return C3 | C2 | C0
  }
  if (a.denormal || b.denormal) c.raised |= DENORMAL
  return order === 0 ? C3 : order < 0 ? C0 : 0
}
/** FCOM and its family: to the condition codes, or to ZF, PF and CF. */
export const comparison = (
  cpu: Cpu,
  from: number,
  value: bigint,
  { quiet = false, pops = 0, toFlags = false }: { quiet?: boolean; pops?: number; toFlags?: boolean },
): void => {
  const before = cpu.x87.fsw & C1
  const c = start(cpu, true)
  let result = C3 | C2 | C0
  let counted = pops
  if (isEmpty(cpu, 0) || (from === FROM.ST && isEmpty(cpu, Number(value)))) {
    // An unmasked invalid comparison still says "unordered" in FSW, as measured; flags and stack stay.
    if (!stackFault(cpu, false)) {
      if (toFlags) return
      counted = 0
    }
  } else {
    // With results in RFLAGS, C1 tells of nothing but a stack fault.
    if (toFlags) cpu.x87.fsw |= before
    result = relation(unpack(EXTENDED, bitsOf(cpu, 0)), fetch(cpu, from, value), quiet, c)
    if (!settle(cpu, c)) {
      if (toFlags || (c.raised & INVALID) === 0) return
      counted = 0
    }
  }
  if (toFlags) {
    cpu.cf = (result & C0) !== 0
    cpu.pf = (result & C2) !== 0
    cpu.zf = (result & C3) !== 0
    cpu.of = cpu.sf = cpu.af = false
  } else cpu.x87.fsw = (cpu.x87.fsw & ~(C3 | C2 | C0)) | result
  for (let n = 0; n < counted; n++) pop(cpu)
}

/** An operation on ST(0) alone. */
export const unary = (cpu: Cpu, of: (v: Float, c: Control) => bigint, wide = false): void => {
  const c = start(cpu, wide)
  if (isEmpty(cpu, 0)) {
    if (stackFault(cpu, false)) setBits(cpu, 0, indefinite(EXTENDED))
    return
  }
  const v = unpack(EXTENDED, bitsOf(cpu, 0))
  const result = special(v) ? nan(v, v, c) : of(v, c)
  if (settle(cpu, c)) setBits(cpu, 0, result)
}
export const squareRootOf = (v: Float, c: Control): bigint => squareRoot(EXTENDED, v, c)
/** FRNDINT. */
export const rounded = (v: Float, c: Control): bigint => {
  if (v.kind === 'infinity') return packInfinity(EXTENDED, v.sign)
  if (v.denormal) c.raised |= DENORMAL
  const value = toInteger(v, c) ?? 0n
  const { raised, roundedUp } = c
  const bits =
    value === 0n ? packZero(EXTENDED, v.sign) : round(EXTENDED, v.sign, 0, value < 0n ? -value : value, false, c)
  c.raised = raised
  c.roundedUp = roundedUp
  return bits
}

/** An operation of ST(0) and ST(1) into ST(0): FSCALE, FPREM. */
export const dyadic = (cpu: Cpu, of: (a: Float, b: Float, c: Control) => bigint): void => {
  const c = start(cpu, true)
  // Whatever keeps the operation from being done leaves nothing to go on with.
  if (of !== scale) cpu.x87.fsw &= ~C2
  if (isEmpty(cpu, 0) || isEmpty(cpu, 1)) {
    if (stackFault(cpu, false)) setBits(cpu, 0, indefinite(EXTENDED))
    return
  }
  const [a, b] = [unpack(EXTENDED, bitsOf(cpu, 0)), unpack(EXTENDED, bitsOf(cpu, 1))]
  const result = special(a) || special(b) ? nan(a, b, c) : of(a, b, c)
  if (settle(cpu, c)) setBits(cpu, 0, result)
}
const invalid = (c: Control): bigint => {
  c.raised |= INVALID
  return indefinite(EXTENDED)
}
/** FSCALE: by a power of two, the whole part of ST(1). */
export const scale: Operation = (a, b, c) => {
  if (b.kind === 'infinity') {
    if ((a.kind === 'zero' && !b.sign) || (a.kind === 'infinity' && b.sign)) return invalid(c)
    if (a.denormal) c.raised |= DENORMAL
    return b.sign ? packZero(EXTENDED, a.sign) : packInfinity(EXTENDED, a.sign)
  }
  if (a.denormal || b.denormal) c.raised |= DENORMAL
  if (a.kind === 'zero') return packZero(EXTENDED, a.sign)
  if (a.kind === 'infinity') return packInfinity(EXTENDED, a.sign)
  const by = toInteger(b, { ...c, rounding: ZERO }) ?? 0n
  const limited = by > 70000n ? 70000 : by < -70000n ? -70000 : Number(by)
  return round(EXTENDED, a.sign, a.exponent + limited, a.significand, false, c)
}
/** FPREM (quotient cut) and FPREM1 (to the nearest): C2 where the exponents differ too much for one step. */
export const remainder =
  (cpu: Cpu, nearest: boolean): Operation =>
  (a, b, c) => {
    const { x87 } = cpu
    if (a.kind === 'infinity' || b.kind === 'zero') return invalid(c)
    if (a.denormal || b.denormal) c.raised |= DENORMAL
    x87.fsw &= ~(C0 | C1 | C2 | C3)
    if (a.kind === 'zero') return packZero(EXTENDED, a.sign)
    if (b.kind === 'infinity') return round(EXTENDED, a.sign, a.exponent, a.significand, false, c)
    const length = (v: Float) => v.significand.toString(2).length + v.exponent
    const distance = length(a) - length(b)
    const exponent = Math.min(a.exponent, b.exponent)
    const divisor = b.significand << BigInt(b.exponent - exponent)
    const dividend = a.significand << BigInt(a.exponent - exponent)
    if (distance >= 64) {
      // A step takes between 32 and 63 bits off; the rest is left for the next.
      const part = divisor << BigInt(distance - 63)
      x87.fsw |= C2
      const rest = dividend % part
      return rest === 0n ? packZero(EXTENDED, a.sign) : round(EXTENDED, a.sign, exponent, rest, false, c)
    }
    let quotient = dividend / divisor
    let rest = dividend % divisor
    let { sign } = a
    if (nearest && (2n * rest > divisor || (2n * rest === divisor && (quotient & 1n) === 1n))) {
      quotient++
      rest = divisor - rest
      sign = !sign
    }
    x87.fsw |= (quotient & 4n ? C0 : 0) | (quotient & 2n ? C3 : 0) | (quotient & 1n ? C1 : 0)
    return rest === 0n ? packZero(EXTENDED, a.sign) : round(EXTENDED, sign, exponent, rest, false, c)
  }

/** FXTRACT: ST(0) becomes the exponent, and the significand is pushed. */
export const extract = (cpu: Cpu): void => {
  const c = start(cpu, true)
  if (isEmpty(cpu, 0)) {
    if (!stackFault(cpu, false)) return
    setBits(cpu, 0, indefinite(EXTENDED))
    push(cpu, indefinite(EXTENDED))
    return
  }
  if (!isEmpty(cpu, 7)) {
    if (!stackFault(cpu, true)) return
    setBits(cpu, 0, indefinite(EXTENDED))
    push(cpu, indefinite(EXTENDED))
    return
  }
  const v = unpack(EXTENDED, bitsOf(cpu, 0))
  let [exponent, significand] = [0n, 0n]
  if (special(v)) exponent = significand = nan(v, v, c)
  else if (v.kind === 'infinity')
    [exponent, significand] = [packInfinity(EXTENDED, false), packInfinity(EXTENDED, v.sign)]
  else if (v.kind === 'zero') {
    c.raised |= DIVIDE
    ;[exponent, significand] = [packInfinity(EXTENDED, true), packZero(EXTENDED, v.sign)]
  } else {
    if (v.denormal) c.raised |= DENORMAL
    const length = v.significand.toString(2).length
    const power = v.exponent + length - 1
    exponent = round(EXTENDED, power < 0, 0, BigInt(Math.abs(power)), false, c)
    significand = round(EXTENDED, v.sign, 1 - length, v.significand, false, c)
  }
  if (!settle(cpu, c)) return
  setBits(cpu, 0, exponent)
  push(cpu, significand)
}

/** FXAM: what ST(0) is, empty or not. */
export const examine = (cpu: Cpu): void => {
  const bits = bitsOf(cpu, 0)
  const v = unpack(EXTENDED, bits)
  const kinds = { zero: C3, finite: C2, infinity: C2 | C0, quiet: C0, signaling: C0, unsupported: 0 }
  const kind = isEmpty(cpu, 0) ? C3 | C0 : v.denormal ? C3 | C2 : kinds[v.kind]
  cpu.x87.fsw = (cpu.x87.fsw & ~(C0 | C1 | C2 | C3)) | kind | ((bits >> 79n) & 1n ? C1 : 0)
}
