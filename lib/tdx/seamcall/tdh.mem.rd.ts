import * as abi from '#abi'
import { type Hpa, hpa } from '#bits'
import type { SeamcallRegs } from '../leaf.ts'
import { seamcall } from '../leaf.ts'
import type { TdxModule } from '../module.ts'
import { checkEntryState, failSept, isPrivateGpa } from '../operand.ts'
import { LEVEL_SIZE } from '../pamt.ts'
import { addressOf, isLeaf } from '../sept.ts'
import { check } from '../status.ts'
import { ANY_INITIALISED } from './op-states.ts'

const READABLE = [
  abi.SEPT_MAPPED,
  abi.SEPT_BLOCKEDW,
  abi.SEPT_EXPORTED_BLOCKEDW,
  abi.SEPT_EXPORTED_DIRTY,
  abi.SEPT_EXPORTED_DIRTY_BLOCKEDW,
]

/** Where the eight bytes of a debug TD are that MEM.RD and MEM.WR mean: their checks. RCX, RDX and R8 are zero until all pass. */
export const debugMemory = (module: TdxModule, regs: SeamcallRegs, legal: number, states: readonly number[]): Hpa => {
  const { rcx, rdx } = regs
  regs.rcx = 0n
  regs.rdx = 0n
  regs.r8 = 0n
  const td = module.td(rdx, 'RDX')
  td.checkState(legal)
  check((td.attributes & abi.TDX_ATTR_DEBUG) !== 0n, abi.TDX_TD_NON_DEBUG)
  check((rcx & 7n) === 0n, abi.TDX_OPERAND_INVALID, 'RCX')
  check(isPrivateGpa(td, rcx), abi.TDX_OPERAND_INVALID, 'RCX')
  const { tree } = td
  const at = Number(rcx)
  const entry = tree.walk(at, 0)
  if (!isLeaf(entry) && tree.level > 0) failSept(regs, abi.TDX_EPT_ENTRY_NOT_PRESENT, entry, tree.level)
  checkEntryState(regs, entry, tree.level, states)
  return hpa(addressOf(entry) + (at % LEVEL_SIZE[tree.level as 0]))
}

/** TDH.MEM.RD: eight bytes of a debug TD's private memory. tdh_mem_rd_wr.c. */
export const memRd = seamcall(abi.TDH_MEM_RD, (module, regs) => {
  const at = debugMemory(module, regs, ANY_INITIALISED, READABLE)
  regs.r8 = module.memory.read(at, 8)
  return abi.TDX_SUCCESS
})
