import { TDH_MNG_WR, TDX_SUCCESS } from '#abi'
import { seamcall } from '../leaf.ts'
import { findTdField, writeTdField } from '../metadata/td.ts'
import { METADATA_WRITE } from './op-states.ts'

/** TDH.MNG.WR: write a field of TDCS; R8 is the old value then. tdh_mng_rd_wr.c. */
export const mngWr = seamcall(TDH_MNG_WR, (module, regs) => {
  const { rcx, rdx, r8, r9 } = regs
  regs.r8 = 0n
  const td = module.td(rcx, 'RCX')
  td.checkState(METADATA_WRITE)
  regs.r8 = writeTdField(module, td, findTdField(rdx), r8, r9, 'host')
  return TDX_SUCCESS
})
