import { TDH_MR_EXTEND, TDX_EPT_ENTRY_NOT_PRESENT, TDX_OPERAND_INVALID, TDX_SUCCESS } from '#abi'
import { seamcall } from '../leaf.ts'
import { failSept } from '../operand.ts'
import { WORD } from '../registers.ts'
import { isAccessible, isLeaf } from '../sept.ts'
import { check, fail } from '../status.ts'
import { BUILD } from './op-states.ts'

/** TDH.MR.EXTEND: measure 256 bytes of a TD page. tdh_mr_extend.c. */
export const mrExtend = seamcall(TDH_MR_EXTEND, (module, regs) => {
  // With numbers throughout: a page is sixteen of these.
  const { words } = regs
  const at = words[WORD.RCX + 1]! * 2 ** 32 + words[WORD.RCX]!
  const low = words[WORD.RDX]!
  const high = words[WORD.RDX + 1]!
  words[WORD.RCX] = 0
  words[WORD.RCX + 1] = 0
  words[WORD.RDX] = 0
  words[WORD.RDX + 1] = 0
  const td = module.tdOf(low, high, 'RDX')
  td.checkState(BUILD)
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
