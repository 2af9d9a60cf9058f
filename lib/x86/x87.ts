/** The x87 unit: its register stack, its exceptions, and what its instructions compute. SDM Vol. 1, "Programming with the x87 FPU". */
import { VECTOR_MF } from '#abi'
import type { Cpu } from './cpu.ts'
import {
  addSigned,
  type Control,
  compare,
  convert,
  DENORMAL,
  DIVIDE,
  DOUBLE,
  divide,
  EXTENDED,
  type Float,
  type Format,
  finite,
  INEXACT,
  INVALID,
  indefinite,
  isNaN_,
  multiply,
  OVERFLOW,
  packInfinity,
  packNaN,
  packZero,
  type Rounding,
  round,
  SINGLE,
  squareRoot,
  toInteger,
  UNDERFLOW,
  unpack,
  ZERO,
} from './softfloat.ts'

// FSW. SDM Vol. 1, "x87 FPU Status Register".
const SF = 0x40
const ES = 0x80
const B = 0x8000
export const C0 = 0x100
export const C1 = 0x200
export const C2 = 0x400
export const C3 = 0x4000
const BEFORE = INVALID | DENORMAL | DIVIDE

/** Where an operand comes from: ST(i), or memory of a format. */
export const FROM = { ST: 0, M32: 1, M64: 2, M80: 3, I16: 4, I32: 5, I64: 6 } as const

const control: Control = {
  rounding: 0,
  masks: 0,
  flushToZero: false,
  denormalsAreZero: false,
  precision: 0,
  raised: 0,
  roundedUp: false,
}
/** The rules of FCW for one instruction. `wide` ignores precision control, as loads and stores do. */
export const start = (cpu: Cpu, wide = false): Control => {
  const { fcw } = cpu.x87
  control.rounding = ((fcw >> 10) & 3) as Rounding
  control.masks = fcw & 0x3f
  control.precision = wide ? 0 : [24, 0, 53, 0][(fcw >> 8) & 3]!
  control.raised = 0
  control.roundedUp = false
  cpu.x87.fsw &= ~C1
  return control
}

/**
 * #NM, #UD, and a pending exception of an instruction before.
 * Not modelled: the x87 instruction and data pointers and the opcode, which stay what FLDENV and its like put there.
 */
export const wait = (cpu: Cpu): void => {
  cpu.requireX87()
  if ((cpu.x87.fsw & ES) !== 0) cpu.raise(VECTOR_MF)
}

// Registers

export const physical = (cpu: Cpu, i: number): number => (((cpu.x87.fsw >> 11) & 7) + i) & 7
export const isEmpty = (cpu: Cpu, i: number): boolean => (cpu.x87.ftw & (1 << physical(cpu, i))) === 0
export const bitsOf = (cpu: Cpu, i: number): bigint => {
  const at = physical(cpu, i) * 10
  let value = 0n
  for (let n = 9; n >= 0; n--) value = (value << 8n) | BigInt(cpu.x87.regs[at + n]!)
  return value
}
export const setBits = (cpu: Cpu, i: number, value: bigint): void => {
  const p = physical(cpu, i)
  for (let n = 0, rest = value; n < 10; n++, rest >>= 8n) cpu.x87.regs[p * 10 + n] = Number(rest & 0xffn)
  cpu.x87.ftw |= 1 << p
}
const moveTop = (cpu: Cpu, by: number): void => {
  const { x87 } = cpu
  x87.fsw = (x87.fsw & ~0x3800) | ((((x87.fsw >> 11) + by) & 7) << 11)
}
export const free = (cpu: Cpu, i: number): void => {
  cpu.x87.ftw &= ~(1 << physical(cpu, i))
}
export const pop = (cpu: Cpu): void => {
  free(cpu, 0)
  moveTop(cpu, 1)
}

// Exceptions

/** Takes what the operation found to FSW. False: an unmasked exception keeps the operands as they are. */
export const settle = (cpu: Cpu, c: Control, toMemory = false): boolean => {
  const { x87 } = cpu
  const unmasked = c.raised & ~c.masks & 0x3f
  const stopped = (unmasked & (toMemory ? BEFORE | OVERFLOW | UNDERFLOW : BEFORE)) !== 0
  // What is found before anything is computed hides what would be found after.
  const seen = (unmasked & BEFORE) !== 0 ? c.raised & BEFORE : c.raised
  x87.fsw |= seen
  if (!stopped && c.roundedUp && (seen & INEXACT) !== 0) x87.fsw |= C1
  pending(cpu)
  return !stopped
}
/** ES and B follow from the flags and the masks. */
export const pending = (cpu: Cpu): void => {
  const { x87 } = cpu
  if ((x87.fsw & ~x87.fcw & 0x3f) !== 0) x87.fsw |= ES | B
  else x87.fsw &= ~(ES | B)
}
/** A stack fault: false where it is not masked. */
const stackFault = (cpu: Cpu, overflow: boolean): boolean => {
  const { x87 } = cpu
  x87.fsw = (x87.fsw & ~C1) | INVALID | SF | (overflow ? C1 : 0)
  pending(cpu)
  return (x87.fcw & INVALID) !== 0
}

