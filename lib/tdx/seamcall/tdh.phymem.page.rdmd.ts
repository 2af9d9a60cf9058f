import {
  PT_EPT,
  PT_REG,
  TDH_PHYMEM_PAGE_RDMD,
  TDX_OPERAND_ADDR_RANGE_ERROR,
  TDX_OPERAND_INVALID,
  TDX_SUCCESS,
} from '#abi'
import { seamcall } from '../leaf.ts'
import { isPlainAddress } from '../operand.ts'
import { check } from '../status.ts'

/** TDH.PHYMEM.PAGE.RDMD: what the PAMT says of a page. tdh_phymem_page_rdmd.c. */
export const phymemPageRdmd = seamcall(TDH_PHYMEM_PAGE_RDMD, (module, regs) => {
  const { rcx } = regs
  regs.rcx = 0n
  regs.rdx = 0n
  regs.r8 = 0n
  regs.r9 = 0n
  regs.r10 = 0n
  regs.r11 = 0n
  check((rcx & 0xfffn) === 0n && isPlainAddress(module, rcx), TDX_OPERAND_INVALID, 'RCX')
  const { pamt } = module
  const entry = pamt.find(Number(rcx))
  check(entry !== 0, TDX_OPERAND_ADDR_RANGE_ERROR, 'RCX')

  const type = pamt.type(entry)
  regs.rcx = BigInt(type)
  regs.rdx = BigInt(pamt.owner(entry))
  regs.r8 = BigInt(pamt.level)
  if (type === PT_REG || type === PT_EPT) regs.r9 = pamt.bepoch(entry)
  return TDX_SUCCESS
})
