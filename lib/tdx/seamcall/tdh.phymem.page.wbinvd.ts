import { PT_NDA, TDH_PHYMEM_PAGE_WBINVD, TDX_SUCCESS } from '#abi'
import { seamcall } from '../leaf.ts'
import { page } from '../operand.ts'

/** TDH.PHYMEM.PAGE.WBINVD: write back a free page's lines, of the key id in the address. tdh_phymem_page_wbinvd.c. */
export const phymemPageWbinvd = seamcall(TDH_PHYMEM_PAGE_WBINVD, (module, { rcx }) => {
  page(module, rcx & module.withoutKeyId, PT_NDA, 'RCX')
  return TDX_SUCCESS
})
