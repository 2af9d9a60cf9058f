import { TDH_MR_EXTEND, TDX_EPT_ENTRY_NOT_PRESENT, TDX_OPERAND_INVALID, TDX_SUCCESS } from '#abi'
import { seamcall } from '../leaf.ts'
import { failSept, numberOf } from '../operand.ts'
import { isAccessible, isLeaf } from '../sept.ts'
import { check, fail } from '../status.ts'
import { BUILD } from './op-states.ts'

/** TDH.MR.EXTEND: measure 256 bytes of a TD page. tdh_mr_extend.c. */
export const mrExtend = seamcall(TDH_MR_EXTEND, (module, regs) => {
  const { rcx, rdx } = regs
  regs.rcx = 0n
  regs.rdx = 0n
  const td = module.td(rdx, 'RDX')
  td.checkState(BUILD)
  const at = numberOf(rcx)
  check(at < td.privateEnd, TDX_OPERAND_INVALID, 'RCX')
  check((at & 0xff) === 0, TDX_OPERAND_INVALID, 'RCX')
  const { tree } = td
  const byte = tree.mapped(at)
  if (byte >= 0) {
    td.measurement?.extend(at, module.memory, byte)
    return TDX_SUCCESS
  }
  const entry = tree.walk(at, 0)
  if (!isLeaf(entry) || !isAccessible(entry)) failSept(regs, TDX_EPT_ENTRY_NOT_PRESENT, entry, tree.level)
  return fail(TDX_EPT_ENTRY_NOT_PRESENT)
})
