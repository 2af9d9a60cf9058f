import * as abi from '#abi'
import { hpa } from '#bits'
import { seamcall } from '../leaf.ts'
import { checkEntryState, interrupted, page, pageInfo, walkTo } from '../operand.ts'
import { LEVEL_SIZE } from '../pamt.ts'
import { addressOf, entriesOf, tableEntry, unblocked, withAddress, withoutCounter } from '../sept.ts'
import { check } from '../status.ts'
import { checkTracked } from '../tracking.ts'
import { RANGE } from './op-states.ts'

const DEMOTABLE = [abi.SEPT_MAPPED, abi.SEPT_BLOCKED, abi.SEPT_PENDING, abi.SEPT_PENDING_BLOCKED]
/** Of a TD handle with flags: the TDR's address and L2_SEPT_ADD_MODE, which means nothing without L2 VMs. */
const HANDLE = 0xf_ffff_ffff_f001n

/**
 * TDH.MEM.PAGE.DEMOTE: split a 2 MiB or 1 GiB page into 512 of the next size, under a new table. tdh_mem_page_demote.c.
 * R9 to R11 are tables of L2 VMs, which no TD has.
 */
export const memPageDemote = seamcall(abi.TDH_MEM_PAGE_DEMOTE, (module, regs, lp) => {
  const { rcx, rdx, r8 } = regs
  regs.rcx = 0n
  regs.rdx = 0n
  check((rdx & ~HANDLE) === 0n, abi.TDX_OPERAND_INVALID, 'RDX')
  const td = module.td(rdx & ~1n, 'RDX')
  td.checkState(RANGE)
  const mapping = pageInfo(rcx, 1, 2)
  const level = mapping.level as 1 | 2
  const { tree } = td
  const entry = withoutCounter(walkTo(td, regs, mapping), level)
  const { at } = tree
  checkEntryState(regs, entry, level, DEMOTABLE)
  const { pamt, memory } = module
  const large = addressOf(entry)
  checkTracked(module, td, regs, entry, level, pamt.at(large, level))
  const table = page(module, r8, abi.PT_NDA, 'R8')
  if (lp.interrupted?.()) return interrupted(regs, rcx, rdx)

  const small = (level - 1) as 0 | 1
  const size = LEVEL_SIZE[small]
  const part = unblocked(entry)
  const entries = entriesOf(memory, table)
  pamt.release(pamt.at(large, level))
  for (let i = 0; i < 512; i++) {
    const of = hpa(large + i * size)
    entries[i] = withAddress(part, of)
    pamt.assign(pamt.at(of, small), abi.PT_REG, td.tdr)
  }
  tree.at = at
  tree.write(tableEntry(table))
  pamt.assign(pamt.at(table, 0), abi.PT_EPT, td.tdr)
  td.childCount++
  return abi.TDX_SUCCESS
})
