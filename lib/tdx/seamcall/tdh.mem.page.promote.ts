import * as abi from '#abi'
import { type Hpa, hpa, NotModelled } from '#bits'
import type { PhysicalMemory } from '#x86'
import { seamcall } from '../leaf.ts'
import { checkEntryState, failSept, interrupted, pageInfo, walkTo } from '../operand.ts'
import { LEVEL_SIZE } from '../pamt.ts'
import { addressOf, entriesOf, isLeaf, stateOfEntry } from '../sept.ts'
import { checkTracked } from '../tracking.ts'
import { RANGE } from './op-states.ts'

/** Do the table's entries map one large page? All leaves in one state, mapped or pending, one behind the other. */
const isOnePage = (memory: PhysicalMemory, table: Hpa, level: 1 | 2): boolean => {
  const entries = entriesOf(memory, table)
  const first = entries[0] as bigint
  const state = stateOfEntry(first)
  if (!isLeaf(first) || (state !== abi.SEPT_MAPPED && state !== abi.SEPT_PENDING)) return false
  if (addressOf(first) % LEVEL_SIZE[level] !== 0) return false
  const size = BigInt(LEVEL_SIZE[(level - 1) as 0 | 1])
  return entries.every((entry, i) => entry === first + BigInt(i) * size)
}

/**
 * TDH.MEM.PAGE.PROMOTE: make 512 pages one of the next size; the table they were in comes back in RCX.
 * tdh_mem_page_promote.c (which returns it in RCX, where other descriptions say R8).
 * Not modelled: version 1, which returns the tables of L2 VMs as well.
 */
export const memPagePromote = seamcall(
  abi.TDH_MEM_PAGE_PROMOTE,
  (module, regs, lp, version) => {
    if (version > 0) throw new NotModelled('TDH.MEM.PAGE.PROMOTE version 1')
    const { rcx, rdx } = regs
    regs.rcx = 0n
    regs.rdx = 0n
    const td = module.td(rdx, 'RDX')
    td.checkState(RANGE)
    const mapping = pageInfo(rcx, 1, 2)
    const level = mapping.level as 1 | 2
    const entry = walkTo(td, regs, mapping)
    checkEntryState(regs, entry, level, [abi.SEPT_NL_MAPPED, abi.SEPT_NL_BLOCKED])
    const { pamt, memory } = module
    const table = addressOf(entry)
    const tableMetadata = pamt.at(table, 0)
    checkTracked(module, td, regs, entry, level, tableMetadata)
    if (!isOnePage(memory, table, level)) failSept(regs, abi.TDX_EPT_INVALID_PROMOTE_CONDITIONS, entry, level)
    if (lp.interrupted?.()) return interrupted(regs, rcx, rdx)

    const small = (level - 1) as 0 | 1
    const first = entriesOf(memory, table)[0] as bigint
    const large = addressOf(first)
    for (let i = 0; i < 512; i++) pamt.release(pamt.at(large + i * LEVEL_SIZE[small], small))
    pamt.assign(pamt.at(large, level), abi.PT_REG, td.tdr)
    td.tree.write(first)
    pamt.release(tableMetadata)
    td.childCount--
    regs.rcx = BigInt(hpa(table))
    return abi.TDX_SUCCESS
  },
  { versions: 1 },
)
