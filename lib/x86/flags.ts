/** How the status flags follow from an instruction's operands and result. SDM Vol. 1, "Status Flags". */
import type { Size } from '#bits'
import type { Flag, Tier } from './tier.ts'

/** One flag of a rule, from the size, the operands `a` and `b` and the result `r`. */
type FlagOf = <V, C>(t: Tier<V, C>, size: Size, a: V, b: V, r: V) => C

/** What an instruction does to the flags. A flag that is not named keeps its value. */
export type FlagRule = { readonly [F in Flag]?: FlagOf }

const top = (size: Size) => size * 8 - 1

const off: FlagOf = t => t.always(false)
const pf: FlagOf = (t, _size, _a, _b, r) => t.parity(r)
const zf: FlagOf = (t, _size, _a, _b, r) => t.isZero(r)
const sf: FlagOf = (t, size, _a, _b, r) => t.bit(r, top(size))
const af: FlagOf = (t, _size, a, b, r) => t.bit(t.xor(t.xor(a, b), r), 4)
const result = { pf, zf, sf } as const

const addOf: FlagOf = (t, size, a, b, r) => t.bit(t.and(t.xor(a, r), t.xor(b, r)), top(size))
const subOf: FlagOf = (t, size, a, b, r) => t.bit(t.and(t.xor(a, b), t.xor(a, r)), top(size))

export const add: FlagRule = { ...result, af, cf: (t, _size, a, _b, r) => t.below(r, a), of: addOf }
export const sub: FlagRule = { ...result, af, cf: (t, _size, a, b) => t.below(a, b), of: subOf }
/** ADC and SBB: the carry comes out of the top bit, whatever came in at the bottom. */
const carry: FlagOf = (t, size, a, b, r) => t.bit(t.or(t.and(a, b), t.and(t.or(a, b), t.not(size, r))), top(size))
const borrow: FlagOf = (t, size, a, b, r) => {
  const notA = t.not(size, a)
  return t.bit(t.or(t.and(notA, b), t.and(t.or(notA, b), r)), top(size))
}
export const adc: FlagRule = { ...add, cf: carry }
export const sbb: FlagRule = { ...sub, cf: borrow }
/** ADCX and ADOX change one flag each. */
export const adcx: FlagRule = { cf: carry }
export const adox: FlagRule = { of: carry }
/** INC and DEC keep CF. */
export const inc: FlagRule = { ...result, af, of: addOf }
export const dec: FlagRule = { ...result, af, of: subOf }
/** AF is undefined and cleared by the processors there are. */
export const logic: FlagRule = { ...result, af: off, cf: off, of: off }

/** Shifts have the count in `b`, at least 1. OF is defined for a count of 1; this is what it is for any. */
const lastOutLeft: FlagOf = (t, size, a, b) => {
  const wide = size * 8
  return t.bit(t.shr(size, a, t.and(t.sub(1, t.constant(BigInt(wide)), b), t.constant(63n))), 0)
}
const lastOutRight: FlagOf = (t, size, a, b) => t.bit(t.shr(size, a, t.sub(1, b, t.constant(1n))), 0)
export const shl: FlagRule = {
  ...result,
  af: off,
  cf: lastOutLeft,
  of: (t, size, a, b, r) => t.differ(t.bit(r, top(size)), lastOutLeft(t, size, a, b, r)),
}
export const shr: FlagRule = { ...result, af: off, cf: lastOutRight, of: (t, size, a) => t.bit(a, top(size)) }
export const sar: FlagRule = {
  ...result,
  af: off,
  cf: (t, size, a, b) => t.bit(t.sar(size, a, t.sub(1, b, t.constant(1n))), 0),
  of: off,
}
/** SHLD and SHRD: OF says that the sign changed. */
const signChanged: FlagOf = (t, size, a, _b, r) => t.bit(t.xor(a, r), top(size))
export const shld: FlagRule = { ...result, af: off, cf: lastOutLeft, of: signChanged }
export const shrd: FlagRule = { ...result, af: off, cf: lastOutRight, of: signChanged }

export const rol: FlagRule = {
  cf: (t, _size, _a, _b, r) => t.bit(r, 0),
  of: (t, size, _a, _b, r) => t.differ(t.bit(r, top(size)), t.bit(r, 0)),
}
const topTwoDiffer: FlagOf = (t, size, _a, _b, r) => t.differ(t.bit(r, top(size)), t.bit(r, top(size) - 1))
export const ror: FlagRule = { cf: (t, size, _a, _b, r) => t.bit(r, top(size)), of: topTwoDiffer }
export const rcl: FlagRule = {
  cf: lastOutLeft,
  of: (t, size, a, b, r) => t.differ(t.bit(r, top(size)), lastOutLeft(t, size, a, b, r)),
}
export const rcr: FlagRule = { cf: lastOutRight, of: topTwoDiffer }

/** MUL: `b` is the high half. SF, ZF, AF and PF are undefined and kept. */
const highHalf: FlagOf = (t, _size, _a, b) => t.no(t.isZero(b))
export const mul: FlagRule = { cf: highHalf, of: highHalf }
/** IMUL: `b` is the high half, `r` the low one; they differ from a sign-extended low half. */
const signLost: FlagOf = (t, size, _a, b, r) => t.no(t.equal(b, t.sar(size, r, t.constant(BigInt(size * 8 - 1)))))
export const imul: FlagRule = { cf: signLost, of: signLost }

/** BSF and BSR: `a` is the source; POPCNT too, and it clears the rest. */
const sourceZero: FlagOf = (t, _size, a) => t.isZero(a)
export const scan: FlagRule = { zf: sourceZero }
export const popcnt: FlagRule = { zf: sourceZero, cf: off, of: off, sf: off, af: off, pf: off }
/** LZCNT and TZCNT: CF says that there was no one. */
export const count: FlagRule = { zf, cf: sourceZero }
/** BT and its family: `b` is the number of the bit in `a`. */
export const bt: FlagRule = { cf: (t, size, a, b) => t.bit(t.shr(size, a, b), 0) }

/** ANDN, BEXTR and what BLSI and its family share. SDM Vol. 2A, "ANDN". */
export const andn: FlagRule = { zf, sf, cf: off, of: off }
export const bextr: FlagRule = { zf, cf: off, of: off }
export const bzhi: FlagRule = {
  zf,
  sf,
  of: off,
  cf: (t, size, _a, b) => t.no(t.below(b, t.constant(BigInt(size * 8)))),
}
export const blsr: FlagRule = { zf, sf, of: off, cf: sourceZero }
export const blsi: FlagRule = { zf, sf, of: off, cf: (t, _size, a) => t.no(t.isZero(a)) }
export const blsmsk: FlagRule = { zf: off, sf, of: off, cf: sourceZero }

/** AAM and AAD. */
export const decimal: FlagRule = { ...result }
