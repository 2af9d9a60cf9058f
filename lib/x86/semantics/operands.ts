/** Names for the parts of an instruction, and for the registers an instruction uses without saying so. */
import { NotModelled, type Size } from '#bits'
import type { Insn, Mem, Operand, Reg } from '../insn.ts'
import type { Tier } from '../tier.ts'

const operand = (i: Insn, n: number): Operand => {
  const found = i.operands[n]
  if (found === undefined) throw new NotModelled(`${i.row.mnemonic}: operand ${n + 1} of the row`)
  return found
}
export const dst = (i: Insn): Operand => operand(i, 0)
export const src = (i: Insn): Operand => operand(i, 1)
export const third = (i: Insn): Operand => operand(i, 2)
/** The last operand: the source of instructions that have one, two or three. */
export const last = (i: Insn): Operand => operand(i, i.operands.length - 1)

/** Size of a general-purpose operand. */
export const sizeOf = (o: Operand): Size => o.size as Size
export const bitsOf = (size: Size): number => size * 8

/** A memory operand where the encoding allows nothing else. */
export const memory = (i: Insn, o: Operand): Mem => {
  if (o.kind !== 'mem') throw new NotModelled(`${i.row.mnemonic}: ${o.kind} operand where the row says memory`)
  return o
}

const file = (size: Size): readonly Reg[] =>
  Array.from({ length: 16 }, (_, index) => ({ kind: 'reg', file: 'gpr', index, size }))
const registers: Record<Size, readonly Reg[]> = { 1: file(1), 2: file(2), 4: file(4), 8: file(8) }
/** General-purpose register `index` in `size` bytes. */
export const gpr = (index: number, size: Size): Reg => registers[size][index]!

export const rax = (size: Size): Reg => gpr(0, size)
export const rcx = (size: Size): Reg => gpr(1, size)
export const rdx = (size: Size): Reg => gpr(2, size)
export const rbx = (size: Size): Reg => gpr(3, size)
export const rsp = (size: Size): Reg => gpr(4, size)
export const rbp = (size: Size): Reg => gpr(5, size)
export const rsi = (size: Size): Reg => gpr(6, size)
export const rdi = (size: Size): Reg => gpr(7, size)
export const AH: Reg = { kind: 'reg', file: 'high', index: 0, size: 1 }

export const zero = <V, C>(t: Tier<V, C>): V => t.constant(0n)
export const number = <V, C>(t: Tier<V, C>, n: number): V => t.constant(BigInt(n))

/** Bytes of one element of a string instruction, as the mnemonic's last letter says. */
export const elementSize = (i: Insn): Size => {
  const size = i.operands.find(o => o.kind === 'mem' && o.size !== 0)?.size
  return size === 1 || size === 2 || size === 4 || size === 8 ? size : i.operandSize
}
