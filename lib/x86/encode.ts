/** An instruction to its shortest encoding, as the table has it. SDM Vol. 2A, "Instruction Format". */
import { candidates, type EncodeOptions, fits, fitsSigned, matches, mayOmit } from './fit.ts'
import { CS, DS, ES, FS, GS, type Mem, type Mode, type Operand, type Reg, type Seg, SS } from './insn.ts'
import { type Entry, entryOf } from './names.ts'
import { nameOf, registers } from './register.ts'
import type { Row } from './table.ts'

export type { EncodeOptions } from './fit.ts'

/** No row of the table fits; the message says what the instruction takes. */
export class EncodeError extends Error {
  override readonly name = 'EncodeError'
}

/** An immediate for the encoder: any size that the instruction has room for. */
export const imm = (value: bigint | number): Operand => ({ kind: 'imm', size: 0, value: BigInt(value) })

/** A memory operand for the encoder. `size` 0 leaves the size to the other operand. */
export const mem = (
  at: {
    readonly size?: number
    readonly base?: Reg | undefined
    readonly index?: Reg | undefined
    readonly scale?: 1 | 2 | 4 | 8
    readonly disp?: bigint | number
    readonly seg?: Seg | undefined
    readonly ripRelative?: boolean
    readonly addressSize?: 2 | 4 | 8
  },
  mode: Mode,
): Mem => {
  const register = at.base ?? (at.index?.file === 'gpr' ? at.index : undefined)
  const addressSize = (register?.size ?? at.addressSize ?? mode / 8) as 2 | 4 | 8
  const base = at.base?.index ?? -1
  return {
    kind: 'mem',
    size: at.size ?? 0,
    seg: at.seg ?? defaultSegment(base, addressSize),
    base,
    index: at.index?.index ?? -1,
    scale: at.scale ?? 1,
    disp: BigInt(at.disp ?? 0),
    ripRelative: at.ripRelative ?? false,
    addressSize,
  }
}

/** SS for what is based on the stack or frame pointer, else DS. */
const defaultSegment = (base: number, addressSize: number): Seg =>
  base === 5 || (base === 4 && addressSize !== 2) ? SS : DS

const SEGMENT_PREFIX: Record<Seg, number> = { [ES]: 0x26, [CS]: 0x2e, [SS]: 0x36, [DS]: 0x3e, [FS]: 0x64, [GS]: 0x65 }

const out = new Uint8Array(32)
let length = 0
const put = (byte: number): void => {
  out[length++] = byte
}
const putInt = (value: number, size: number): void => {
  for (let n = 0; n < size; n++) out[length++] = value >> (n * 8)
}
const putBig = (value: bigint, size: number): void => {
  const low = Number(BigInt.asIntN(32, value))
  putInt(low, Math.min(size, 4))
  if (size === 8) putInt(Number(BigInt.asIntN(32, value >> 32n)), 4)
}

/** ModRM.rm and what follows it, for 16-bit addresses by base and index. */
const MODRM16 = new Map([
  ['3,6', 0],
  ['3,7', 1],
  ['5,6', 2],
  ['5,7', 3],
  ['6,-1', 4],
  ['7,-1', 5],
  ['5,-1', 6],
  ['3,-1', 7],
])

const putMemory16 = (reg: number, at: Mem, wide: boolean): boolean => {
  const disp = BigInt.asIntN(16, at.disp)
  if (!fits(at.disp, 2) || at.scale !== 1) return false
  if (at.base < 0 && at.index < 0) {
    put((reg << 3) | 6)
    putBig(disp, 2)
    return true
  }
  const rm = MODRM16.get(`${at.base},${at.index}`) ?? MODRM16.get(`${at.index},${at.base}`)
  if (rm === undefined) return false
  const size = wide ? 2 : disp === 0n && rm !== 6 ? 0 : fitsSigned(disp, 1) ? 1 : 2
  put((size << 6) | (reg << 3) | rm)
  putBig(disp, size)
  return true
}

