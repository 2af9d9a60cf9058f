import * as abi from '#abi'
import { NotModelled } from '#bits'
import { seamcall } from '../leaf.ts'
import { checkEntryState, failSept, pageInfo, walkTo } from '../operand.ts'
import { addressOf, isTableFree, SEPTE_FREE } from '../sept.ts'
import { checkTracked } from '../tracking.ts'
import { ANY_INITIALISED } from './op-states.ts'

/**
 * TDH.MEM.SEPT.REMOVE: take an empty table out of the Secure EPT; its HPA comes back in RCX. tdh_mem_sept_remove.c.
 * Not modelled: version 1, which returns the tables of L2 VMs as well.
 */
export const memSeptRemove = seamcall(
  abi.TDH_MEM_SEPT_REMOVE,
  (module, regs, _lp, version) => {
    if (version > 0) throw new NotModelled('TDH.MEM.SEPT.REMOVE version 1')
    const { rcx, rdx } = regs
    regs.rcx = 0n
    regs.rdx = 0n
    const td = module.td(rdx, 'RDX')
    td.checkState(ANY_INITIALISED)
    const mapping = pageInfo(rcx, 1, td.tree.top)
    const { level } = mapping
    const entry = walkTo(td, regs, mapping)
    checkEntryState(regs, entry, level, [abi.SEPT_NL_MAPPED, abi.SEPT_NL_BLOCKED])
    const table = addressOf(entry)
    const pamtEntry = module.pamt.at(table, 0)
    checkTracked(module, td, regs, entry, level, pamtEntry)
    if (!isTableFree(module.memory, table)) failSept(regs, abi.TDX_EPT_PAGE_NOT_FREE, entry, level)

    td.tree.write(SEPTE_FREE)
    td.childCount--
    module.pamt.release(pamtEntry)
    regs.rcx = BigInt(table)
    return abi.TDX_SUCCESS
  },
  { versions: 1 },
)