/** Puts a value on the stack; the register has to be empty. */
const push = (cpu: Cpu, value: bigint): void => {
  moveTop(cpu, -1)
  setBits(cpu, 0, value)
}
/** Is there room? If not, a masked fault leaves the indefinite NaN there. */
const room = (cpu: Cpu): boolean => {
  if (isEmpty(cpu, 7)) return true
  if (stackFault(cpu, true)) push(cpu, indefinite(EXTENDED))
  return false
}

const FORMATS: readonly Format[] = [EXTENDED, SINGLE, DOUBLE, EXTENDED]
const INTEGER_BITS = [0, 0, 0, 0, 16, 32, 64]
const isInteger = (from: number): boolean => from >= FROM.I16
const whole = (value: bigint): Float => finite(value < 0n, 0, value < 0n ? -value : value)

/** An operand, its bits as extended precision and its value. NaNs of narrower formats are widened as they are. */
const fetch = (cpu: Cpu, from: number, value: bigint): Float => {
  if (from === FROM.ST) return unpack(EXTENDED, bitsOf(cpu, Number(value)))
  if (isInteger(from)) return whole(BigInt.asIntN(INTEGER_BITS[from]!, value))
  const format = FORMATS[from]!
  const v = unpack(format, value)
  return isNaN_(v) ? { ...v, significand: v.significand << BigInt(63 - format.fractionBits) } : v
}

/** Which NaN an operation of two operands gives. SDM Vol. 1, "Rules for Handling NaNs". */
const nan = (a: Float, b: Float, c: Control): bigint => {
  if (a.kind === 'unsupported' || b.kind === 'unsupported') {
    c.raised |= INVALID
    return indefinite(EXTENDED)
  }
  if (a.kind === 'signaling' || b.kind === 'signaling') c.raised |= INVALID
  const pick = (): Float => {
    if (!isNaN_(a)) return b
    if (!isNaN_(b)) return a
    if (a.kind !== b.kind) return a.kind === 'quiet' ? a : b
    if (a.significand !== b.significand) return a.significand > b.significand ? a : b
    return a.sign ? b : a
  }
  return packNaN(EXTENDED, pick(), EXTENDED)
}
const special = (v: Float): boolean => isNaN_(v) || v.kind === 'unsupported'

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

/** FLD, FILD: onto the stack. Only narrower formats can be invalid or denormal. */
export const load = (cpu: Cpu, from: number, value: bigint): void => {
  const c = start(cpu, true)
  if (from === FROM.ST && isEmpty(cpu, Number(value))) {
    if (stackFault(cpu, false)) push(cpu, indefinite(EXTENDED))
    return
  }
  if (from === FROM.ST || from === FROM.M80) {
    const bits = from === FROM.ST ? bitsOf(cpu, Number(value)) : value
    if (room(cpu)) push(cpu, bits)
    return
  }
  if (!room(cpu)) return
  const format = isInteger(from) ? EXTENDED : FORMATS[from]!
  const v = isInteger(from) ? fetch(cpu, from, value) : unpack(format, value)
  const bits = convert(EXTENDED, v, format, c)
  if (settle(cpu, c)) push(cpu, bits)
}

/** What FST and FIST write, or undefined where an unmasked exception keeps memory as it is. */
export const stored = (cpu: Cpu, to: number, truncate: boolean): bigint | undefined => {
  const c = start(cpu, true)
  const empty = isEmpty(cpu, 0)
  if (empty && !stackFault(cpu, false)) return undefined
  if (isInteger(to)) {
    const wide = INTEGER_BITS[to]!
    if (empty) return 1n << BigInt(wide - 1)
    if (truncate) c.rounding = ZERO
    const value = toInteger(unpack(EXTENDED, bitsOf(cpu, 0)), c)
    if (value === undefined || BigInt.asIntN(wide, value) !== value) {
      c.raised = INVALID
      c.roundedUp = false
      return settle(cpu, c, true) ? 1n << BigInt(wide - 1) : undefined
    }
    return settle(cpu, c, true) ? BigInt.asUintN(wide, value) : undefined
  }
  const format = FORMATS[to]!
  if (empty) return indefinite(format)
  if (to === FROM.M80) return bitsOf(cpu, 0)
  const result = convert(format, unpack(EXTENDED, bitsOf(cpu, 0)), EXTENDED, c)
  c.raised &= ~DENORMAL
  return settle(cpu, c, true) ? result : undefined
}

