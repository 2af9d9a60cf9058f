import * as abi from '#abi'
import { seamcall } from '../leaf.ts'
import { checkEntryState, pageInfo, walkTo } from '../operand.ts'
import { addressOf, isLeaf, unblocked } from '../sept.ts'
import { check } from '../status.ts'
import { isTracked, needsTracking } from '../tracking.ts'
import { RANGE } from './op-states.ts'

/** TDH.MEM.RANGE.UNBLOCK: undo a block once it is tracked. tdh_mem_range_unblock.c. */
export const memRangeUnblock = seamcall(abi.TDH_MEM_RANGE_UNBLOCK, (module, regs) => {
  const { rcx, rdx } = regs
  regs.rcx = 0n
  regs.rdx = 0n
  const td = module.td(rdx, 'RDX')
  td.checkState(RANGE)
  const mapping = pageInfo(rcx, 0, td.tree.top)
  const { level } = mapping
  const entry = walkTo(td, regs, mapping)
  checkEntryState(regs, entry, level, [abi.SEPT_NL_BLOCKED, abi.SEPT_BLOCKED, abi.SEPT_PENDING_BLOCKED])
  if (needsTracking(td)) {
    const { pamt } = module
    const pamtEntry = pamt.at(addressOf(entry), isLeaf(entry) ? (level as 0 | 1 | 2) : 0)
    check(isTracked(td, pamt.bepoch(pamtEntry)), abi.TDX_TLB_TRACKING_NOT_DONE, 'SEPT_TREE')
  }

  td.tree.write(unblocked(entry))
  return abi.TDX_SUCCESS
})
