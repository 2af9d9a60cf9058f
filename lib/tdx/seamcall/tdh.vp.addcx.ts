import {
  MAX_TDVPS_PAGES,
  PT_NDA,
  PT_TDCX,
  TDH_VP_ADDCX,
  TDX_SUCCESS,
  TDX_TDCX_NUM_INCORRECT,
  TDX_VCPU_STATE_INCORRECT,
  VCPU_UNINITIALIZED,
} from '#abi'
import { seamcall } from '../leaf.ts'
import { page } from '../operand.ts'
import { check } from '../status.ts'
import { VP_BUILD } from './op-states.ts'

/** TDH.VP.ADDCX: one more page for a vCPU. tdh_vp_addcx.c. */
export const vpAddcx = seamcall(TDH_VP_ADDCX, (module, { rcx, rdx }) => {
  const vcpu = module.vcpu(rdx, 'RDX')
  const { td } = vcpu
  td.checkState(VP_BUILD)
  check(vcpu.state === VCPU_UNINITIALIZED, TDX_VCPU_STATE_INCORRECT)
  check(vcpu.pages.length < MAX_TDVPS_PAGES, TDX_TDCX_NUM_INCORRECT)
  const tdcx = page(module, rcx, PT_NDA, 'RCX')

  module.memory.fill(tdcx, 4096, 0)
  vcpu.pages.push(tdcx)
  td.childCount++
  module.pamt.assign(module.pamt.at(tdcx, 0), PT_TDCX, td.tdr)
  return TDX_SUCCESS
})
