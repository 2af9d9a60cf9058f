/** Words for status words, for reports: nothing here decides anything. */
import { hex } from '#bits'
import { OPERAND_ID } from './operand.ts'
import * as status from './status.ts'

const NAMES: ReadonlyMap<bigint, string> = new Map(
  Object.entries(status).flatMap(([name, code]) => (typeof code === 'bigint' ? [[code, name] as const] : [])),
)
const OPERANDS: ReadonlyMap<number, string> = new Map(Object.entries(OPERAND_ID).map(([name, id]) => [id, name]))

/** Bits 31:0 of a status are details; what is above them is the code. */
export const statusCode = (word: bigint): bigint => word & 0xffff_ffff_0000_0000n

/** The codes whose details are an operand id. */
const isAboutOperand = (code: bigint): boolean =>
  code >= status.TDX_OPERAND_INVALID || (code >= status.TDX_OPERAND_BUSY && code < status.TDX_KEY_GENERATION_FAILED)

/** A completion status in words: `TDX_OPERAND_INVALID | RCX`. */
export const statusName = (word: bigint): string => {
  const code = statusCode(word)
  const details = Number(word & 0xffff_ffffn)
  const name = NAMES.get(code) ?? hex(word)
  if (details === 0 && !(code === status.TDX_OPERAND_INVALID || code === status.TDX_OPERAND_BUSY)) return name
  const operand = isAboutOperand(code) ? OPERANDS.get(details) : undefined
  return `${name} | ${operand ?? hex(details)}`
}
