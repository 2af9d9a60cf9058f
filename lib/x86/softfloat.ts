/**
 * Binary floating point of any format, exact and then rounded once: what SSE, AVX and the x87 compute with.
 * IEEE 754, and SDM Vol. 1, "Programming with SSE" and "Programming with the x87 FPU", for what x86 adds to it.
 */

/** A format: bits of the exponent field and of the significand without its integer bit. */
export type Format = {
  readonly exponentBits: number
  readonly fractionBits: number
  /** The integer bit is stored: double extended precision. */
  readonly explicit: boolean
}
export const HALF: Format = { exponentBits: 5, fractionBits: 10, explicit: false }
export const SINGLE: Format = { exponentBits: 8, fractionBits: 23, explicit: false }
export const DOUBLE: Format = { exponentBits: 11, fractionBits: 52, explicit: false }
export const EXTENDED: Format = { exponentBits: 15, fractionBits: 63, explicit: true }

/** Rounding control as MXCSR.RC and FCW.RC encode it. */
export const NEAREST = 0
export const DOWN = 1
export const UP = 2
export const ZERO = 3
export type Rounding = 0 | 1 | 2 | 3

/** Exceptions, in the order of their bits in MXCSR and FSW. */
export const INVALID = 1
export const DENORMAL = 2
export const DIVIDE = 4
export const OVERFLOW = 8
export const UNDERFLOW = 16
export const INEXACT = 32

/** What an operation is told, and what it says back by setting bits of `raised`. */
export type Control = {
  rounding: Rounding
  /** Mask bits, as the exceptions. */
  masks: number
  /** Denormal results of a masked underflow become zero: MXCSR.FTZ. */
  flushToZero: boolean
  /** Denormal operands are taken as zero: MXCSR.DAZ. */
  denormalsAreZero: boolean
  /** Significand bits that results are rounded to, where fewer than the format has: FCW.PC. 0: the format's own. */
  precision: number
  raised: number
  /** The rounding of the last result went away from zero: C1. */
  roundedUp: boolean
}

export type Kind = 'zero' | 'finite' | 'infinity' | 'quiet' | 'signaling' | 'unsupported'
/** A value: for 'finite' it is (-1)^sign * significand * 2^exponent, with an integer significand. NaNs keep their fraction. */
export type Float = {
  readonly kind: Kind
  readonly sign: boolean
  readonly exponent: number
  readonly significand: bigint
  readonly denormal: boolean
}

const bias = (f: Format): number => (1 << (f.exponentBits - 1)) - 1
const fields = Array.from({ length: 130 }, (_, n) => (1n << BigInt(n)) - 1n)
const field = (n: number): bigint => fields[n] ?? (1n << BigInt(n)) - 1n
const signBits = Array.from({ length: 80 }, (_, n) => 1n << BigInt(n))
const signBit = (f: Format): bigint => signBits[f.exponentBits + f.fractionBits + (f.explicit ? 1 : 0)]!
/** Binary digits; 1 of zero. */
const lengthOf = (n: bigint): number => {
  let [rest, length] = [n, 0]
  while (rest > 0xffff_ffffn) {
    rest >>= 32n
    length += 32
  }
  return length + (rest === 0n ? 1 : 32 - Math.clz32(Number(rest)))
}

export const zeroOf = (sign: boolean): Float => ({ kind: 'zero', sign, exponent: 0, significand: 0n, denormal: false })
export const finite = (sign: boolean, exponent: number, significand: bigint): Float =>
  significand === 0n ? zeroOf(sign) : { kind: 'finite', sign, exponent, significand, denormal: false }

const INTEGER_BIT = 1n << 63n
/** An ordinary number of the x87's registers, which most are. */
const unpackExtended = (bits: bigint): Float | undefined => {
  const high = Number(bits >> 64n)
  const exponent = high & 0x7fff
  const significand = BigInt.asUintN(64, bits)
  if (exponent === 0 || exponent === 0x7fff || significand < INTEGER_BIT) return undefined
  return { kind: 'finite', sign: high > 0x7fff, exponent: exponent - 16383 - 63, significand, denormal: false }
}

