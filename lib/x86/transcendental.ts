/**
 * The x87's transcendental functions of finite, non-zero numbers, with some 150 good bits: rounded once, they are off by
 * hardly more than half a unit in the last place. SDM Vol. 1, "Transcendental Instruction Accuracy".
 */
import type { Float } from './softfloat.ts'

/** A number in (-1)^sign * (significand + less than 1, unless exact) * 2^exponent; the significand has 80 bits or more. */
export type Real = {
  readonly sign: boolean
  readonly exponent: number
  readonly significand: bigint
  readonly exact: boolean
}

/** Decimal digits of the constants, the point behind the first: log2(10), log2(e), pi, 10 log10(2), 10 ln(2). */
export const DIGITS = {
  fldl2t: 33219280948873623478703194294893901758648313930245806120547563958n,
  fldl2e: 14426950408889634073599246810018921374266459541529859341354494069n,
  fldpi: 31415926535897932384626433832795028841971693993751058209749445923n,
  fldlg2: 3010299956639811952137388947244930267681898814621085413104274611n,
  fldln2: 6931471805599453094172321214581765680755001343602552541206800095n,
} as const
const TENS = 10n ** 64n
/** A constant times 2^bits, for up to 200 bits. */
export const scaled = (name: keyof typeof DIGITS, bits: number): bigint => (DIGITS[name] << BigInt(bits)) / TENS

/** Bits behind the point of fixed-point numbers. */
const P = 160
const WIDE = BigInt(P)
const ONE = 1n << WIDE
const PI = scaled('fldpi', P)
const LN2 = scaled('fldln2', P)
const TWO_LOG2E = 2n * scaled('fldl2e', P)

const lengthOf = (n: bigint): number => n.toString(2).length
const magnitude = (n: bigint): bigint => (n < 0n ? -n : n)
const shift = (n: bigint, by: number): bigint => (by >= 0 ? n << BigInt(by) : n >> BigInt(-by))
const inexact = (sign: boolean, exponent: number, significand: bigint): Real => ({
  sign,
  exponent,
  significand,
  exact: false,
})

/** 1 + t1 + t1 t2 + ..., in fixed point; `ratio` gives the next term from the last. */
const series = (ratio: (term: bigint, n: bigint) => bigint): bigint => {
  let sum = ONE
  let term = ONE
  for (let n = 1n; ; n++) {
    term = ratio(term, n)
    if (term === 0n) return sum
    sum += term
  }
}
/** Something below 1 that may be too close to it to tell. */
const below1 = (n: bigint): bigint => (n >= ONE ? ONE - 1n : n)

// Sine, cosine, tangent

/**
 * The processor reduces by a pi of 66 bits, 0.C90FDAA2_2168C234_C * 2^2, and no other.
 * SDM Vol. 1, "Approximation of Pi".
 */
const HALF_PI = 0xc90f_daa2_2168_c234_cn
const HALF_PI_SCALE = 67

/** An angle as a number of quarter turns and the rest: R * 2^exponent, at most an eighth of a turn. */
const reduce = (v: Float): { quadrant: number; rest: bigint; exponent: number } => {
  const value = v.sign ? -v.significand : v.significand
  if (v.exponent + lengthOf(v.significand) < 0) return { quadrant: 0, rest: value, exponent: v.exponent }
  const scale = Math.max(HALF_PI_SCALE, -v.exponent)
  const angle = value << BigInt(scale + v.exponent)
  const quarter = HALF_PI << BigInt(scale - HALF_PI_SCALE)
  // Rounded down, of twice the angle and one more: to the nearest.
  const twice = 2n * angle + quarter
  const turns = (twice - (((twice % (2n * quarter)) + 2n * quarter) % (2n * quarter))) / (2n * quarter)
  return { quadrant: Number(turns & 3n), rest: angle - turns * quarter, exponent: -scale }
}
/** Sine divided by the angle, and cosine, of an angle in (-pi/4, pi/4). */
const sineAndCosine = (rest: bigint, exponent: number): { ratio: bigint; cosine: bigint } => {
  const square = shift(rest * rest, 2 * exponent + P)
  return {
    ratio: below1(series((term, n) => (-term * square) / (2n * n * (2n * n + 1n)) / ONE)),
    cosine: below1(series((term, n) => (-term * square) / (2n * n * (2n * n - 1n)) / ONE)),
  }
}
/** Sine and cosine of |v| < 2^63. */
export const sincos = (v: Float): { sine: Real; cosine: Real } => {
  const { quadrant, rest, exponent } = reduce(v)
  const { ratio, cosine } = sineAndCosine(rest, exponent)
  const odd = (quadrant & 1) === 1
  const sine = inexact(rest < 0n, exponent - P, magnitude(rest) * ratio)
  const other = inexact(false, -P, cosine)
  const turned = (r: Real, over: boolean): Real => ({ ...r, sign: r.sign !== over })
  return {
    sine: turned(odd ? other : sine, quadrant >= 2),
    cosine: turned(odd ? sine : other, quadrant === 1 || quadrant === 2),
  }
}
/** The tangent of |v| < 2^63. No such number is an odd multiple of a quarter of the 66-bit turn. */
export const tangent = (v: Float): Real => {
  const { quadrant, rest, exponent } = reduce(v)
  const { ratio, cosine } = sineAndCosine(rest, exponent)
  const sine = magnitude(rest) * ratio
  if ((quadrant & 1) === 0) return inexact(rest < 0n, exponent - 96, (sine << 96n) / cosine)
  const more = lengthOf(sine) - P + 96
  return inexact(rest >= 0n, -exponent - more, (cosine << BigInt(more)) / sine)
}

