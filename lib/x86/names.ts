/** Mnemonics as people write them: synonyms, and names whose meaning depends on the mode. */
import type { Mode } from './insn.ts'
import { type Row, table } from './table.ts'

/** The rows that a name may mean in one mode. */
export type Entry = {
  readonly rows: readonly Row[]
  readonly operandSize: 2 | 4 | 8 | undefined
  /** Memory without a size has the one that goes with the mode: stack, near branches, x87 environments. */
  readonly isNatural: boolean
  readonly isImul: boolean
  /** Rows by the shape of the operands, as the encoder comes to need them. */
  readonly shapes: Map<number, readonly Row[]>
}

const CC: Record<string, string> = {
  C: 'B',
  NAE: 'B',
  NB: 'AE',
  NC: 'AE',
  Z: 'E',
  NZ: 'NE',
  NA: 'BE',
  NBE: 'A',
  PE: 'P',
  PO: 'NP',
  NGE: 'L',
  NL: 'GE',
  NG: 'LE',
  NLE: 'G',
}

const SYNONYMS: Record<string, string> = {
  SAL: 'SHL',
  XLAT: 'XLATB',
  FWAIT: 'WAIT',
  RETN: 'RET',
  LRET: 'RETF',
  ICEBP: 'INT1',
  MOVABS: 'MOV',
  LOOPZ: 'LOOPE',
  LOOPNZ: 'LOOPNE',
  PUSHFW: 'PUSHF',
  POPFW: 'POPF',
  PUSHAW: 'PUSHA',
  POPAW: 'POPA',
  IRETW: 'IRET',
  UD2A: 'UD2',
}

/** Without a size in its name, the one that the mode has. `iret` in 64-bit mode is the 32-bit one, as for GNU as. */
const BY_MODE: Record<string, Record<Mode, string>> = {
  PUSHF: { 16: 'PUSHF', 32: 'PUSHFD', 64: 'PUSHFQ' },
  POPF: { 16: 'POPF', 32: 'POPFD', 64: 'POPFQ' },
  PUSHA: { 16: 'PUSHA', 32: 'PUSHAD', 64: 'PUSHAD' },
  POPA: { 16: 'POPA', 32: 'POPAD', 64: 'POPAD' },
  IRET: { 16: 'IRET', 32: 'IRETD', 64: 'IRETD' },
}

/** Names that carry an operand size which the row's mnemonic does not. */
const SIZED: Record<string, readonly [name: string, size: 2 | 4 | 8]> = {
  RETFW: ['RETF', 2],
  RETFD: ['RETF', 4],
  RETFQ: ['RETF', 8],
  LRETQ: ['RETF', 8],
  RETW: ['RET', 2],
  RETD: ['RET', 4],
  RETQ: ['RET', 8],
  ENTERW: ['ENTER', 2],
  ENTERD: ['ENTER', 4],
  LEAVEW: ['LEAVE', 2],
  LEAVED: ['LEAVE', 4],
}

const NATURAL = new Set(['PUSH', 'POP', 'CALL', 'JMP', 'FLDENV', 'FNSTENV', 'FRSTOR', 'FNSAVE'])

const byMnemonic = new Map<string, Row[]>()
for (const row of table) {
  if (row.decodeOnly) continue
  const list = byMnemonic.get(row.mnemonic)
  if (list === undefined) byMnemonic.set(row.mnemonic, [row])
  else list.push(row)
}

const caches: Record<Mode, Map<string, Entry | undefined>> = { 16: new Map(), 32: new Map(), 64: new Map() }

const conditional = (name: string): string => {
  const match = /^(J|SET|CMOV)(.+)$/.exec(name)
  const cc = match === null ? undefined : CC[match[2] as string]
  return match === null || cc === undefined ? name : `${match[1]}${cc}`
}

const look = (mnemonic: string, mode: Mode): Entry | undefined => {
  const upper = mnemonic.toUpperCase()
  const [plain, operandSize] = SIZED[upper] ?? [
    BY_MODE[upper]?.[mode] ?? SYNONYMS[upper] ?? conditional(upper),
    undefined,
  ]
  const all = byMnemonic.get(plain)
  if (all === undefined) return undefined
  const isFull = (row: Row) =>
    row.forms.some(form => form.place === 'moffs' || (form.place === 'imm' && form.size === 8))
  const rows = all.filter(row => (mode === 64 ? row.valid64 : row.valid32) && (upper !== 'MOVABS' || isFull(row)))
  return { rows, operandSize, isNatural: NATURAL.has(plain), isImul: plain === 'IMUL', shapes: new Map() }
}

/** What `mnemonic` means in code of `mode` bits; undefined where there is no such instruction at all. */
export const entryOf = (mnemonic: string, mode: Mode): Entry | undefined => {
  const cache = caches[mode]
  const known = cache.get(mnemonic)
  if (known !== undefined || cache.has(mnemonic)) return known
  const entry = look(mnemonic, mode)
  cache.set(mnemonic, entry)
  return entry
}