/** The value of `bits`. */
export const unpack = (f: Format, bits: bigint): Float => {
  const ordinary = f.explicit ? unpackExtended(bits) : undefined
  if (ordinary !== undefined) return ordinary
  const sign = (bits & signBit(f)) !== 0n
  const stored = f.fractionBits + (f.explicit ? 1 : 0)
  const exponent = Number((bits >> BigInt(stored)) & field(f.exponentBits))
  const fraction = bits & field(f.fractionBits)
  const integer = f.explicit ? (bits >> BigInt(f.fractionBits)) & 1n : exponent === 0 ? 0n : 1n
  const significand = fraction | (integer << BigInt(f.fractionBits))
  const special = exponent === 2 ** f.exponentBits - 1
  if (f.explicit && exponent !== 0 && integer === 0n)
    return { kind: 'unsupported', sign, exponent: 0, significand, denormal: false }
  if (special) {
    const kind = fraction === 0n ? 'infinity' : (fraction >> BigInt(f.fractionBits - 1)) & 1n ? 'quiet' : 'signaling'
    return { kind, sign, exponent: 0, significand: fraction, denormal: false }
  }
  if (significand === 0n) return zeroOf(sign)
  const denormal = exponent === 0
  return { kind: 'finite', sign, exponent: (denormal ? 1 : exponent) - bias(f) - f.fractionBits, significand, denormal }
}

const assemble = (f: Format, sign: boolean, exponent: number, significand: bigint): bigint => {
  const stored = f.fractionBits + (f.explicit ? 1 : 0)
  return (sign ? signBit(f) : 0n) | (BigInt(exponent) << BigInt(stored)) | (significand & field(stored))
}
export const packZero = (f: Format, sign: boolean): bigint => assemble(f, sign, 0, 0n)
export const packInfinity = (f: Format, sign: boolean): bigint =>
  assemble(f, sign, 2 ** f.exponentBits - 1, 1n << BigInt(f.fractionBits))
/** The default NaN: QNaN floating-point indefinite. */
export const indefinite = (f: Format): bigint =>
  assemble(f, true, 2 ** f.exponentBits - 1, 3n << BigInt(f.fractionBits - 1))
/** A NaN of `from` as a quiet NaN of `to`: the fraction keeps its upper bits. */
export const packNaN = (to: Format, nan: Float, from: Format): bigint => {
  const shift = BigInt(to.fractionBits - from.fractionBits)
  const fraction = shift >= 0n ? nan.significand << shift : nan.significand >> -shift
  return assemble(to, nan.sign, 2 ** to.exponentBits - 1, fraction | (3n << BigInt(to.fractionBits - 1)))
}
export const isNaN_ = (v: Float): boolean => v.kind === 'quiet' || v.kind === 'signaling'

const largest = (f: Format): bigint => field(f.fractionBits + 1)

/** Does `rounding` go away from zero, given what was cut off? */
const away = (rounding: Rounding, sign: boolean, odd: boolean, half: -1 | 0 | 1, exact: boolean): boolean => {
  if (exact) return false
  switch (rounding) {
    case NEAREST:
      return half > 0 || (half === 0 && odd)
    case DOWN:
      return sign
    case UP:
      return !sign
    case ZERO:
      return false
  }
}

/**
 * `significand`, with `sticky` for what lies below it, without its low `cut` bits. The result may have one bit more.
 */
export const roundOff = (significand: bigint, sticky: boolean, cut: number, sign: boolean, c: Control) => {
  if (cut <= 0) {
    const kept = significand << BigInt(-cut)
    const up = away(c.rounding, sign, (kept & 1n) === 1n, -1, !sticky)
    return { kept: up ? kept + 1n : kept, exact: !sticky, up }
  }
  const kept = significand >> BigInt(cut)
  const rest = significand & field(cut)
  const middle = 1n << BigInt(cut - 1)
  const exact = rest === 0n && !sticky
  const half = rest > middle || (rest === middle && sticky) ? 1 : rest === middle ? 0 : -1
  const up = away(c.rounding, sign, (kept & 1n) === 1n, half, exact)
  return { kept: up ? kept + 1n : kept, exact, up }
}

/**
 * Rounds (-1)^sign * (significand + something below 1 where `sticky`) * 2^exponent to the format. The significand must
 * have at least two bits more than the format where `sticky` is set. With an unmasked overflow or underflow the result
 * is what the x87 delivers (exponent wrapped); SSE delivers none.
 */
