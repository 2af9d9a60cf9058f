import * as abi from '#abi'
import { seamcall } from '../leaf.ts'
import { checkEntryState, pageInfo, walkTo } from '../operand.ts'
import { addressOf, SEPTE_FREE } from '../sept.ts'
import { checkTracked } from '../tracking.ts'
import { REMOVE } from './op-states.ts'

const REMOVABLE = [
  abi.SEPT_MAPPED,
  abi.SEPT_BLOCKED,
  abi.SEPT_BLOCKEDW,
  abi.SEPT_PENDING,
  abi.SEPT_PENDING_BLOCKED,
  abi.SEPT_PENDING_BLOCKEDW,
]

/** TDH.MEM.PAGE.REMOVE: take a page from a TD; its HPA comes back in RCX. tdh_mem_page_remove.c. */
export const memPageRemove = seamcall(abi.TDH_MEM_PAGE_REMOVE, (module, regs) => {
  const { rcx, rdx } = regs
  regs.rcx = 0n
  regs.rdx = 0n
  const td = module.td(rdx, 'RDX')
  td.checkState(REMOVE)
  const mapping = pageInfo(rcx, 0, 2)
  const level = mapping.level as 0 | 1 | 2
  const entry = walkTo(td, regs, mapping)
  checkEntryState(regs, entry, level, REMOVABLE)
  const target = addressOf(entry)
  const pamtEntry = module.pamt.at(target, level)
  checkTracked(module, td, regs, entry, level, pamtEntry)

  td.tree.write(SEPTE_FREE)
  td.childCount -= 512 ** level
  module.pamt.release(pamtEntry)
  module.heal(target, level)
  regs.rcx = BigInt(target)
  return abi.TDX_SUCCESS
})
