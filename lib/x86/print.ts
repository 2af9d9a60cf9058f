/** An instruction as text: Intel syntax in lower case, which the assembler reads back. */
import { DS, ES, type Insn, type Mem, type Operand, SS } from './insn.ts'
import { entryOf } from './names.ts'
import { nameOf, registers } from './register.ts'
import type { OperandForm } from './table.ts'

const SIZES: Record<number, string> = {
  1: 'byte',
  2: 'word',
  4: 'dword',
  6: 'fword',
  8: 'qword',
  10: 'tbyte',
  16: 'xmmword',
  32: 'ymmword',
}

const hex = (value: bigint): string => (value < 0n ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`)

const defaultSegment = (at: Mem): number => (at.base === 5 || (at.base === 4 && at.addressSize !== 2) ? SS : DS)

const memory = (insn: Insn, form: OperandForm, at: Mem): string => {
  const size = SIZES[at.size] === undefined ? '' : `${SIZES[at.size]} ptr `
  const isFar = insn.row.semantics === 'callfar' || insn.row.semantics === 'jmpfar'
  const implied = form.place === 'implied'
  const usual = implied || form.place === 'moffs' ? (implied && at.seg === ES ? ES : DS) : defaultSegment(at)
  const seg = at.seg === usual && !(implied && at.seg === ES) ? '' : `${nameOf(registers('seg', 2)[at.seg]!)}:`
  const terms: string[] = []
  if (at.ripRelative) terms.push(at.addressSize === 4 ? 'eip' : 'rip')
  if (at.base >= 0) terms.push(nameOf(registers('gpr', at.addressSize)[at.base]!))
  if (at.index >= 0) {
    const file = form.vsib === 0 ? registers('gpr', at.addressSize) : registers('vec', form.vsib)
    const scaled = at.scale > 1 || at.base < 0 ? `*${at.scale}` : ''
    terms.push(`${nameOf(file[at.index]!)}${scaled}`)
  }
  let text = terms.join('+')
  if (text === '') text = hex(BigInt.asUintN(at.addressSize * 8, at.disp))
  else if (at.disp !== 0n) text += `${at.disp < 0n ? '' : '+'}${hex(at.disp)}`
  return `${isFar ? 'far ' : ''}${size}${seg}[${text}]`
}

const operand = (insn: Insn, form: OperandForm, value: Operand, ip: bigint): string => {
  switch (value.kind) {
    case 'reg':
      return value.file === 'st' ? `st(${value.index})` : nameOf(value)
    case 'mem':
      return memory(insn, form, value)
    case 'imm': {
      const sized = insn.row.semantics === 'push' && insn.operandSize * 8 !== insn.mode
      return `${sized ? `${SIZES[insn.operandSize]} ` : ''}${hex(value.value)}`
    }
    case 'rel':
      return hex(BigInt.asUintN(insn.mode === 64 ? 64 : insn.operandSize * 8, ip + BigInt(insn.length) + value.disp))
    case 'far':
      return `${value.size * 8 === insn.mode ? '' : `${SIZES[value.size]} `}${hex(BigInt(value.selector))}:${hex(value.offset)}`
  }
}

/** Is a piece of memory where the instruction finds it without being told? */
const isUsual = (insn: Insn, form: OperandForm, value: Operand): boolean =>
  value.kind !== 'mem' ||
  form.place !== 'implied' ||
  (value.addressSize * 8 === insn.mode && value.seg === (insn.row.rep && value.base === 7 ? ES : DS))

/** Names that say the operand size which the row's mnemonic leaves out. */
const NARROW: Record<string, string> = { PUSHF: 'pushfw', POPF: 'popfw', PUSHA: 'pushaw', POPA: 'popaw', IRET: 'iretw' }
/** Instructions whose operands do not show the operand size, and the size they have in 64-bit mode. */
const SILENT: Record<string, 4 | 8> = {
  NOP: 4,
  RETF: 4,
  FLDENV: 4,
  FNSTENV: 4,
  FRSTOR: 4,
  FNSAVE: 4,
  RET: 8,
  ENTER: 8,
  LEAVE: 8,
  PUSH: 8,
  POP: 8,
}

const shows = (value: Operand): boolean =>
  (value.kind === 'reg' && value.file !== 'seg') || (value.kind === 'mem' && SIZES[value.size] !== undefined)

const sizePrefixes = (insn: Insn): string => {
  const { row, mode, operands } = insn
  const usual = operands.some(o => o.kind === 'rel') ? 8 : SILENT[row.mnemonic]
  const natural = mode === 64 ? usual : mode / 8
  let text = ''
  if (usual !== undefined && row.operandSize !== 0 && insn.operandSize !== natural && !operands.some(shows))
    if (row.semantics !== 'push' || operands[0]?.kind !== 'imm') text += `o${insn.operandSize * 8} `
  const at = operands.find(o => o.kind === 'mem')
  const absolute = at?.kind === 'mem' && at.base < 0 && at.index < 0 && !at.ripRelative
  if ((absolute || row.mnemonic.startsWith('LOOP')) && insn.addressSize * 8 !== mode)
    text += `a${insn.addressSize * 8} `
  return text
}

/**
 * The instruction at `ip` as text: `lock add dword ptr [rax+rcx*4+0x8], 0x1`. Branch targets are addresses. A RIP-relative
 * operand is followed by a comment with its address.
 */
export const print = (insn: Insn, ip: bigint): string => {
  const { row, operands } = insn
  const { forms } = row
  let text = insn.lock ? 'lock ' : ''
  if (insn.rep === 'rep') text += row.semantics === 'cmps' || row.semantics === 'scas' ? 'repe ' : 'rep '
  else if (insn.rep === 'repne') text += 'repne '
  text += sizePrefixes(insn)
  text += NARROW[row.mnemonic] ?? row.mnemonic.toLowerCase()
  const usual = forms.every((form, n) => isUsual(insn, form, operands[n]!))
  const hides = usual && forms.some(form => form.place === 'implied')
  const shown = forms.flatMap((form, n) => {
    if (hides && (form.place === 'implied' || (row.rep && form.place === 'fixed'))) return []
    return [operand(insn, form, operands[n]!, ip)]
  })
  if (shown.length > 0) text += ` ${shown.join(', ')}`
  const relative = operands.find(o => o.kind === 'mem' && o.ripRelative)
  if (relative?.kind === 'mem')
    text += `  # ${hex(BigInt.asUintN(relative.addressSize * 8, ip + BigInt(insn.length) + relative.disp))}`
  return text
}

/** Would the assembler take this instruction's mnemonic at all? Rows that only the decoder knows have none. */
export const isAssembled = (insn: Insn): boolean =>
  !insn.row.decodeOnly && entryOf(insn.row.mnemonic, insn.mode) !== undefined
