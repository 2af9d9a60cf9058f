/**
 * What SIMD floating-point instructions do to their lanes, and which exceptions they find.
 * SDM Vol. 1, "Programming with Intel Streaming SIMD Extensions (Intel SSE)" and "SSE and SSE2 Exceptions".
 */
import type { Lanes } from './packed.ts'
import {
  addSigned,
  type Control,
  compare,
  convert,
  DENORMAL,
  DOUBLE,
  divide,
  type Float,
  type Format,
  fuse,
  HALF,
  INVALID,
  indefinite,
  isNaN_,
  multiply,
  operand,
  packNaN,
  packZero,
  type Rounding,
  round,
  SINGLE,
  squareRoot,
  toInteger,
  unpack,
  ZERO,
} from './softfloat.ts'

/** Like `Packed`; what it finds goes to `c.raised`. */
export type PackedFloat = (
  d: Lanes,
  a: Lanes,
  b: Lanes,
  imm: number,
  bytes: number,
  c: Control,
  /** What FMA adds to the product. */
  addend: Lanes,
) => void

/** One lane: the bits of two numbers to the bits of one. */
type Real = (f: Format, a: bigint, b: bigint, c: Control) => bigint

const sizeOf = (f: Format): 4 | 8 => (f === SINGLE ? 4 : 8)
const get = (f: Format, from: Lanes, n: number): bigint => (f === SINGLE ? BigInt(from.u32[n]!) : from.u64[n]!)
const set = (f: Format, to: Lanes, n: number, bits: bigint): void => {
  if (f === SINGLE) to.u32[n] = Number(bits)
  else to.u64[n] = bits
}

/** The first operand that is a NaN, made quiet; a signaling one is invalid. */
const nanOf = (f: Format, a: Float, b: Float, c: Control): bigint => {
  if (a.kind === 'signaling' || b.kind === 'signaling') c.raised |= INVALID
  return packNaN(f, isNaN_(a) ? a : b, f)
}

const arithmetic =
  (of: (f: Format, a: Float, b: Float, c: Control) => bigint): Real =>
  (f, a, b, c) => {
    const [x, y] = [operand(f, a, c), operand(f, b, c)]
    return isNaN_(x) || isNaN_(y) ? nanOf(f, x, y, c) : of(f, x, y, c)
  }
const add = arithmetic((f, a, b, c) => addSigned(f, a, b, false, c))
const sub = arithmetic((f, a, b, c) => addSigned(f, a, b, true, c))
const mul = arithmetic(multiply)
const div = arithmetic(divide)
const sqrt: Real = (f, _a, b, c) => {
  const y = operand(f, b, c)
  return isNaN_(y) ? nanOf(f, y, y, c) : squareRoot(f, y, c)
}

const flagDenormals = (c: Control, x: Float, y: Float): void => {
  if (x.denormal || y.denormal) c.raised |= DENORMAL
}
const flushed = (f: Format, bits: bigint, v: Float): bigint => (v.kind === 'zero' ? packZero(f, v.sign) : bits)

/** MIN and MAX give the second operand where a NaN or two zeros meet. */
const extreme =
  (wanted: -1 | 1): Real =>
  (f, a, b, c) => {
    const [x, y] = [operand(f, a, c), operand(f, b, c)]
    const order = compare(x, y)
    if (order === undefined) c.raised |= INVALID
    else flagDenormals(c, x, y)
    return order === wanted ? flushed(f, a, x) : flushed(f, b, y)
  }

