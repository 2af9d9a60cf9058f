import {
  MIN_TDCS_PAGES,
  OP_STATE_UNINITIALIZED,
  TD_BLOCKED,
  TD_HKID_ASSIGNED,
  TD_KEYS_CONFIGURED,
  TDH_MNG_VPFLUSHDONE,
  TDX_FLUSHVP_NOT_DONE,
  TDX_LIFECYCLE_STATE_INCORRECT,
  TDX_SUCCESS,
} from '#abi'
import { seamcall } from '../leaf.ts'
import { check } from '../status.ts'

/** TDH.MNG.VPFLUSHDONE: no vCPU is bound to a processor any more; the TD will not run again. tdh_mng_vpflushdone.c. */
export const mngVpflushdone = seamcall(TDH_MNG_VPFLUSHDONE, (module, { rcx }) => {
  const td = module.td(rcx, 'RCX')
  check(td.lifecycle === TD_KEYS_CONFIGURED || td.lifecycle === TD_HKID_ASSIGNED, TDX_LIFECYCLE_STATE_INCORRECT)
  const isInitialised = td.tdcx.length >= MIN_TDCS_PAGES && td.opState !== OP_STATE_UNINITIALIZED
  check(!isInitialised || td.numAssocVcpus === 0, TDX_FLUSHVP_NOT_DONE)

  const key = module.key(td.hkid)
  key.wbinvd = module.configuredPackages
  key.state = 'HKID_FLUSHED'
  td.lifecycle = TD_BLOCKED
  return TDX_SUCCESS
})
