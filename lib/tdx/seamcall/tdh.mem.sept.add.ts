import {
  PT_EPT,
  PT_NDA,
  SEPT_FREE,
  SEPT_NL_MAPPED,
  TDH_MEM_SEPT_ADD,
  TDX_EPT_ENTRY_STATE_INCORRECT,
  TDX_OPERAND_INVALID,
  TDX_SUCCESS,
} from '#abi'
import { NotModelled } from '#bits'
import { seamcall } from '../leaf.ts'
import { checkEntryState, failSept, page, pageInfo, walkTo } from '../operand.ts'
import { initTable, tableEntry } from '../sept.ts'
import { check } from '../status.ts'
import { SEPT_ADD } from './op-states.ts'

/**
 * TDH.MEM.SEPT.ADD: hang an empty table under a free entry of the Secure EPT. tdh_mem_sept_add.c.
 * Not modelled: version 1, which adds the tables of L2 VMs as well.
 */
export const memSeptAdd = seamcall(
  TDH_MEM_SEPT_ADD,
  (module, regs, _lp, version) => {
    if (version > 0) throw new NotModelled('TDH.MEM.SEPT.ADD version 1')
    const { rcx, rdx, r8 } = regs
    regs.rcx = 0n
    regs.rdx = 0n
    // Bit 0 of RDX (ALLOW_EXISTING) makes a table that is there already no error.
    check((rdx & 0xfff0_0000_0000_0ffen) === 0n, TDX_OPERAND_INVALID, 'RDX')
    const td = module.td(rdx & ~1n, 'RDX')
    td.checkState(SEPT_ADD)
    const mapping = pageInfo(rcx, 1, td.tree.top)
    const { level } = mapping
    const entry = walkTo(td, regs, mapping)
    const { at } = td.tree
    const state = checkEntryState(regs, entry, level, [SEPT_FREE, SEPT_NL_MAPPED])
    // All ones is "no page"; otherwise bit 63 is ignored.
    check(r8 !== 0xffff_ffff_ffff_ffffn, TDX_OPERAND_INVALID, 'R8')
    if (state !== SEPT_FREE) {
      if ((rdx & 1n) !== 0n) return TDX_SUCCESS
      return failSept(regs, TDX_EPT_ENTRY_STATE_INCORRECT, entry, level)
    }
    const table = page(module, r8 & ~(1n << 63n), PT_NDA, 'R8')

    initTable(module.memory, table)
    td.tree.at = at
    td.tree.write(tableEntry(table))
    td.childCount++
    module.pamt.assign(module.pamt.at(table, 0), PT_EPT, td.tdr)
    return TDX_SUCCESS
  },
  { versions: 1 },
)
