import { TDH_MEM_SEPT_RD, TDX_SUCCESS } from '#abi'
import { seamcall } from '../leaf.ts'
import { pageInfo, setSeptDetails, walkTo } from '../operand.ts'
import { ANY_INITIALISED } from './op-states.ts'

/** TDH.MEM.SEPT.RD: an entry of the Secure EPT as the host may see it, with its level and state. tdh_mem_sept_rd.c. */
export const memSeptRd = seamcall(TDH_MEM_SEPT_RD, (module, regs) => {
  const { rcx, rdx } = regs
  regs.rcx = 0n
  regs.rdx = 0n
  const td = module.td(rdx, 'RDX')
  td.checkState(ANY_INITIALISED)
  const mapping = pageInfo(rcx, 0, td.tree.top)
  const entry = walkTo(td, regs, mapping)
  setSeptDetails(regs, entry, mapping.level)
  return TDX_SUCCESS
})