/** Outcomes of a comparison that a predicate is true for: less 1, equal 2, greater 4, unordered 8. */
const TRUE_FOR = [2, 1, 3, 8, 13, 14, 12, 7, 10, 9, 11, 0, 5, 6, 4, 15]
const SIGNALING = [0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0]
const outcome = (f: Format, a: bigint, b: bigint, signaling: boolean, c: Control): 1 | 2 | 4 | 8 => {
  const [x, y] = [operand(f, a, c), operand(f, b, c)]
  const order = compare(x, y)
  if (order === undefined) {
    if (signaling || x.kind === 'signaling' || y.kind === 'signaling') c.raised |= INVALID
    return 8
  }
  flagDenormals(c, x, y)
  return order < 0 ? 1 : order === 0 ? 2 : 4
}
const compared =
  (predicate: number): Real =>
  (f, a, b, c) => {
    const signaling = (SIGNALING[predicate & 15] === 1) !== ((predicate & 16) !== 0)
    const isTrue = (TRUE_FOR[predicate & 15]! & outcome(f, a, b, signaling, c)) !== 0
    return isTrue ? (1n << BigInt(sizeOf(f) * 8)) - 1n : 0n
  }

/** COMISS and UCOMISS: CF, PF and ZF where RFLAGS has them. */
const ordered =
  (f: Format, signaling: boolean): PackedFloat =>
  (d, a, b, _imm, _bytes, c) => {
    const seen = outcome(f, get(f, a, 0), get(f, b, 0), signaling, c)
    d.u32[0] = seen === 8 ? 0x45 : seen === 1 ? 1 : seen === 2 ? 0x40 : 0
  }

const every =
  (f: Format, of: Real): PackedFloat =>
  (d, a, b, _imm, bytes, c) => {
    for (let n = 0; n < bytes / sizeOf(f); n++) set(f, d, n, of(f, get(f, a, n), get(f, b, n), c))
  }
const lowest =
  (f: Format, of: Real): PackedFloat =>
  (d, a, b, _imm, _bytes, c) => {
    d.u8.set(a.u8.subarray(0, 16))
    set(f, d, 0, of(f, get(f, a, 0), get(f, b, 0), c))
  }
const withImm =
  (shape: (f: Format, of: Real) => PackedFloat, f: Format, of: (imm: number) => Real): PackedFloat =>
  (d, a, b, imm, bytes, c, addend) =>
    shape(f, of(imm))(d, a, b, imm, bytes, c, addend)

/** ADDSUB: even lanes are subtracted. */
const addSub =
  (f: Format): PackedFloat =>
  (d, a, b, _imm, bytes, c) => {
    for (let n = 0; n < bytes / sizeOf(f); n++) set(f, d, n, (n & 1 ? add : sub)(f, get(f, a, n), get(f, b, n), c))
  }
/** HADD and HSUB: neighbours, of a and then of b, in each 128 bits. */
const neighbours =
  (f: Format, of: Real): PackedFloat =>
  (d, a, b, _imm, bytes, c) => {
    const group = 16 / sizeOf(f)
    for (let base = 0; base < bytes / sizeOf(f); base += group)
      for (let n = 0; n < group; n++) {
        const from = n < group / 2 ? a : b
        const at = base + (n % (group / 2)) * 2
        set(f, d, base + n, of(f, get(f, from, at), get(f, from, at + 1), c))
      }
  }
/** DPPS and DPPD: products that the upper immediate bits choose, their sum where the lower ones say. */
const dot =
  (f: Format): PackedFloat =>
  (d, a, b, imm, bytes, c) => {
    const group = 16 / sizeOf(f)
    for (let base = 0; base < bytes / sizeOf(f); base += group) {
      const products = Array.from({ length: group }, (_, n) =>
        (imm >> (4 + n)) & 1 ? mul(f, get(f, a, base + n), get(f, b, base + n), c) : 0n,
      )
      const pairs = []
      for (let n = 0; n < group; n += 2) pairs.push(add(f, products[n]!, products[n + 1]!, c))
      const sum = pairs.length === 1 ? pairs[0]! : add(f, pairs[0]!, pairs[1]!, c)
      for (let n = 0; n < group; n++) set(f, d, base + n, (imm >> n) & 1 ? sum : 0n)
    }
  }

