import {
  TD_KEYS_CONFIGURED,
  TDH_VP_FLUSH,
  TDX_SUCCESS,
  TDX_TD_KEYS_NOT_CONFIGURED,
  TDX_VCPU_NOT_ASSOCIATED,
} from '#abi'
import { seamcall } from '../leaf.ts'
import { check } from '../status.ts'
import { NOT_ASSOCIATED } from '../vcpu.ts'

/** TDH.VP.FLUSH: write the vCPU back and let go of it on this processor. tdh_vp_flush.c. */
export const vpFlush = seamcall(TDH_VP_FLUSH, (module, { rcx }, lp) => {
  const vcpu = module.vcpu(rcx, 'RCX')
  const { td } = vcpu
  check(td.lifecycle === TD_KEYS_CONFIGURED, TDX_TD_KEYS_NOT_CONFIGURED)
  vcpu.checkPages()
  check(vcpu.assocLp === lp.id, TDX_VCPU_NOT_ASSOCIATED)

  vcpu.stage?.invalidate()
  vcpu.assocLp = NOT_ASSOCIATED
  td.numAssocVcpus--
  return TDX_SUCCESS
})
