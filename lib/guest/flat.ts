/** A guest of plain bytes. */
import { type Gva, gva } from '#bits'

export type FlatGuest = { readonly kind: 'flat'; readonly bytes: Uint8Array; readonly at: Gva; readonly entry: number }

/** Bytes that run in 64-bit mode from `at` (0x40_1000) on, beginning at offset `entry`; readable, writable, executable. */
export const flat = (
  bytes: Uint8Array,
  { at = 0x40_1000n, entry = 0 }: { at?: bigint; entry?: number } = {},
): FlatGuest => {
  if ((at & 0xfffn) !== 0n) throw new RangeError(`flat guest at 0x${at.toString(16)}: not at the beginning of a page`)
  if (entry < 0 || entry >= bytes.length)
    throw new RangeError(`entry ${entry}: the flat guest has ${bytes.length} bytes`)
  return { kind: 'flat', bytes, at: gva(at), entry }
}