/** A number as a whole number: ROUNDPS and its like. */
const rounded =
  (imm: number): Real =>
  (f, _a, bits, c) => {
    const v = operand(f, bits, c)
    if (isNaN_(v)) return nanOf(f, v, v, c)
    if (v.kind !== 'finite') return flushed(f, bits, v)
    const own = { ...c, rounding: imm & 4 ? c.rounding : ((imm & 3) as Rounding), raised: 0 }
    const whole = toInteger(v, own) ?? 0n
    if ((imm & 8) === 0) c.raised |= own.raised
    return whole === 0n ? packZero(f, v.sign) : round(f, v.sign, 0, whole < 0n ? -whole : whole, false, own)
  }

/** To a signed integer of `bits` bits; what does not fit is invalid and gives the most negative one. */
const integer = (f: Format, from: bigint, bits: number, truncate: boolean, c: Control): bigint => {
  const own = { ...c, rounding: truncate ? (ZERO as Rounding) : c.rounding, raised: 0 }
  const whole = toInteger(operand(f, from, c), own)
  if (whole === undefined || BigInt.asIntN(bits, whole) !== whole) {
    c.raised |= INVALID
    return 1n << BigInt(bits - 1)
  }
  c.raised |= own.raised
  return BigInt.asUintN(bits, whole)
}
const real = (f: Format, whole: bigint, c: Control): bigint =>
  round(f, whole < 0n, 0, whole < 0n ? -whole : whole, false, c)
const between = (to: Format, from: Format, bits: bigint, c: Control): bigint =>
  convert(to, operand(from, bits, c), from, c)

/** `count` lanes of b converted; the rest of the result is zero. */
const integers =
  (f: Format, truncate: boolean): PackedFloat =>
  (d, _a, b, _imm, bytes, c) => {
    // From doubles there are half as many integers as the register has room for.
    for (let n = 0; n < bytes / sizeOf(f); n++) d.u32[n] = Number(integer(f, get(f, b, n), 32, truncate, c))
  }
const mmIntegers =
  (f: Format, truncate: boolean): PackedFloat =>
  (d, _a, b, _imm, _bytes, c) => {
    for (let n = 0; n < 2; n++) d.u32[n] = Number(integer(f, get(f, b, n), 32, truncate, c))
  }
const scalarInteger =
  (f: Format, truncate: boolean): PackedFloat =>
  (d, _a, b, _imm, bytes, c) => {
    d.u64[0] = integer(f, get(f, b, 0), bytes * 8, truncate, c)
  }
const fromScalar =
  (f: Format, wide: boolean): PackedFloat =>
  (d, a, b, _imm, _bytes, c) => {
    d.u8.set(a.u8.subarray(0, 16))
    set(f, d, 0, real(f, wide ? b.s64[0]! : BigInt(b.s32[0]!), c))
  }

/**
 * RCP and RSQRT: `of` the middle of the interval that `bits` bits of the fraction choose (for RSQRT, and the parity of the
 * exponent), to 12 bits of fraction. That is the relative error of 1.5 * 2^-12 that the SDM gives, and agrees with what is
 * published of Intel's results (RCP of 1 is 3F7FF000, RSQRT of 10 is 3EA1E000). Denormals are zeros, going in and out.
 * Not modelled: the processors' own tables, which no manual has, where they depart from that; they differ by model.
 */
const estimate =
  (of: (x: number) => number, bits: 10 | 11): Real =>
  (f, _a, number) => {
    const v = unpack(f, number)
    if (isNaN_(v)) return packNaN(f, v, f)
    const kept = Number(number)
    const below = 23 - bits
    if (v.kind === 'zero' || v.denormal) scratch.setUint32(0, Number(packZero(f, v.sign)))
    else if (v.kind === 'infinity') scratch.setUint32(0, kept)
    else scratch.setUint32(0, ((kept >>> below) << below) | (1 << (below - 1)))
    const result = of(scratch.getFloat32(0))
    if (Number.isNaN(result)) return indefinite(f)
    scratch.setFloat32(0, result)
    const rounded = (scratch.getUint32(0) + 0x400) & 0xffff_f800
    return BigInt(((rounded & 0x7f80_0000) === 0 ? rounded & 0x8000_0000 : rounded) >>> 0)
  }