export const round = (
  f: Format,
  sign: boolean,
  exponent: number,
  significand: bigint,
  sticky: boolean,
  c: Control,
): bigint => {
  c.roundedUp = false
  if (significand === 0n && !sticky) return packZero(f, sign)
  const width = c.precision === 0 ? f.fractionBits + 1 : c.precision
  const length = lengthOf(significand)
  const minimum = 1 - bias(f)
  const normal = roundOff(significand, sticky, length - width, sign, c)
  // Exponent of the leading bit once rounded with unbounded range.
  let top = exponent + length - 1
  if (lengthOf(normal.kept) > width) top++
  const tiny = top < minimum
  const unmasked = (bit: number) => (c.masks & bit) === 0

  if (tiny && !unmasked(UNDERFLOW)) {
    if (c.flushToZero) {
      c.raised |= UNDERFLOW | INEXACT
      return packZero(f, sign)
    }
    // Reduced precision counts from the place of the integer bit, for denormal results too.
    const unused = f.fractionBits + 1 - width
    const cut = minimum - f.fractionBits - exponent + unused
    const denormal = roundOff(significand, sticky, cut, sign, c)
    const denormalBits = denormal.kept << BigInt(unused)
    if (!denormal.exact) c.raised |= UNDERFLOW | INEXACT
    c.roundedUp = denormal.up
    const isNormal = lengthOf(denormalBits) > f.fractionBits
    return assemble(f, sign, isNormal ? 1 : 0, denormalBits)
  }
  let wrapped = top
  if (tiny) {
    c.raised |= UNDERFLOW
    wrapped = top + 3 * 2 ** (f.exponentBits - 2)
  }
  if (!normal.exact) c.raised |= INEXACT
  c.roundedUp = normal.up
  const kept = lengthOf(normal.kept) > width ? normal.kept >> 1n : normal.kept
  const aligned = kept << BigInt(f.fractionBits + 1 - width)
  if (top > bias(f)) {
    c.raised |= OVERFLOW
    if (!unmasked(OVERFLOW)) {
      c.raised |= INEXACT
      const toInfinity = c.rounding === NEAREST || (c.rounding === UP && !sign) || (c.rounding === DOWN && sign)
      c.roundedUp = toInfinity
      const most = (largest(f) >> BigInt(f.fractionBits + 1 - width)) << BigInt(f.fractionBits + 1 - width)
      return toInfinity ? packInfinity(f, sign) : assemble(f, sign, 2 ** f.exponentBits - 2, most)
    }
    wrapped = top - 3 * 2 ** (f.exponentBits - 2)
  }
  return assemble(f, sign, wrapped + bias(f), aligned)
}

/** A value as an operand: DAZ, and the denormal-operand exception. */
export const operand = (f: Format, bits: bigint, c: Control): Float => {
  const v = unpack(f, bits)
  return v.denormal && c.denormalsAreZero ? zeroOf(v.sign) : v
}

const denormals = (c: Control, ...values: readonly Float[]): void => {
  if (values.some(v => v.denormal)) c.raised |= DENORMAL
}

/** `a + b`; `subtract` turns b around. */
export const addSigned = (f: Format, a: Float, b: Float, subtract: boolean, c: Control): bigint => {
  const bSign = b.sign !== subtract
  if (a.kind === 'infinity' && b.kind === 'infinity' && a.sign !== bSign) {
    c.raised |= INVALID
    return indefinite(f)
  }
  denormals(c, a, b)
  if (a.kind === 'infinity') return packInfinity(f, a.sign)
  if (b.kind === 'infinity') return packInfinity(f, bSign)
  const exponent = Math.min(a.kind === 'zero' ? b.exponent : a.exponent, b.kind === 'zero' ? a.exponent : b.exponent)
  const value = (v: Float, sign: boolean) => {
    const shifted = v.kind === 'zero' ? 0n : v.significand << BigInt(v.exponent - exponent)
    return sign ? -shifted : shifted
  }
  const sum = value(a, a.sign) + value(b, bSign)
  if (sum === 0n) return packZero(f, a.sign === bSign ? a.sign : c.rounding === DOWN)
  return round(f, sum < 0n, exponent, sum < 0n ? -sum : sum, false, c)
}

export const multiply = (f: Format, a: Float, b: Float, c: Control): bigint => {
  const sign = a.sign !== b.sign
  if ((a.kind === 'infinity' && b.kind === 'zero') || (a.kind === 'zero' && b.kind === 'infinity')) {
    c.raised |= INVALID
    return indefinite(f)
  }
  denormals(c, a, b)
  if (a.kind === 'infinity' || b.kind === 'infinity') return packInfinity(f, sign)
  return round(f, sign, a.exponent + b.exponent, a.significand * b.significand, false, c)
}

/** Quotient bits beyond the format that keep rounding exact, with the remainder as sticky. */
const EXTRA = 4

