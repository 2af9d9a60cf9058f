import * as abi from '#abi'
import { eptViolationExit } from '../guest/exit.ts'
import { tdcall } from '../leaf.ts'
import { isPrivateGpa } from '../operand.ts'
import { LEVEL_SIZE } from '../pamt.ts'
import { isPending, stateOfEntry } from '../sept.ts'
import { fail } from '../status.ts'

/** Leaves that are not blocked. sept_state_lookup.c, tdcall_sept_state_lookup. */
const READABLE = [
  abi.SEPT_MAPPED,
  abi.SEPT_BLOCKEDW,
  abi.SEPT_EXPORTED_BLOCKEDW,
  abi.SEPT_EXPORTED_DIRTY,
  abi.SEPT_EXPORTED_DIRTY_BLOCKEDW,
  abi.SEPT_PENDING,
  abi.SEPT_PENDING_BLOCKEDW,
  abi.SEPT_PENDING_EXPORTED_BLOCKEDW,
  abi.SEPT_PENDING_EXPORTED_DIRTY,
  abi.SEPT_PENDING_EXPORTED_DIRTY_BLOCKEDW,
]

/** In the mapping that the guest is told, beside GPA and level: the page is still to be accepted. */
export const PENDING_FLAG = 1n << 62n

/** What a mapping is to the guest. gpa_mapping_and_flags_t. */
export const mappingOf = (gpa: bigint, level: number, entry: bigint): bigint => {
  const state = stateOfEntry(entry)
  const aligned = gpa & ~(BigInt(LEVEL_SIZE[level as 0]) - 1n)
  return aligned | BigInt(level) | (isPending(state) || state >= abi.SEPT_PENDING_BLOCKEDW ? PENDING_FLAG : 0n)
}

/**
 * TDG.MEM.PAGE.ATTR.RD: how the page of a GPA is mapped, and its attributes. tdg_mem_page_attr_rd.c.
 * Attributes are those of L2 VMs, of which there are none; a TD's own read as zero (sept_get_gpa_attr).
 */
export const memPageAttrRd = tdcall(abi.TDG_MEM_PAGE_ATTR_RD, ({ vcpu, cpu, regs }) => {
  const { gpr } = cpu
  const gpa = gpr[1]!
  const { td } = vcpu
  if (!isPrivateGpa(td, gpa)) {
    gpr[1] = 0n
    gpr[2] = 0n
    return fail(abi.TDX_OPERAND_INVALID, 'RCX')
  }
  const { tree } = td
  const entry = tree.walk(Number(gpa), 0)
  if (!READABLE.includes(stateOfEntry(entry))) {
    eptViolationExit(vcpu, regs, gpa, 0n)
    return 'exit'
  }
  gpr[1] = mappingOf(gpa, tree.level, entry)
  gpr[2] = 0n
  return abi.TDX_SUCCESS
})