const rcp = estimate(x => 1 / x, 11)
const rsqrt = estimate(x => 1 / Math.sqrt(x), 10)
const scratch = new DataView(new ArrayBuffer(8))

/** One lane of a fused multiply-add: (-1)^negate * a * b, plus or minus the addend. */
const fused = (f: Format, a: bigint, b: bigint, z: bigint, negate: boolean, subtract: boolean, c: Control): bigint => {
  const [x, y, w] = [operand(f, a, c), operand(f, b, c), operand(f, z, c)]
  const nan = [x, y, w].find(isNaN_)
  if (nan === undefined) return fuse(f, { ...x, sign: x.sign !== negate }, y, { ...w, sign: w.sign !== subtract }, c)
  if ([x, y, w].some(v => v.kind === 'signaling')) c.raised |= INVALID
  return packNaN(f, nan, f)
}
/** `lanes` says which lanes subtract: none, all, the even (FMADDSUB) or the odd ones (FMSUBADD). */
const fma =
  (f: Format, scalar: boolean, negate: boolean, subtracts: (n: number) => boolean): PackedFloat =>
  (d, a, b, _imm, bytes, c, addend) => {
    for (let n = 0; n < (scalar ? 1 : bytes / sizeOf(f)); n++)
      set(f, d, n, fused(f, get(f, a, n), get(f, b, n), get(f, addend, n), negate, subtracts(n), c))
  }
const fmaFour = (name: string, negate: boolean, subtracts: (n: number) => boolean): Shapes => ({
  [`${name}ps`]: fma(SINGLE, false, negate, subtracts),
  [`${name}pd`]: fma(DOUBLE, false, negate, subtracts),
  [`${name}ss`]: fma(SINGLE, true, negate, subtracts),
  [`${name}sd`]: fma(DOUBLE, true, negate, subtracts),
})

type Shapes = { readonly [name: string]: PackedFloat }
/** ps, pd, ss and sd of one operation. */
const four = (name: string, of: Real): Shapes => ({
  [`${name}ps`]: every(SINGLE, of),
  [`${name}pd`]: every(DOUBLE, of),
  [`${name}ss`]: lowest(SINGLE, of),
  [`${name}sd`]: lowest(DOUBLE, of),
})

/** FMA, without the digits that say which operand is which. */
export const fusedFloat: Shapes = {
  ...fmaFour('fmadd', false, () => false),
  ...fmaFour('fmsub', false, () => true),
  ...fmaFour('fnmadd', true, () => false),
  ...fmaFour('fnmsub', true, () => true),
  ...fmaFour('fmaddsub', false, n => (n & 1) === 0),
  ...fmaFour('fmsubadd', false, n => (n & 1) === 1),
}

