import {
  PT_NDA,
  PT_RSVD,
  PT_TDR,
  PT_TDVPR,
  TD_TEARDOWN,
  TDH_PHYMEM_PAGE_RECLAIM,
  TDX_LIFECYCLE_STATE_INCORRECT,
  TDX_OPERAND_ADDR_RANGE_ERROR,
  TDX_OPERAND_INVALID,
  TDX_PAGE_METADATA_INCORRECT,
  TDX_SUCCESS,
  TDX_TD_ASSOCIATED_PAGES_EXIST,
} from '#abi'
import { hpa } from '#bits'
import { seamcall } from '../leaf.ts'
import { isPlainAddress, numberOf } from '../operand.ts'
import { LEVEL_SIZE } from '../pamt.ts'
import { check } from '../status.ts'

/** TDH.PHYMEM.PAGE.RECLAIM: take a page back from a TD that is being torn down. tdh_phymem_page_reclaim.c. */
export const phymemPageReclaim = seamcall(TDH_PHYMEM_PAGE_RECLAIM, (module, regs) => {
  const { rcx } = regs
  regs.rcx = 0n
  regs.rdx = 0n
  regs.r8 = 0n
  regs.r9 = 0n
  regs.r10 = 0n
  regs.r11 = 0n
  check((rcx & 0xfffn) === 0n && isPlainAddress(module, rcx), TDX_OPERAND_INVALID, 'RCX')
  const at = hpa(numberOf(rcx))
  const { pamt } = module
  const entry = pamt.find(at)
  check(entry !== 0, TDX_OPERAND_ADDR_RANGE_ERROR, 'RCX')
  const type = pamt.type(entry)
  check(type !== PT_NDA && type !== PT_RSVD, TDX_PAGE_METADATA_INCORRECT, 'RCX')
  const { level } = pamt
  const td = module.ownerOf(entry, at)
  regs.rcx = BigInt(type)
  regs.rdx = BigInt(pamt.owner(entry))
  regs.r8 = BigInt(level)
  check(at % LEVEL_SIZE[level] === 0, TDX_OPERAND_INVALID, 'RCX')
  check(td.lifecycle === TD_TEARDOWN, TDX_LIFECYCLE_STATE_INCORRECT)
  check(type !== PT_TDR || td.childCount === 0, TDX_TD_ASSOCIATED_PAGES_EXIST)

  if (type === PT_TDR) module.forget(at)
  else td.childCount -= 512 ** level
  if (type === PT_TDVPR) module.forgetVcpu(at)
  pamt.release(entry)
  module.heal(at, level)
  return TDX_SUCCESS
})