// Exponential

/** 2^v - 1 for |v| < 1. */
export const exponential = (v: Float): Real => {
  const power = shift((v.sign ? -1n : 1n) * v.significand * LN2, v.exponent)
  const factor = series((term, n) => (term * power) / (n + 1n) / ONE)
  return inexact(v.sign, v.exponent - 2 * P, v.significand * factor * LN2)
}

// Logarithms

/** log2 of (base + difference) / base, for quotients near 1: 2 log2(e) atanh(difference / (2 base + difference)). */
const logNear1 = (difference: bigint, base: bigint): Real => {
  const sum = 2n * base + difference
  const s = (difference << WIDE) / sum
  const square = (s * s) >> WIDE
  let factor = ONE
  let term = ONE
  for (let n = 3n; term !== 0n; n += 2n) {
    term = (term * square) >> WIDE
    factor += term / n
  }
  const more = Math.max(0, lengthOf(sum) - lengthOf(difference) + 16)
  const product = (magnitude(difference) * factor * TWO_LOG2E) << BigInt(more)
  return inexact(difference < 0n, -2 * P - more, product / sum)
}
/** log2 of significand * 2^exponent. */
const log = (significand: bigint, exponent: number): Real => {
  const length = lengthOf(significand)
  // Into [sqrt(1/2), sqrt(2)), so that nothing cancels.
  const up = significand * significand >= 1n << BigInt(2 * length - 1) ? 1 : 0
  const base = 1n << BigInt(length - 1 + up)
  const whole = exponent + length - 1 + up
  if (significand === base) return { sign: whole < 0, exponent: 0, significand: BigInt(Math.abs(whole)), exact: true }
  const part = logNear1(significand - base, base)
  if (whole === 0) return part
  const fraction = shift(part.significand, part.exponent + P)
  const sum = (BigInt(whole) << WIDE) + (part.sign ? -fraction : fraction)
  return inexact(sum < 0n, -P, magnitude(sum))
}
const times = (a: Float, b: Real): Real => ({
  sign: a.sign !== b.sign,
  exponent: a.exponent + b.exponent,
  significand: a.significand * b.significand,
  exact: b.exact,
})
/** y * log2(x) for x > 0. */
export const scaledLog = (x: Float, y: Float): Real => times(y, log(x.significand, x.exponent))
/** y * log2(x + 1) for x > -1. */
export const scaledLog1 = (x: Float, y: Float): Real => {
  // Where x is tiny, x log2(e) is as good.
  if (x.exponent + lengthOf(x.significand) < -P)
    return times(y, inexact(x.sign, x.exponent - P, (x.significand * TWO_LOG2E) >> 1n))
  const difference = (x.sign ? -1n : 1n) * shift(x.significand, Math.max(0, x.exponent))
  const base = 1n << BigInt(Math.max(0, -x.exponent))
  const isNear = x.exponent + lengthOf(x.significand) < -1
  return times(y, isNear ? logNear1(difference, base) : log(base + difference, Math.min(0, x.exponent)))
}

// Arc tangent

/** arctan(n / d) for 0 < n / d <= 1, by Euler's series in n^2 / (n^2 + d^2). */
const arctan = (n: bigint, nExponent: number, d: bigint, dExponent: number): Real => {
  const more = lengthOf(d) - lengthOf(n) + P
  const apart = dExponent + lengthOf(d) - nExponent - lengthOf(n)
  // The square is lost beside 1, but what it stands for makes the quotient a little smaller.
  if (apart > P) return inexact(false, nExponent - dExponent - more, shift(n, more) / d - 1n)
  const exponent = Math.min(nExponent, dExponent)
  const [a, b] = [n << BigInt(nExponent - exponent), d << BigInt(dExponent - exponent)]
  const sum = a * a + b * b
  const w = ((a * a) << WIDE) / sum
  const factor = series((term, k) => (term * w * 2n * k) / (2n * k + 1n) / ONE)
  const room = P + Math.max(0, apart)
  return inexact(false, -room - P, (((a * b) << BigInt(room)) / sum) * factor)
}
/** The angle of the point (x, y): -pi to pi. */
export const angle = (y: Float, x: Float): Real => {
  const top = (v: Float) => v.exponent + lengthOf(v.significand)
  const exponent = Math.min(y.exponent, x.exponent)
  const isSteep =
    top(y) !== top(x)
      ? top(y) > top(x)
      : y.significand << BigInt(y.exponent - exponent) > x.significand << BigInt(x.exponent - exponent)
  const [n, d] = isSteep ? [x, y] : [y, x]
  const small = arctan(n.significand, n.exponent, d.significand, d.exponent)
  if (!isSteep && !x.sign) return { ...small, sign: y.sign }
  const fixed = shift(small.significand, small.exponent + P)
  const sum = isSteep ? PI / 2n + (x.sign ? fixed : -fixed) : PI - fixed
  return inexact(y.sign, -P, sum)
}
/** A multiple of pi/4. */
export const eighths = (sign: boolean, n: number): Real => inexact(sign, -P, (PI * BigInt(n)) / 4n)