/** The operations by mnemonic, without the V of the VEX forms. */
export const packedFloat: Shapes = {
  ...four('add', add),
  ...four('sub', sub),
  ...four('mul', mul),
  ...four('div', div),
  ...four('sqrt', sqrt),
  ...four('min', extreme(-1)),
  ...four('max', extreme(1)),
  cmpps: withImm(every, SINGLE, compared),
  cmppd: withImm(every, DOUBLE, compared),
  cmpss: withImm(lowest, SINGLE, compared),
  cmpsd: withImm(lowest, DOUBLE, compared),
  comiss: ordered(SINGLE, true),
  comisd: ordered(DOUBLE, true),
  ucomiss: ordered(SINGLE, false),
  ucomisd: ordered(DOUBLE, false),
  addsubps: addSub(SINGLE),
  addsubpd: addSub(DOUBLE),
  haddps: neighbours(SINGLE, add),
  haddpd: neighbours(DOUBLE, add),
  hsubps: neighbours(SINGLE, sub),
  hsubpd: neighbours(DOUBLE, sub),
  dpps: dot(SINGLE),
  dppd: dot(DOUBLE),
  roundps: withImm(every, SINGLE, rounded),
  roundpd: withImm(every, DOUBLE, rounded),
  roundss: withImm(lowest, SINGLE, rounded),
  roundsd: withImm(lowest, DOUBLE, rounded),
  rcpps: every(SINGLE, rcp),
  rcpss: lowest(SINGLE, rcp),
  rsqrtps: every(SINGLE, rsqrt),
  rsqrtss: lowest(SINGLE, rsqrt),
  cvtps2pd: (d, _a, b, _imm, bytes, c) => {
    for (let n = 0; n < bytes / 8; n++) d.u64[n] = between(DOUBLE, SINGLE, BigInt(b.u32[n]!), c)
  },
  cvtpd2ps: (d, _a, b, _imm, bytes, c) => {
    for (let n = 0; n < bytes / 8; n++) d.u32[n] = Number(between(SINGLE, DOUBLE, b.u64[n]!, c))
  },
  /** Half precision: denormals are neither flushed nor reported. */
  cvtph2ps: (d, _a, b, _imm, bytes, c) => {
    for (let n = 0; n < bytes / 4; n++) {
      const v = { ...unpack(HALF, BigInt(b.u16[n]!)), denormal: false }
      d.u32[n] = Number(convert(SINGLE, v, HALF, c))
    }
  },
  cvtps2ph: (d, _a, b, imm, bytes, c) => {
    const own = { ...c, rounding: imm & 4 ? c.rounding : ((imm & 3) as Rounding), flushToZero: false }
    for (let n = 0; n < bytes / 4; n++) d.u16[n] = Number(between(HALF, SINGLE, BigInt(b.u32[n]!), own))
    c.raised |= own.raised
  },
  cvtss2sd: (d, a, b, _imm, _bytes, c) => {
    d.u8.set(a.u8.subarray(0, 16))
    d.u64[0] = between(DOUBLE, SINGLE, BigInt(b.u32[0]!), c)
  },
  cvtsd2ss: (d, a, b, _imm, _bytes, c) => {
    d.u8.set(a.u8.subarray(0, 16))
    d.u32[0] = Number(between(SINGLE, DOUBLE, b.u64[0]!, c))
  },
  cvtdq2ps: (d, _a, b, _imm, bytes, c) => {
    for (let n = 0; n < bytes / 4; n++) d.u32[n] = Number(real(SINGLE, BigInt(b.s32[n]!), c))
  },
  cvtdq2pd: (d, _a, b, _imm, bytes, c) => {
    for (let n = 0; n < bytes / 8; n++) d.u64[n] = real(DOUBLE, BigInt(b.s32[n]!), c)
  },
  cvtps2dq: integers(SINGLE, false),
  cvttps2dq: integers(SINGLE, true),
  cvtpd2dq: integers(DOUBLE, false),
  cvttpd2dq: integers(DOUBLE, true),
  cvtps2pi: mmIntegers(SINGLE, false),
  cvttps2pi: mmIntegers(SINGLE, true),
  cvtpd2pi: mmIntegers(DOUBLE, false),
  cvttpd2pi: mmIntegers(DOUBLE, true),
  cvtpi2ps: (d, a, b, _imm, _bytes, c) => {
    d.u8.set(a.u8.subarray(0, 16))
    for (let n = 0; n < 2; n++) d.u32[n] = Number(real(SINGLE, BigInt(b.s32[n]!), c))
  },
  cvtpi2pd: (d, _a, b, _imm, _bytes, c) => {
    for (let n = 0; n < 2; n++) d.u64[n] = real(DOUBLE, BigInt(b.s32[n]!), c)
  },
  cvtss2si: scalarInteger(SINGLE, false),
  cvttss2si: scalarInteger(SINGLE, true),
  cvtsd2si: scalarInteger(DOUBLE, false),
  cvttsd2si: scalarInteger(DOUBLE, true),
  cvtsi2ss: (d, a, b, imm, bytes, c, z) => fromScalar(SINGLE, imm === 8)(d, a, b, imm, bytes, c, z),
  cvtsi2sd: (d, a, b, imm, bytes, c, z) => fromScalar(DOUBLE, imm === 8)(d, a, b, imm, bytes, c, z),
}
