/** Which rows of the table the operands of an instruction fit. */
import type { Mem, Mode, Operand, Reg } from './insn.ts'
import type { Entry } from './names.ts'
import type { OperandForm, Row } from './table.ts'

/** What `encode` needs to know besides mnemonic and operands. */
export type EncodeOptions = {
  readonly mode: Mode
  readonly lock?: boolean
  readonly rep?: '' | 'rep' | 'repne'
  /** A far call or jump through memory. */
  readonly far?: boolean
  /** Immediates and displacements take their full width, because their value may still change. */
  readonly wide?: boolean
  /** Operand size in bytes, for instructions whose operands do not say it: far returns, branches with a 66 prefix. */
  readonly operandSize?: 2 | 4 | 8 | undefined
  /** Address size in bytes, for LOOP, whose operands do not say it. */
  readonly addressSize?: 2 | 4 | 8 | undefined
  /** Bytes of a gather's index register; without it the narrower one is meant. */
  readonly vsib?: 16 | 32 | undefined
}

/** Can `value` be written as a signed or unsigned number of `size` bytes? */
export const fits = (value: bigint, size: number): boolean =>
  size >= 8
    ? value >= -(1n << 63n) && value < 1n << 64n
    : value >= BigInt(-(2 ** (size * 8 - 1))) && value < BigInt(2 ** (size * 8))
export const fitsSigned = (value: bigint, size: number): boolean => BigInt.asIntN(size * 8, value) === value

const registerFits = (form: OperandForm, reg: Reg, mode: Mode): boolean => {
  if (mode !== 64 && reg.index > 7) return false
  if (form.file !== 'gpr') return form.file === reg.file && (form.file !== 'vec' || form.size === reg.size)
  return form.size === reg.size && (reg.file === 'gpr' || reg.file === 'high')
}

const memoryFits = (form: OperandForm, at: Mem): boolean =>
  form.mem >= 0 && (at.size === 0 || form.mem === 0 || form.mem === at.size)

const immediateFits = (row: Row, form: OperandForm, size: number, value: bigint, options: EncodeOptions): boolean => {
  const wide = options.wide === true
  // A PUSH that nobody gave a size is as wide as the mode's stack, however short the number.
  if (row.semantics === 'push' && row.operandSize !== (size || (options.operandSize ?? options.mode / 8))) return false
  if (form.extend === form.size) return fits(value, form.size)
  if (wide && form.size === 1) return false
  return fits(value, form.extend) && fitsSigned(BigInt.asIntN(form.extend * 8, value), form.size)
}

const operandFits = (row: Row, form: OperandForm, operand: Operand, options: EncodeOptions): boolean => {
  switch (form.place) {
    case 'reg':
    case 'vvvv':
    case 'opcode':
    case 'is4':
      return operand.kind === 'reg' && registerFits(form, operand, options.mode)
    case 'rm':
      if (operand.kind === 'reg') return form.size !== 0 && registerFits(form, operand, options.mode)
      return operand.kind === 'mem' && memoryFits(form, operand)
    case 'imm':
      return operand.kind === 'imm' && immediateFits(row, form, operand.size, operand.value, options)
    case 'rel':
      return (
        operand.kind === 'rel' &&
        (operand.size === 0 || operand.size === form.size) &&
        fitsSigned(operand.disp, form.size)
      )
    case 'moffs':
      return (
        operand.kind === 'mem' &&
        operand.base < 0 &&
        operand.index < 0 &&
        !operand.ripRelative &&
        memoryFits(form, operand) &&
        fits(operand.disp, operand.addressSize)
      )
    case 'far':
      return (
        operand.kind === 'far' && (operand.size === 0 ? options.mode === form.size * 8 : operand.size === form.size)
      )
    case 'fixed':
      if (form.size === 0) return operand.kind === 'imm' && operand.value === 1n
      return (
        operand.kind === 'reg' &&
        operand.file === form.file &&
        operand.index === form.index &&
        registerFits(form, operand, options.mode)
      )
    case 'implied':
      return (
        operand.kind === 'mem' &&
        operand.base === form.index &&
        operand.index < 0 &&
        operand.disp === 0n &&
        memoryFits(form, operand)
      )
  }
}

/** Operands that may be left out: what the instruction implies, a shift by 1, the top of the x87 stack. */
export const mayOmit = (row: Row, form: OperandForm): boolean =>
  form.place === 'implied' ||
  (form.place === 'fixed' &&
    (form.file === 'vec' ||
      form.file === 'st' ||
      form.size === 0 ||
      row.forms.some(other => other.place === 'implied')))

export const matches = (row: Row, operands: readonly Operand[], options: EncodeOptions): boolean => {
  const { forms } = row
  if (operands.length === forms.length) {
    for (let n = 0; n < forms.length; n++)
      if (!operandFits(row, forms[n] as OperandForm, operands[n] as Operand, options)) return false
    return true
  }
  if (operands.length > forms.length) return false
  let at = 0
  for (const form of forms) {
    if (mayOmit(row, form)) continue
    const operand = operands[at++]
    if (operand === undefined || !operandFits(row, form, operand, options)) return false
  }
  return at === operands.length
}

const FILES = { gpr: 0, high: 1, seg: 2, cr: 3, dr: 4, st: 5, mm: 6, vec: 7 } as const

/** Kinds, register files and sizes of the operands as one number: what the choice of rows hangs on, values aside. */
const shapeOf = (operands: readonly Operand[]): number => {
  let shape = operands.length
  for (const operand of operands)
    shape =
      shape * 1024 +
      operand.size +
      (operand.kind === 'reg' ? FILES[operand.file] * 64 : 512 + KINDS[operand.kind] * 128)
  return shape
}
const KINDS = { mem: 0, imm: 1, rel: 2, far: 3 } as const

/** Could `form` take an operand of this kind and size, whatever its value? */
const kindFits = (form: OperandForm, operand: Operand): boolean => {
  switch (operand.kind) {
    case 'reg':
      return (
        form.size !== 0 &&
        form.place !== 'imm' &&
        form.place !== 'rel' &&
        form.place !== 'far' &&
        registerFits(form, operand, 64)
      )
    case 'mem':
      return form.mem >= 0 && memoryFits(form, operand)
    case 'imm':
      return form.place === 'imm' || (form.place === 'fixed' && form.size === 0)
    case 'rel':
    case 'far':
      return form.place === operand.kind
  }
}

/** The rows that operands of this shape may take. */
export const candidates = (entry: Entry, operands: readonly Operand[]): readonly Row[] => {
  const shape = shapeOf(operands)
  let rows = entry.shapes.get(shape)
  if (rows === undefined) {
    rows = entry.rows.filter(({ forms }) =>
      // With operands left out there is no telling yet which form is whose.
      operands.length === forms.length
        ? operands.every((operand, n) => kindFits(forms[n]!, operand))
        : operands.length < forms.length,
    )
    entry.shapes.set(shape, rows)
  }
  return rows
}
