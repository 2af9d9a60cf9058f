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

/** Codes whose details are no operand id but a level, an MSR, a VMCS field, TDMR numbers. */
const OTHER_DETAILS: ReadonlySet<bigint> = new Set([
  status.TDX_PAGE_ALREADY_ACCEPTED,
  status.TDX_PAGE_SIZE_MISMATCH,
  status.TDX_TD_VMCS_FIELD_NOT_INITIALIZED,
  status.TDX_TD_VMCS_FIELD_ERROR,
  status.TDX_INCONSISTENT_MSR,
  status.TDX_INCORRECT_MSR_VALUE,
  status.TDX_INVALID_TDMR,
  status.TDX_NON_ORDERED_TDMR,
  status.TDX_TDMR_OUTSIDE_CMRS,
  status.TDX_INVALID_PAMT,
  status.TDX_PAMT_OUTSIDE_CMRS,
  status.TDX_PAMT_OVERLAP,
  status.TDX_INVALID_RESERVED_IN_TDMR,
  status.TDX_NON_ORDERED_RESERVED_IN_TDMR,
])

/** Class 0 is TD exits: their details are an exit reason. */
const isAboutOperand = (code: bigint): boolean => ((code >> 40n) & 0xffn) !== 0n && !OTHER_DETAILS.has(code)

/** A completion status in words: `TDX_OPERAND_INVALID | RCX`. */
export const statusName = (word: bigint): string => {
  const code = statusCode(word)
  const details = Number(word & 0xffff_ffffn)
  const name = NAMES.get(code) ?? hex(word)
  if (details === 0 && !(code === status.TDX_OPERAND_INVALID || code === status.TDX_OPERAND_BUSY)) return name
  const operand = isAboutOperand(code) ? OPERANDS.get(details) : undefined
  return `${name} | ${operand ?? hex(details)}`
}