const LOG2: Record<number, number> = { 1: 0, 2: 1, 4: 2, 8: 3 }

/** False where the address cannot be expressed. */
const putMemory = (reg: number, at: Mem, mode: Mode, vsib: boolean, wide: boolean): boolean => {
  if (at.addressSize === 2) return putMemory16(reg, at, wide)
  const disp = fits(at.disp, at.addressSize) ? BigInt.asIntN(at.addressSize * 8, at.disp) : at.disp
  if (!fitsSigned(disp, 4) || (at.index === 4 && !vsib)) return false
  const hasIndex = at.index >= 0
  if (at.base < 0) {
    if (at.ripRelative || (!hasIndex && mode !== 64)) put((reg << 3) | 5)
    else {
      put((reg << 3) | 4)
      put(((LOG2[at.scale] as number) << 6) | ((hasIndex ? at.index & 7 : 4) << 3) | 5)
    }
    putBig(disp, 4)
    return true
  }
  const base = at.base & 7
  const size = wide ? 4 : disp === 0n && base !== 5 ? 0 : fitsSigned(disp, 1) ? 1 : 4
  const mod = size === 0 ? 0 : size === 1 ? 1 : 2
  if (hasIndex || base === 4) {
    put((mod << 6) | (reg << 3) | 4)
    put(((LOG2[at.scale] as number) << 6) | ((hasIndex ? at.index & 7 : 4) << 3) | base)
  } else put((mod << 6) | (reg << 3) | base)
  putBig(disp, size)
  return true
}

/** Writes `row` with `operands` to `out`; false where this row cannot express them. */
const put1 = (row: Row, given: readonly Operand[], options: EncodeOptions): boolean => {
  const { mode } = options
  const is64 = mode === 64
  length = 0
  let [reg, rm, plus, vvvv, is4] = [row.digit < 0 ? 0 : row.digit, -1, 0, 0, -1]
  let [at, implied, direct]: (Mem | undefined)[] = [undefined, undefined, undefined]
  let vsib = false
  let [needsRex, noRex] = [false, false]
  let next = 0
  const omits = given.length < row.forms.length
  for (const form of row.forms) {
    if (omits && mayOmit(row, form)) continue
    const operand = given[next++] as Operand
    if (operand.kind === 'mem') {
      if (form.place === 'rm') at = operand
      else if (form.place === 'moffs') direct = operand
      // Of the two sides of a string instruction, the rSI side is the one that a prefix can move.
      else if (form.place === 'implied' && (implied === undefined || implied.base === 7)) implied = operand
      if (form.vsib !== 0) vsib = true
      continue
    }
    if (operand.kind !== 'reg') continue
    let number = operand.index
    if (operand.file === 'high') {
      noRex = true
      number += 4
    } else if (operand.file === 'gpr' && operand.size === 1 && number >= 4) needsRex = true
    if (form.place === 'reg') reg = number
    else if (form.place === 'rm') rm = number
    else if (form.place === 'opcode') plus = number
    else if (form.place === 'vvvv') vvvv = number
    else if (form.place === 'is4') is4 = number
  }
  const address = at ?? implied ?? direct
  if (row.plus && row.byte === 0x90 && plus === 0) return false

  if (options.lock) put(0xf0)
  if (options.rep) put(options.rep === 'rep' ? 0xf3 : 0xf2)
  if (address !== undefined) {
    const usual = at !== undefined ? defaultSegment(at.base, at.addressSize) : row.rep && address.base === 7 ? ES : DS
    if (address.seg !== usual) {
      if (row.rep && address.base === 7) return false
      if (!is64 || address.seg >= FS) put(SEGMENT_PREFIX[address.seg])
    }
    if (address.addressSize * 8 !== mode) {
      if (is64 ? address.addressSize !== 4 : address.addressSize === 8) return false
      put(0x67)
    }
  } else if ((row.addressSize || (options.addressSize ?? mode / 8)) * 8 !== mode) put(0x67)
  const small = row.operandSize === 2 ? mode !== 16 : row.operandSize === 4 && mode === 16
  if (small || row.prefix === '66') if (!row.vex) put(0x66)
  if (!row.vex && row.prefix === 'F3') put(0xf3)
  if (!row.vex && row.prefix === 'F2') put(0xf2)

  const bits =
    (row.w === 1 ? 8 : 0) |
    (reg > 7 ? 4 : 0) |
    (at !== undefined && at.index > 7 ? 2 : 0) |
    (rm > 7 || plus > 7 || (at !== undefined && at.base > 7) ? 1 : 0)
  if (row.vex) putVex(row, bits, vvvv)
  else {
    if (bits !== 0 || needsRex) {
      if (!is64 || noRex) return false
      put(0x40 | bits)
    }
    if (row.map > 0) put(0x0f)
    if (row.map > 1) put(row.map === 2 ? 0x38 : 0x3a)
  }
  put(row.byte | (plus & 7))
  if (row.fixed >= 0) put(row.fixed)
  else if (row.modrm) {
    if (at !== undefined) {
      if (!putMemory(reg & 7, at, mode, vsib, options.wide === true)) return false
    } else put(0xc0 | ((reg & 7) << 3) | (Math.max(rm, 0) & 7))
  }
  if (direct !== undefined) putBig(direct.disp, direct.addressSize)
  if (is4 >= 0) put(is4 << 4)
  next = 0
  for (const form of row.forms) {
    if (omits && mayOmit(row, form)) continue
    const operand = given[next++] as Operand
    if (form.place === 'imm' && operand.kind === 'imm') putBig(operand.value, form.size)
    else if (form.place === 'rel' && operand.kind === 'rel') putBig(operand.disp, form.size)
    else if (form.place === 'far' && operand.kind === 'far') {
      putBig(operand.offset, form.size)
      putInt(operand.selector, 2)
    }
  }
  return length <= 15
}

