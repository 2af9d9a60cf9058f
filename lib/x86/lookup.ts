/** From an opcode and what its prefixes and ModRM say to the row of the table. */
import type { Mode } from './insn.ts'
import { type Row, table } from './table.ts'

/** Prefix of a row as the bytes give it. */
export const [NONE, P66, PF3, PF2] = [0, 1, 2, 3] as const

/** Rows by map and opcode byte, the most specific first. VEX maps follow the four legacy ones. */
const index: (readonly Row[] | undefined)[] = (() => {
  const lists: Row[][] = []
  for (const row of table.filter(row => !row.encodeOnly))
    for (let byte = row.byte; byte <= row.byte + (row.plus ? 7 : 0); byte++) {
      const at = slot(row.vex, row.map, byte)
      const list = lists[at]
      if (list === undefined) lists[at] = [row]
      else list.push(row)
    }
  for (const list of lists) list?.sort((a, b) => b.rank - a.rank || a.number - b.number)
  return lists
})()

export function slot(vex: boolean, map: number, byte: number): number {
  return ((vex ? 4 : 0) + map) * 256 + byte
}

/** Slots that hold any row. */
export const isOpcode = index.map(list => list !== undefined)
/** Slots whose opcodes take a ModRM byte. */
export const hasModrm = index.map(list => list?.[0]?.modrm === true)

/** What `find` looks at, as a number: the mode, and where each of the rest is. */
const PART = { addressSize: 15 << 3, p66: 1 << 7, b: 1 << 8, l: 1 << 9, w: 1 << 10, prefix: 3 << 11 } as const
const MODRM = 13
const MODE = 7

/** What the rows of an opcode ask for, as bits of that number. */
const askedBy = (list: readonly Row[]): number => {
  let asked = MODE
  for (const row of list) {
    if (row.prefix !== '') asked |= PART.prefix
    if (row.operandSize !== 0) asked |= PART.p66 | PART.w
    if (row.w >= 0) asked |= PART.w
    if (row.l >= 0) asked |= PART.l
    if (row.noB) asked |= PART.b
    if (row.addressSize !== 0) asked |= PART.addressSize
    if (row.mod === 'mem' || row.mod === 'reg') asked |= 0xc0 << MODRM
    if (row.digit >= 0) asked |= 0x38 << MODRM
    if (row.fixed >= 0) asked |= 0xff << MODRM
  }
  return asked
}
/** By slot, from its first use on. */
const asked: (number | undefined)[] = []

/** What chose a row before chooses it again: the slot, and what its rows ask for. */
const found = new Map<number, Row | null>()

const prefixFits = (row: Row, prefix: number): boolean => {
  switch (row.prefix) {
    case '':
      return true
    case 'NP':
      return prefix === NONE
    case 'NFx':
      return prefix <= P66
    case '66':
      return prefix === P66
    case 'F3':
      return prefix === PF3
    case 'F2':
      return prefix === PF2
  }
}

const find = (list: readonly Row[], key: Key): Row | null => {
  for (const row of list) {
    if (!(key.mode64 ? row.valid64 : row.valid32)) continue
    if (!prefixFits(row, key.prefix)) continue
    if (row.modrm) {
      const isMemory = key.modrm < 0xc0
      if (row.fixed >= 0 && row.fixed !== key.modrm) continue
      if (row.digit >= 0 && row.digit !== ((key.modrm >> 3) & 7)) continue
      if ((row.mod === 'mem' && !isMemory) || (row.mod === 'reg' && isMemory)) continue
    }
    if (row.noB && key.b) continue
    if (row.l >= 0 && row.l !== key.l) continue
    if (row.w >= 0 && row.w !== key.w && !(row.generalVex && !key.mode64)) continue
    if (row.addressSize !== 0 && row.addressSize !== key.addressSize) continue
    if (row.operandSize !== 0 && !row.force64) {
      // A 66 that belongs to the opcode says nothing about the size.
      const small = key.p66 && row.prefix !== '66'
      const size = key.w === 1 ? 8 : small !== (key.mode === 16) ? 2 : 4
      const actual = row.default64 && size === 4 ? 8 : size
      if (row.operandSize !== actual && !(actual === 8 && row.operandSize === 4 && row.w === -1 && !hasWide(list, row)))
        continue
    }
    return row
  }
  return null
}

/** Is there a row of this opcode for REX.W? Where there is none, REX.W is ignored. */
const hasWide = (list: readonly Row[], row: Row): boolean =>
  list.some(
    r => r.operandSize === 8 && r.valid64 && r.prefix === row.prefix && r.digit === row.digit && r.mod === row.mod,
  )

/** All that chooses among the rows of an opcode. */
type Key = {
  mode: Mode
  mode64: boolean
  prefix: number
  p66: boolean
  w: number
  l: number
  b: boolean
  modrm: number
  addressSize: number
}
/** Filled in by the decoder, so that nothing is allocated for it. */
export const key: Key = {
  mode: 64,
  mode64: true,
  prefix: 0,
  p66: false,
  w: 0,
  l: 0,
  b: false,
  modrm: 0,
  addressSize: 8,
}

/** The row for what `key` holds, at a slot that is some opcode's; null where no row fits. */
export const rowAt = (where: number): Row | null => {
  const { modrm } = key
  asked[where] ??= askedBy(index[where]!)
  const all =
    (modrm << MODRM) |
    (key.prefix << 11) |
    (key.w << 10) |
    (key.l << 9) |
    (key.b ? PART.b : 0) |
    (key.p66 ? PART.p66 : 0) |
    (key.addressSize << 3) |
    (key.mode >> 4)
  const number = (where << 21) | (all & asked[where])
  let row = found.get(number)
  if (row === undefined) {
    row = find(index[where]!, key)
    found.set(number, row)
  }
  return row
}