export const divide = (f: Format, a: Float, b: Float, c: Control): bigint => {
  const sign = a.sign !== b.sign
  if (a.kind === b.kind && (a.kind === 'zero' || a.kind === 'infinity')) {
    c.raised |= INVALID
    return indefinite(f)
  }
  if (a.kind === 'infinity') {
    denormals(c, b)
    return packInfinity(f, sign)
  }
  if (b.kind === 'zero') {
    // A denormal dividend is not reported with a division by zero.
    c.raised |= DIVIDE
    return packInfinity(f, sign)
  }
  denormals(c, a, b)
  if (b.kind === 'infinity' || a.kind === 'zero') return packZero(f, sign)
  const shift = Math.max(0, f.fractionBits + EXTRA + lengthOf(b.significand) - lengthOf(a.significand))
  const dividend = a.significand << BigInt(shift)
  const quotient = dividend / b.significand
  return round(f, sign, a.exponent - b.exponent - shift, quotient, dividend % b.significand !== 0n, c)
}

/** The integer square root. */
const rootOf = (n: bigint): bigint => {
  let guess = 1n << BigInt((lengthOf(n) + 1) >> 1)
  for (;;) {
    const better = (guess + n / guess) >> 1n
    if (better >= guess) return guess
    guess = better
  }
}

export const squareRoot = (f: Format, a: Float, c: Control): bigint => {
  if (a.kind === 'zero') return packZero(f, a.sign)
  if (a.sign) {
    c.raised |= INVALID
    return indefinite(f)
  }
  denormals(c, a)
  if (a.kind === 'infinity') return packInfinity(f, false)
  let shift = Math.max(0, 2 * (f.fractionBits + EXTRA) - lengthOf(a.significand))
  if (((a.exponent - shift) & 1) !== 0) shift++
  const square = a.significand << BigInt(shift)
  const root = rootOf(square)
  return round(f, false, (a.exponent - shift) / 2, root, root * root !== square, c)
}

/** `a * b + d` rounded once; the signs are already those of the operation. */
export const fuse = (f: Format, a: Float, b: Float, d: Float, c: Control): bigint => {
  const sign = a.sign !== b.sign
  const invalidProduct = (a.kind === 'infinity' && b.kind === 'zero') || (a.kind === 'zero' && b.kind === 'infinity')
  const product = a.kind === 'infinity' || b.kind === 'infinity'
  if (invalidProduct || (product && d.kind === 'infinity' && d.sign !== sign)) {
    c.raised |= INVALID
    return indefinite(f)
  }
  denormals(c, a, b, d)
  if (product) return packInfinity(f, sign)
  const exact = finite(sign, a.exponent + b.exponent, a.significand * b.significand)
  return addSigned(f, exact, d, false, c)
}

/** Order of two values: -1, 0, 1, or undefined where one is a NaN. Zeros are equal. */
export const compare = (a: Float, b: Float): -1 | 0 | 1 | undefined => {
  if (isNaN_(a) || isNaN_(b) || a.kind === 'unsupported' || b.kind === 'unsupported') return undefined
  if (a.kind === 'zero' && b.kind === 'zero') return 0
  const signOf = (v: Float) => (v.kind === 'zero' ? 0 : v.sign ? -1 : 1)
  if (signOf(a) !== signOf(b)) return signOf(a) < signOf(b) ? -1 : 1
  const flip = (n: -1 | 0 | 1): -1 | 0 | 1 => (a.sign ? (n === 0 ? 0 : n === 1 ? -1 : 1) : n)
  if (a.kind === 'infinity' || b.kind === 'infinity')
    return flip(a.kind === b.kind ? 0 : a.kind === 'infinity' ? 1 : -1)
  const exponent = Math.min(a.exponent, b.exponent)
  const left = a.significand << BigInt(a.exponent - exponent)
  const right = b.significand << BigInt(b.exponent - exponent)
  return flip(left === right ? 0 : left > right ? 1 : -1)
}

/** A value in another format. NaNs become quiet; a signaling one is invalid. */
export const convert = (to: Format, v: Float, from: Format, c: Control): bigint => {
  switch (v.kind) {
    case 'zero':
      return packZero(to, v.sign)
    case 'infinity':
      return packInfinity(to, v.sign)
    case 'unsupported':
      c.raised |= INVALID
      return indefinite(to)
    case 'signaling':
      c.raised |= INVALID
      return packNaN(to, v, from)
    case 'quiet':
      return packNaN(to, v, from)
    case 'finite':
      denormals(c, v)
      return round(to, v.sign, v.exponent, v.significand, false, c)
  }
}

/** The integer nearest by the rounding in force, or undefined for NaNs and infinities. Sets INEXACT. */
export const toInteger = (v: Float, c: Control): bigint | undefined => {
  if (v.kind === 'zero') return 0n
  if (v.kind !== 'finite') return undefined
  const { kept, exact, up } = roundOff(v.significand, false, -v.exponent, v.sign, c)
  if (!exact) c.raised |= INEXACT
  c.roundedUp = up
  return v.sign ? -kept : kept
}
