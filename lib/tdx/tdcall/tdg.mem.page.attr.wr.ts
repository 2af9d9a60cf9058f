import * as abi from '#abi'
import { entryViolationExit } from '../guest/exit.ts'
import { type TdcallResult, tdcall } from '../leaf.ts'
import { pageInfo } from '../operand.ts'
import { isLeaf, stateOfEntry } from '../sept.ts'
import { check, TdxStatus } from '../status.ts'
import { mappingOf } from './tdg.mem.page.attr.rd.ts'

/** Leaves that the guest may write, or is to accept. sept_state_lookup.c. */
const WRITABLE = [abi.SEPT_MAPPED, abi.SEPT_EXPORTED_DIRTY, abi.SEPT_PENDING, abi.SEPT_PENDING_EXPORTED_DIRTY]

/**
 * TDG.MEM.PAGE.ATTR.WR: set the attributes of a page for L2 VMs. tdg_mem_page_attr_wr.c.
 * A TD without L2 VMs may set none: RDX and R8 must be zero, and what is left is to ask how the page is mapped.
 */
export const memPageAttrWr = tdcall(abi.TDG_MEM_PAGE_ATTR_WR, ({ vcpu, cpu, regs }) => {
  const { gpr } = cpu
  const { td } = vcpu
  const write = (): TdcallResult => {
    check(gpr[2] === 0n, abi.TDX_OPERAND_INVALID, 'RDX')
    check(gpr[8] === 0n, abi.TDX_OPERAND_INVALID, 'R8')
    const { at, level } = pageInfo(gpr[1]!, 0, 2)
    check(at < td.privateEnd, abi.TDX_OPERAND_INVALID, 'RCX')
    const { tree } = td
    const entry = tree.walk(at, level)
    const reached = tree.level
    const state = stateOfEntry(entry)
    const violation = (): TdcallResult => {
      entryViolationExit(vcpu, regs, BigInt(at), level, entry, reached, abi.VMX_EEQ_ATTR_WR)
      return 'exit'
    }
    if (reached !== level) return violation()
    check(isLeaf(entry) || state === abi.SEPT_FREE, abi.TDX_PAGE_SIZE_MISMATCH, level)
    if (!WRITABLE.includes(state)) return violation()
    gpr[1] = mappingOf(BigInt(at), level, entry)
    gpr[2] = 0n
    return abi.TDX_SUCCESS
  }
  try {
    return write()
  } catch (error) {
    if (error instanceof TdxStatus) {
      gpr[1] = 0n
      gpr[2] = 0n
    }
    throw error
  }
})
