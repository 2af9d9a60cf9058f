import { PT_NDA, PT_REG, SEPT_FREE, SEPT_MAPPED, TDH_MEM_PAGE_ADD, TDX_SUCCESS } from '#abi'
import { seamcall } from '../leaf.ts'
import { checkEntryState, page, pageInfo, sharedMemory, walkTo } from '../operand.ts'
import { leafEntry } from '../sept.ts'
import { BUILD } from './op-states.ts'

/** TDH.MEM.PAGE.ADD: copy a host page into a TD page and map it. tdh_mem_page_add.c. */
export const memPageAdd = seamcall(TDH_MEM_PAGE_ADD, (module, regs) => {
  const { rcx, rdx, r8, r9 } = regs
  regs.rcx = 0n
  regs.rdx = 0n
  const td = module.td(rdx, 'RDX')
  td.checkState(BUILD)
  const mapping = pageInfo(rcx, 0, 0)
  const entry = walkTo(td, regs, mapping)
  checkEntryState(regs, entry, 0, [SEPT_FREE])
  const source = sharedMemory(module, r9, 4096, 4096, 'R9')
  const target = page(module, r8, PT_NDA, 'R8')

  const { memory } = module
  // With the host's key, what is private reads as zeroes. Intel TDX Module Base Architecture, "Memory Integrity".
  if (module.isPrivate(source)) memory.fill(target, 4096, 0)
  else if (source !== target) memory.set(target, memory.u8.subarray(source, source + 4096))
  td.tree.write(leafEntry(target, SEPT_MAPPED))
  td.measurement?.pageAdd(mapping.at)
  td.childCount++
  module.pamt.assign(module.pamt.at(target, 0), PT_REG, td.tdr)
  return TDX_SUCCESS
})