const PP: Record<string, number> = { '66': 1, F3: 2, F2: 3 }

const putVex = (row: Row, bits: number, vvvv: number): void => {
  const rest = ((~vvvv & 15) << 3) | (row.l === 1 ? 4 : 0) | (PP[row.prefix] ?? 0)
  const inverted = ~bits & 7
  if ((bits & 11) === 0 && row.map === 1) {
    put(0xc5)
    put(((inverted & 4) << 5) | rest)
  } else {
    put(0xc4)
    put((inverted << 5) | row.map)
    put(((bits & 8) << 4) | rest)
  }
}

const best = new Uint8Array(16)

/** The operand size that a branch or stack operation has without a prefix. */
const natural = (row: Row, mode: Mode): boolean =>
  row.operandSize === 0 || row.operandSize * 8 === mode || (mode === 64 && row.operandSize === 4 && !row.default64)

const isRefused = (row: Row, operands: readonly Operand[], options: EncodeOptions, entry: Entry): boolean => {
  const size = options.operandSize ?? entry.operandSize
  if (size !== undefined && row.operandSize !== size && row.operandSize !== 0) return true
  if (options.lock && !(row.lock && operands[0]?.kind === 'mem')) return true
  if (options.rep && !row.rep) return true
  if (options.vsib && row.forms.some(form => form.vsib !== 0 && form.vsib !== options.vsib)) return true
  const last = operands[operands.length - 1]
  if (last?.kind === 'rel') return size === undefined && !natural(row, options.mode)
  if (last?.kind !== 'mem') return false
  const isFar = row.semantics === 'callfar' || row.semantics === 'jmpfar'
  if (options.far === true) return !isFar || (last.size === 0 && !natural(row, options.mode))
  return isFar && last.size !== 6 && last.size !== 10
}

