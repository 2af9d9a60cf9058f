import { SEPT_EXPORTED_DIRTY, SEPT_MAPPED, TDH_MEM_WR, TDX_SUCCESS } from '#abi'
import { seamcall } from '../leaf.ts'
import { METADATA_WRITE } from './op-states.ts'
import { debugMemory } from './tdh.mem.rd.ts'

/** TDH.MEM.WR: write eight bytes of a debug TD's private memory; R8 is what they were. tdh_mem_rd_wr.c. */
export const memWr = seamcall(TDH_MEM_WR, (module, regs) => {
  const value = regs.r8
  const at = debugMemory(module, regs, METADATA_WRITE, [SEPT_MAPPED, SEPT_EXPORTED_DIRTY])

  const { memory } = module
  regs.r8 = memory.read(at, 8)
  memory.write(at, 8, value)
  return TDX_SUCCESS
})
