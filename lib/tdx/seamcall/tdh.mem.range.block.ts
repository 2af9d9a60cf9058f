import * as abi from '#abi'
import { seamcall } from '../leaf.ts'
import { failSept, pageInfo, walkTo } from '../operand.ts'
import { addressOf, inState, isBlocked, isLeaf, stateOfEntry, withoutCounter } from '../sept.ts'
import { RANGE } from './op-states.ts'

/** What becomes of a state that may be blocked. sept_state_lookup.c. */
const BLOCKED: Readonly<Record<number, number>> = {
  [abi.SEPT_NL_MAPPED]: abi.SEPT_NL_BLOCKED,
  [abi.SEPT_MAPPED]: abi.SEPT_BLOCKED,
  [abi.SEPT_BLOCKEDW]: abi.SEPT_BLOCKED,
  [abi.SEPT_PENDING]: abi.SEPT_PENDING_BLOCKED,
  [abi.SEPT_PENDING_BLOCKEDW]: abi.SEPT_PENDING_BLOCKED,
}

/** TDH.MEM.RANGE.BLOCK: no new translations of the range, so that it can be tracked and changed. tdh_mem_range_block.c. */
export const memRangeBlock = seamcall(abi.TDH_MEM_RANGE_BLOCK, (module, regs) => {
  const { rcx, rdx } = regs
  regs.rcx = 0n
  regs.rdx = 0n
  const td = module.td(rdx, 'RDX')
  td.checkState(RANGE)
  const mapping = pageInfo(rcx, 0, td.tree.top)
  const { level } = mapping
  const entry = withoutCounter(walkTo(td, regs, mapping), level)
  const state = stateOfEntry(entry)
  const blocked = BLOCKED[state]
  if (blocked === undefined)
    return failSept(
      regs,
      isBlocked(state) ? abi.TDX_GPA_RANGE_ALREADY_BLOCKED : abi.TDX_EPT_ENTRY_STATE_INCORRECT,
      entry,
      level,
    )

  td.tree.write(inState(entry, blocked))
  const { pamt } = module
  pamt.setBepoch(pamt.at(addressOf(entry), isLeaf(entry) ? (level as 0 | 1 | 2) : 0), td.epoch)
  return abi.TDX_SUCCESS
})
