/** Single bits, bit counts and byte order. */

import type { Size } from '#bits'
import * as flags from '../flags.ts'
import type { Insn } from '../insn.ts'
import type { Semantics, Tier } from '../tier.ts'
import { bitsOf, dst, number, sizeOf, src, third, zero } from './operands.ts'

const log2: Record<Size, number> = { 1: 0, 2: 1, 4: 2, 8: 3 }

/**
 * BT and its family r/m, r/imm8. With a memory operand a register counts bits, signed, from the operand's address;
 * an immediate and a register operand take the number modulo the size. SDM Vol. 2A, "BT".
 */
const bitOf = <V, C>(t: Tier<V, C>, i: Insn, change: ((size: Size, a: V, one: V) => V) | undefined) => {
  const where = dst(i)
  const size = sizeOf(where)
  const number_ = t.read(src(i))
  const n = t.and(number_, number(t, bitsOf(size) - 1))
  const act = (a: V): V => {
    t.flags(flags.bt, size, a, n, a)
    return change === undefined ? a : change(size, a, t.shl(size, number(t, 1), n))
  }
  if (where.kind === 'mem' && src(i).kind === 'reg') {
    const elements = t.sar(size, number_, number(t, 3 + log2[size]))
    const wide =
      where.addressSize > size
        ? t.signExtend(elements, size, where.addressSize)
        : t.truncate(elements, where.addressSize)
    const bytes = t.shl(where.addressSize, wide, number(t, log2[size]))
    const offset = t.add(where.addressSize, t.address(where), bytes)
    if (change === undefined) act(t.load(where.seg, offset, size))
    else t.modify(where.seg, offset, size, act)
  } else if (change === undefined) act(t.read(where))
  else t.update(where, act)
}
/** BT. SDM Vol. 2A, "BT". */
export const bt: Semantics = (t, i) => bitOf(t, i, undefined)
/** BTS. SDM Vol. 2A, "BTS". */
export const bts: Semantics = (t, i) => bitOf(t, i, (_size, a, one) => t.or(a, one))
/** BTR. SDM Vol. 2A, "BTR". */
export const btr: Semantics = (t, i) => bitOf(t, i, (size, a, one) => t.and(a, t.not(size, one)))
/** BTC. SDM Vol. 2A, "BTC". */
export const btc: Semantics = (t, i) => bitOf(t, i, (_size, a, one) => t.xor(a, one))

/** BSF r, r/m: a source of 0 leaves the destination, as every processor does. SDM Vol. 2A, "BSF". */
export const bsf: Semantics = (t, i) => {
  const size = sizeOf(dst(i))
  const a = t.read(src(i))
  t.flags(flags.scan, size, a, a, a)
  t.when(t.no(t.isZero(a)), () => t.write(dst(i), t.trailingZeros(size, a)))
}

/** BSR r, r/m. SDM Vol. 2A, "BSR". */
export const bsr: Semantics = (t, i) => {
  const size = sizeOf(dst(i))
  const a = t.read(src(i))
  t.flags(flags.scan, size, a, a, a)
  t.when(t.no(t.isZero(a)), () => t.write(dst(i), t.sub(size, number(t, bitsOf(size) - 1), t.leadingZeros(size, a))))
}

const counted = <V, C>(t: Tier<V, C>, i: Insn, of: (a: V) => V) => {
  const a = t.read(src(i))
  const result = of(a)
  t.flags(flags.count, sizeOf(dst(i)), a, a, result)
  t.write(dst(i), result)
}
/** LZCNT r, r/m. SDM Vol. 2A, "LZCNT". */
export const lzcnt: Semantics = (t, i) => counted(t, i, a => t.leadingZeros(sizeOf(dst(i)), a))
/** TZCNT r, r/m. SDM Vol. 2D, "TZCNT". */
export const tzcnt: Semantics = (t, i) => counted(t, i, a => t.trailingZeros(sizeOf(dst(i)), a))

/** POPCNT r, r/m. SDM Vol. 2B, "POPCNT". */
export const popcnt: Semantics = (t, i) => {
  const a = t.read(src(i))
  t.flags(flags.popcnt, sizeOf(dst(i)), a, a, a)
  t.write(dst(i), t.popcount(a))
}

/** BSWAP r: of 16 bits is undefined, and gives 0 on the processors there are. SDM Vol. 2A, "BSWAP". */
export const bswap: Semantics = (t, i) => {
  const size = sizeOf(dst(i))
  t.write(dst(i), size === 2 ? zero(t) : t.byteSwap(size, t.read(dst(i))))
}

/** MOVBE. SDM Vol. 2B, "MOVBE". */
export const movbe: Semantics = (t, i) => t.write(dst(i), t.byteSwap(sizeOf(dst(i)), t.read(src(i))))

/** PEXT r, r, r/m. SDM Vol. 2B, "PEXT". */
export const pext: Semantics = (t, i) => t.write(dst(i), t.call('pext', t.read(src(i)), t.read(third(i))))
/** PDEP r, r, r/m. SDM Vol. 2B, "PDEP". */
export const pdep: Semantics = (t, i) => t.write(dst(i), t.call('pdep', t.read(src(i)), t.read(third(i))))

/** CRC32 r, r/m: the polynomial 0x11EDC6F41, bits reflected. SDM Vol. 2A, "CRC32". */
export const crc32: Semantics = (t, i) =>
  t.write(dst(i), t.call('crc32', t.truncate(t.read(dst(i)), 4), t.read(src(i)), number(t, sizeOf(src(i)))))
