/** Encodings made from the rows of the table: the plainest one, and random ones. */
import type { Mode } from '../insn.ts'
import type { Row } from '../table.ts'

/** A number below `limit`. */
export type Random = (limit: number) => number
const none: Random = () => 0

/** A generator that gives the same numbers for the same seed: mulberry32. */
export const randomFrom = (seed: number): Random => {
  let state = seed >>> 0
  return limit => {
    state = (state + 0x6d2b_79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit) >>> 0
  }
}

const PP: Partial<Record<Row['prefix'], number>> = { '66': 1, F3: 2, F2: 3 }
const SEGMENTS = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65]

/**
 * Fifteen bytes that begin with the row's prefixes, opcode and ModRM. Without `random` all that may vary is 0, or a
 * register; with it registers, memory operands and whatever follows are random, and the bytes may mean another row.
 */
export const bytesOf = (row: Row, mode: Mode, random: Random = none): Uint8Array => {
  const isRandom = random !== none
  const size = row.force64 || row.default64 ? 0 : row.operandSize
  const bytes: number[] = []
  // A gather's destination is register 3, its index 2 and its mask 1; it has no 16-bit addresses.
  const vsib = row.forms.some(form => form.vsib !== 0)
  if (row.addressSize === 0 ? vsib && mode === 16 : row.addressSize * 8 !== mode) bytes.push(0x67)
  else if (isRandom && row.addressSize === 0 && !vsib && random(8) === 0) bytes.push(0x67)
  if (isRandom && random(8) === 0) bytes.push(SEGMENTS[random(6)]!)
  const isMemory = row.mod === 'mem' || (row.mod === 'any' && isRandom && random(2) === 0)
  if (isRandom && row.lock && isMemory && random(3) === 0) bytes.push(0xf0)
  if (isRandom && row.rep && random(2) === 0) bytes.push(0xf2 + random(2))
  const rex = isRandom && mode === 64 ? random(8) & (row.noB ? 6 : 7) : 0
  const vvvv = vsib ? 1 : isRandom ? random(mode === 64 ? 16 : 8) : 0
  if (!row.vex) {
    if (row.prefix === '66' || (size === 2 && mode !== 16) || (size === 4 && mode === 16)) bytes.push(0x66)
    if (row.prefix === 'F3') bytes.push(0xf3)
    if (row.prefix === 'F2') bytes.push(0xf2)
    if (row.w === 1) bytes.push(0x48 | rex)
    else if (rex !== 0) bytes.push(0x40 | rex)
    if (row.map > 0) bytes.push(0x0f)
    if (row.map > 1) bytes.push(row.map === 2 ? 0x38 : 0x3a)
  } else {
    const usesVvvv = row.forms.some(form => form.place === 'vvvv')
    const rest = ((~(usesVvvv ? vvvv : 0) & 15) << 3) | (row.l === 1 ? 4 : 0) | (PP[row.prefix] ?? 0)
    bytes.push(0xc4, (0xe0 ^ (rex << 5)) | row.map, (row.w === 1 ? 0x80 : 0) | rest)
  }
  // 90 and 90+r differ in the register only.
  if (row.plus) bytes.push(row.byte | (isRandom ? random(8) : row.byte === 0x90 ? 1 : 0))
  else bytes.push(row.byte)
  if (row.fixed >= 0) bytes.push(row.fixed)
  else if (row.modrm) {
    const mod = isMemory ? (isRandom ? random(3) : 0) : 3
    const reg = row.digit >= 0 ? row.digit : isRandom && !vsib ? random(8) : 3
    bytes.push((mod << 6) | (reg << 3) | (vsib ? 4 : isRandom ? random(8) : 0))
    if (vsib) bytes.push(2 << 3)
  }
  while (bytes.length < 15) bytes.push(isRandom ? random(256) : 0)
  return Uint8Array.from(bytes.slice(0, 15))
}
