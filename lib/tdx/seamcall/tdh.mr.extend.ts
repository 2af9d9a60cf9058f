import { SEPT_MAPPED, TDH_MR_EXTEND, TDX_EPT_ENTRY_NOT_PRESENT, TDX_OPERAND_INVALID, TDX_SUCCESS } from '#abi'
import { seamcall } from '../leaf.ts'
import { CHUNK } from '../measure.ts'
import { failSept, isPrivateGpa } from '../operand.ts'
import { LEVEL_SIZE } from '../pamt.ts'
import { addressOf, isAccessible, isLeaf, stateOfEntry } from '../sept.ts'
import { check, fail } from '../status.ts'
import { BUILD } from './op-states.ts'

/** TDH.MR.EXTEND: measure 256 bytes of a TD page. tdh_mr_extend.c. */
export const mrExtend = seamcall(TDH_MR_EXTEND, (module, regs) => {
  const { rcx, rdx } = regs
  regs.rcx = 0n
  regs.rdx = 0n
  const td = module.td(rdx, 'RDX')
  td.checkState(BUILD)
  const at = Number(BigInt.asUintN(52, rcx))
  check((at & 0xff) === 0, TDX_OPERAND_INVALID, 'RCX')
  check(isPrivateGpa(td, rcx), TDX_OPERAND_INVALID, 'RCX')
  const { tree } = td
  const entry = tree.walk(at, 0)
  if (!isLeaf(entry) || !isAccessible(entry)) failSept(regs, TDX_EPT_ENTRY_NOT_PRESENT, entry, tree.level)
  if (stateOfEntry(entry) !== SEPT_MAPPED) fail(TDX_EPT_ENTRY_NOT_PRESENT)

  const offset = at % LEVEL_SIZE[tree.level as 0]
  td.measurement?.extend(rcx, module.memory, addressOf(entry) + offset - (offset % CHUNK))
  return TDX_SUCCESS
})