/** FST ST(i): a copy of the bits. */
export const copy = (cpu: Cpu, to: number, pops: boolean): void => {
  start(cpu, true)
  if (isEmpty(cpu, 0)) {
    if (!stackFault(cpu, false)) return
    setBits(cpu, to, indefinite(EXTENDED))
  } else setBits(cpu, to, bitsOf(cpu, 0))
  if (pops) pop(cpu)
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

/** The constants to 128 significant bits: FLD1, FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2, FLDZ. */
const CONSTANTS: Record<string, bigint> = {
  fldl2t: 33219280948873623478703194294893901758648313930245806120547563958n,
  fldl2e: 14426950408889634073599246810018921374266459541529859341354494069n,
  fldpi: 31415926535897932384626433832795028841971693993751058209749445923n,
  fldlg2: 3010299956639811952137388947244930267681898814621085413104274611n,
  fldln2: 6931471805599453094172321214581765680755001343602552541206800095n,
}
const TENS = 10n ** 64n
export const constant = (cpu: Cpu, name: string): void => {
  const c = start(cpu, true)
  const digits = CONSTANTS[name]
  const scaled = digits === undefined ? 1n : (digits << 128n) / TENS
  const bits =
    name === 'fldz'
      ? 0n
      : digits === undefined
        ? round(EXTENDED, false, 0, 1n, false, c)
        : round(EXTENDED, false, -128, scaled, true, c)
  if (room(cpu)) push(cpu, bits)
}

/** FBLD and FBSTP: 18 decimal digits and a sign. SDM Vol. 1, "BCD and Packed BCD Integers". */
export const loadDecimal = (cpu: Cpu, bits: bigint): void => {
  const c = start(cpu, true)
  let value = 0n
  for (let n = 17n; n >= 0n; n--) value = value * 10n + ((bits >> (4n * n)) & 15n)
  if (room(cpu)) push(cpu, round(EXTENDED, ((bits >> 79n) & 1n) === 1n, 0, value, false, c))
}
const DECIMAL_INDEFINITE = 0xffff_c000_0000_0000_0000n
export const storedDecimal = (cpu: Cpu): bigint | undefined => {
  const c = start(cpu, true)
  if (isEmpty(cpu, 0)) return stackFault(cpu, false) ? DECIMAL_INDEFINITE : undefined
  const v = unpack(EXTENDED, bitsOf(cpu, 0))
  const value = toInteger(v, c)
  const size = value === undefined ? 0n : value < 0n ? -value : value
  if (value === undefined || size >= 10n ** 18n) {
    c.raised = INVALID
    c.roundedUp = false
    return settle(cpu, c, true) ? DECIMAL_INDEFINITE : undefined
  }
  if (!settle(cpu, c, true)) return undefined
  let bits = v.sign ? 1n << 79n : 0n
  for (let n = 0n, rest = size; rest !== 0n; n++, rest /= 10n) bits |= (rest % 10n) << (4n * n)
  return bits
}

/** FXCH. */
export const exchange = (cpu: Cpu, i: number): void => {
  start(cpu, true)
  for (const n of [0, i])
    if (isEmpty(cpu, n)) {
      if (!stackFault(cpu, false)) return
      setBits(cpu, n, indefinite(EXTENDED))
    }
  const [a, b] = [bitsOf(cpu, 0), bitsOf(cpu, i)]
  setBits(cpu, 0, b)
  setBits(cpu, i, a)
}
/** FCMOVcc where it moves: ST(i) to ST(0). */
export const conditional = (cpu: Cpu, i: number, moves: boolean): void => {
  if (isEmpty(cpu, 0) || isEmpty(cpu, i)) {
    if (stackFault(cpu, false)) setBits(cpu, 0, indefinite(EXTENDED))
  } else if (moves) setBits(cpu, 0, bitsOf(cpu, i))
}
/** FABS and FCHS: only the sign, whatever the value. */
export const sign = (cpu: Cpu, change: (bits: bigint) => bigint): void => {
  start(cpu, true)
  if (isEmpty(cpu, 0)) {
    if (stackFault(cpu, false)) setBits(cpu, 0, indefinite(EXTENDED))
  } else setBits(cpu, 0, change(bitsOf(cpu, 0)))
}
export const turn = (cpu: Cpu, by: number): void => {
  start(cpu, true)
  moveTop(cpu, by)
}
