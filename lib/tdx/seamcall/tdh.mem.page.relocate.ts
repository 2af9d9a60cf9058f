import * as abi from '#abi'
import { seamcall } from '../leaf.ts'
import { checkEntryState, page, pageInfo, walkTo } from '../operand.ts'
import { addressOf, isLeaf, isPending, unblocked, withAddress } from '../sept.ts'
import { check } from '../status.ts'
import { checkTracked } from '../tracking.ts'
import { RANGE } from './op-states.ts'

/** Every state of a leaf. sept_state_lookup.c. */
const RELOCATABLE = [
  abi.SEPT_MAPPED,
  abi.SEPT_BLOCKED,
  abi.SEPT_BLOCKEDW,
  abi.SEPT_EXPORTED_BLOCKEDW,
  abi.SEPT_EXPORTED_DIRTY,
  abi.SEPT_EXPORTED_DIRTY_BLOCKEDW,
  abi.SEPT_PENDING,
  abi.SEPT_PENDING_BLOCKED,
  abi.SEPT_PENDING_BLOCKEDW,
  abi.SEPT_PENDING_EXPORTED_BLOCKEDW,
  abi.SEPT_PENDING_EXPORTED_DIRTY,
  abi.SEPT_PENDING_EXPORTED_DIRTY_BLOCKEDW,
]

/** TDH.MEM.PAGE.RELOCATE: put another page behind a GPA, with its content; the old one comes back in RCX. tdh_mem_page_relocate.c. */
export const memPageRelocate = seamcall(abi.TDH_MEM_PAGE_RELOCATE, (module, regs) => {
  const { rcx, rdx, r8 } = regs
  regs.rcx = 0n
  regs.rdx = 0n
  const td = module.td(rdx, 'RDX')
  td.checkState(RANGE)
  const entry = walkTo(td, regs, pageInfo(rcx, 0, 0))
  const state = checkEntryState(regs, entry, 0, isLeaf(entry) ? RELOCATABLE : [])
  const from = addressOf(entry)
  check(BigInt(from) !== r8, abi.TDX_OPERAND_INVALID, 'R8')
  const { pamt, memory } = module
  const old = pamt.at(from, 0)
  checkTracked(module, td, regs, entry, 0, old)
  const to = page(module, r8, abi.PT_NDA, 'R8')

  const hasContent = !isPending(state) && state !== abi.SEPT_PENDING_BLOCKED
  if (hasContent) memory.set(to, memory.u8.subarray(from, from + 4096))
  pamt.release(old)
  pamt.assign(pamt.at(to, 0), abi.PT_REG, td.tdr)
  // What the host had spoiled stays spoilt for the TD: the copy was of a line whose integrity check fails.
  if (module.poisoned.delete(from)) module.poisoned.add(to)
  td.tree.write(withAddress(unblocked(entry), to))
  regs.rcx = BigInt(from)
  return abi.TDX_SUCCESS
})
