import { MD_FIELD_ID_NA, TDH_VP_RD, TDX_ATTR_DEBUG, TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT, TDX_SUCCESS } from '#abi'
import { cpuOf } from '../guest/make.ts'
import { seamcall } from '../leaf.ts'
import { findVpField, firstVpField, nextVpField, readVpField } from '../metadata/vp.ts'
import { ANY_INITIALISED } from './op-states.ts'

/** TDH.VP.RD: read a field of TDVPS; the vCPU is bound to this processor. tdh_vp_rd_wr.c. */
export const vpRd = seamcall(
  TDH_VP_RD,
  (module, regs, lp, version) => {
    const { rcx, rdx } = regs
    if (version > 0) regs.rdx = MD_FIELD_ID_NA
    regs.r8 = 0n
    const vcpu = module.vcpu(rcx, 'RCX')
    vcpu.td.checkState(ANY_INITIALISED)
    vcpu.checkPages()
    vcpu.associate(lp.id, true)
    // The state of a debug TD that has not run yet is there to be read.
    if ((vcpu.td.attributes & TDX_ATTR_DEBUG) !== 0n) cpuOf(module, vcpu)
    if (version > 0 && rdx === MD_FIELD_ID_NA) {
      regs.rdx = firstVpField(vcpu, 'host')
      return TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT
    }
    const field = findVpField(rdx)
    regs.r8 = readVpField(vcpu, field, 'host')
    if (version > 0) regs.rdx = nextVpField(vcpu, field, 'host')
    return TDX_SUCCESS
  },
  { versions: 1 },
)
