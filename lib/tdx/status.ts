/** How a leaf says that it completes with an error: checks throw, leaf dispatch puts the status in RAX. */
import { OPERAND_ID, type OperandName } from '#abi'

/** A leaf completes with this status. Not an `Error`: it is an answer, thrown often, and needs no stack. */
export class TdxStatus {
  readonly code: bigint
  constructor(code: bigint) {
    this.code = code
  }
}

/** The status of `code` about an operand, given by name or by number (an SEPT level, an MSR index). */
export const about = (code: bigint, operand?: OperandName | number): bigint =>
  operand === undefined ? code : code | BigInt(typeof operand === 'number' ? operand : OPERAND_ID[operand])

/** Completes the leaf with a status. */
export const fail = (code: bigint, operand?: OperandName | number): never => {
  throw new TdxStatus(about(code, operand))
}

/** A check of a leaf: the status is the leaf's unless `holds`. */
export function check(holds: boolean, code: bigint, operand?: OperandName | number): asserts holds {
  if (!holds) throw new TdxStatus(about(code, operand))
}

/** What `act` returns, or the status that it completes the leaf with. */
export const orStatus = <T>(act: () => T): T | TdxStatus => {
  try {
    return act()
  } catch (error) {
    if (error instanceof TdxStatus) return error
    throw error
  }
}
