import { PT_REG, SEPT_FREE, SEPT_PENDING, SEPT_REMOVED, TDH_MEM_PAGE_AUG, TDX_SUCCESS } from '#abi'
import { seamcall } from '../leaf.ts'
import { checkEntryState, freePage, pageInfo, walkTo } from '../operand.ts'
import { leafEntry } from '../sept.ts'
import { AUG } from './op-states.ts'

/** TDH.MEM.PAGE.AUG: map a page, 4 KiB or 2 MiB, that the guest must accept before use. tdh_mem_page_aug.c. */
export const memPageAug = seamcall(TDH_MEM_PAGE_AUG, (module, regs) => {
  const { rcx, rdx, r8 } = regs
  regs.rcx = 0n
  regs.rdx = 0n
  const td = module.td(rdx, 'RDX')
  td.checkState(AUG)
  const mapping = pageInfo(rcx, 0, 1)
  const level = mapping.level as 0 | 1
  const entry = walkTo(td, regs, mapping)
  checkEntryState(regs, entry, level, [SEPT_FREE, SEPT_REMOVED])
  const target = freePage(module, r8, 'R8', level)

  td.tree.write(leafEntry(target, SEPT_PENDING))
  td.childCount += 512 ** level
  module.pamt.assign(module.pamt.at(target, level), PT_REG, td.tdr)
  return TDX_SUCCESS
})
