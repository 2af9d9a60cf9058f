import {
  MAX_TDCS_PAGES,
  MIN_TDCS_PAGES,
  MSR_BITMAPS_PAGE_INDEX,
  OP_STATE_UNINITIALIZED,
  PT_NDA,
  PT_TDCX,
  SEPT_ROOT_PAGE_INDEX,
  TD_KEYS_CONFIGURED,
  TDH_MNG_ADDCX,
  TDX_OP_STATE_INCORRECT,
  TDX_SUCCESS,
  TDX_TD_FATAL,
  TDX_TD_KEYS_NOT_CONFIGURED,
  TDX_TDCX_NUM_INCORRECT,
} from '#abi'
import { seamcall } from '../leaf.ts'
import { page } from '../operand.ts'
import { initTable } from '../sept.ts'
import { check } from '../status.ts'

/** TDH.MNG.ADDCX: one more page for the TD's control structure. What it serves follows from its index. tdh_mng_add_cx.c. */
export const mngAddcx = seamcall(TDH_MNG_ADDCX, (module, { rcx, rdx }) => {
  const td = module.td(rdx, 'RDX')
  check(!td.fatal, TDX_TD_FATAL)
  check(td.lifecycle === TD_KEYS_CONFIGURED, TDX_TD_KEYS_NOT_CONFIGURED)
  const index = td.tdcx.length
  check(index < MAX_TDCS_PAGES, TDX_TDCX_NUM_INCORRECT)
  const tdcx = page(module, rcx, PT_NDA, 'RCX')
  check(index < MIN_TDCS_PAGES || td.opState === OP_STATE_UNINITIALIZED, TDX_OP_STATE_INCORRECT)

  if (index === SEPT_ROOT_PAGE_INDEX) initTable(module.memory, tdcx)
  else module.memory.fill(tdcx, 4096, index === MSR_BITMAPS_PAGE_INDEX ? 0xff : 0)
  td.tdcx.push(tdcx)
  td.childCount++
  module.pamt.assign(module.pamt.at(tdcx, 0), PT_TDCX, td.tdr)
  return TDX_SUCCESS
})