/** The number of the shortest bytes, which are left in `best`. */
const choose = (mnemonic: string, given: readonly Operand[], options: EncodeOptions): number => {
  const entry = entryOf(mnemonic, options.mode)
  if (entry === undefined) throw new EncodeError(`${mnemonic} is no instruction`)
  // imul rax, 5 is imul rax, rax, 5.
  const [first, second] = given
  const operands = given.length === 2 && second?.kind === 'imm' && entry.isImul ? [first!, first!, second] : given
  let shortest = 0
  let [memory, unclear] = [-1, false]
  const unsized = operands.some(operand => operand.kind === 'mem' && operand.size === 0)
  for (const row of candidates(entry, operands)) {
    if (isRefused(row, operands, options, entry) || !matches(row, operands, options)) continue
    if (unsized) {
      const size = row.forms.find(form => form.mem > 0)?.mem ?? 0
      if (entry.isNatural && options.far !== true && options.operandSize === undefined && !natural(row, options.mode))
        continue
      if (memory > 0 && size !== memory) unclear = true
      memory = size
    }
    if (!put1(row, operands, options) || (shortest !== 0 && length >= shortest)) continue
    shortest = length
    best.set(out.subarray(0, length))
  }
  if (unclear)
    throw new EncodeError(
      `${mnemonic}: the size of the memory operand is not clear; write byte ptr, word ptr, dword ptr or qword ptr`,
    )
  if (shortest === 0) throw new EncodeError(why(mnemonic, entry, operands, options))
  return shortest
}

/**
 * The shortest bytes for an instruction; among equals the first row of the table. Mnemonics in any case, with the
 * usual synonyms (`jz`, `repz` and the like). A `Rel` of size 0 takes the shortest form that its displacement fits.
 * @throws EncodeError where no row fits
 */
export const encode = (mnemonic: string, given: readonly Operand[], options: EncodeOptions): Uint8Array =>
  best.slice(0, choose(mnemonic, given, options))

/** As `encode`, into `bytes` from `at` on, where there is room for 15. Returns the number of bytes. */
export const encodeInto = (
  bytes: Uint8Array,
  at: number,
  mnemonic: string,
  given: readonly Operand[],
  options: EncodeOptions,
): number => {
  const size = choose(mnemonic, given, options)
  for (let n = 0; n < size; n++) bytes[at + n] = best[n]!
  return size
}

/** What was wanted and what there is. */
const why = (mnemonic: string, entry: Entry, operands: readonly Operand[], options: EncodeOptions): string => {
  if (entry.rows.length === 0) return `${mnemonic} does not exist in ${options.mode}-bit code`
  if (options.lock && entry.rows.every(row => !row.lock)) return `${mnemonic} cannot be locked`
  if (options.lock && operands[0]?.kind !== 'mem') return `lock ${mnemonic} needs a memory destination`
  if (options.rep && entry.rows.every(row => !row.rep)) return `${mnemonic} cannot be repeated`
  const lists = [...new Set(entry.rows.map(row => row.operands.join(', ') || 'no operands'))]
  const shown = lists.length > 8 ? [...lists.slice(0, 8), '…'] : lists
  return `${mnemonic} ${operands.map(said).join(', ')} has no encoding in ${options.mode}-bit code; ${mnemonic} takes ${shown.join(' | ')}`.replace(
    '  ',
    ' ',
  )
}
const said = (operand: Operand): string => {
  switch (operand.kind) {
    case 'reg':
      return nameOf(operand)
    case 'mem':
      return operand.size === 0 ? 'memory' : `m${operand.size * 8}`
    case 'imm':
      return `0x${BigInt.asUintN(64, operand.value).toString(16)}`
    case 'rel':
      return 'a near target'
    case 'far':
      return 'a far target'
  }
}

/** A general register by number and size in bytes, for the encoder's callers. */
export const gpr = (index: number, size: 1 | 2 | 4 | 8): Reg => registers('gpr', size)[index] as Reg
