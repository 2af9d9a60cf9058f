/** What PCMPESTRI, PCMPESTRM, PCMPISTRI and PCMPISTRM compare. SDM Vol. 2B, "Imm8 Control Byte Operation for PCMPESTRI". */

/** Elements of a 128-bit value, as the immediate's format has them. */
const elements = (value: bigint, imm: number): number[] => {
  const size = imm & 1 ? 16 : 8
  const of = imm & 2 ? BigInt.asIntN : BigInt.asUintN
  return Array.from({ length: 128 / size }, (_, n) => Number(of(size, value >> BigInt(n * size))))
}

/** Elements before the first that is 0. */
const implicitLength = (list: readonly number[]): number => {
  const end = list.indexOf(0)
  return end < 0 ? list.length : end
}

/** How element `i` of a, of which `n` are valid, aggregates with the elements of b for position `at`. */
const meets = (a: number[], n: number, b: number[], m: number, at: number, aggregation: number): boolean => {
  switch (aggregation) {
    case 0: // equal any
      return at < m && a.slice(0, n).includes(b[at]!)
    case 1: // ranges
      if (at >= m) return false
      for (let i = 0; i + 1 < n; i += 2) if (a[i]! <= b[at]! && b[at]! <= a[i + 1]!) return true
      return false
    case 2: // equal each
      return at < n && at < m ? a[at] === b[at] : at >= n && at >= m
    default: // equal ordered
      for (let i = 0; i < n && at + i < b.length; i++) if (at + i >= m || a[i] !== b[at + i]) return false
      return true
  }
}

/** Lengths of this mean that the strings end at their first element of 0. */
export const IMPLICIT = 0xff

/**
 * The intermediate result in bits 15:0, and above it CF, ZF, SF and OF in bits 16 to 19.
 * `control` is the immediate with the lengths of a and b above it, one byte each.
 */
export const compareStrings = (a: bigint, b: bigint, control: number): number => {
  const imm = control & 0xff
  const [x, y] = [elements(a, imm), elements(b, imm)]
  const length = (given: number, list: number[]) =>
    given === IMPLICIT ? implicitLength(list) : Math.min(given, list.length)
  const [n, m] = [length((control >> 8) & 0xff, x), length((control >> 16) & 0xff, y)]
  let result = 0
  for (let at = 0; at < y.length; at++) {
    const negate = (imm & 0x10) !== 0 && ((imm & 0x20) === 0 || at < m)
    if (meets(x, n, y, m, at, (imm >> 2) & 3) !== negate) result |= 1 << at
  }
  const flags = (result !== 0 ? 1 : 0) | (m < y.length ? 2 : 0) | (n < x.length ? 4 : 0) | (result & 1 ? 8 : 0)
  return result | (flags << 16)
}
