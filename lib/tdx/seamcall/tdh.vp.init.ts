import {
  TDH_VP_INIT,
  TDX_MAX_VCPUS_EXCEEDED,
  TDX_OPERAND_INVALID,
  TDX_SUCCESS,
  TDX_VCPU_STATE_INCORRECT,
  VCPU_READY,
  VCPU_UNINITIALIZED,
} from '#abi'
import { checkTscAdjust } from '../hostmsr.ts'
import { seamcall } from '../leaf.ts'
import { check } from '../status.ts'
import { BUILD } from './op-states.ts'

/**
 * TDH.VP.INIT: number the vCPU and set its initial state; it stays bound to this processor. tdh_vp_init.c.
 * Version 1 (newer than 1.5.01) takes the x2APIC id in R8, as Linux arch/x86/virt/vmx/tdx/tdx.c (tdh_vp_init) passes it:
 * bits above 31 are refused.
 */
export const vpInit = seamcall(
  TDH_VP_INIT,
  (module, { rcx, rdx, r8 }, lp, version) => {
    const vcpu = module.vcpu(rcx, 'RCX')
    const { td } = vcpu
    td.checkState(BUILD)
    vcpu.checkPages()
    check(vcpu.state === VCPU_UNINITIALIZED, TDX_VCPU_STATE_INCORRECT)
    check(td.numVcpus < td.maxVcpus, TDX_MAX_VCPUS_EXCEEDED)
    check(version === 0 || r8 >> 32n === 0n, TDX_OPERAND_INVALID, 'R8')
    if (lp.msrs !== undefined) checkTscAdjust(lp.msrs)

    vcpu.index = td.numVcpus++
    vcpu.x2apicId = version === 0 ? vcpu.index : Number(r8)
    td.x2apicIds.push(version === 0 ? -1 : vcpu.x2apicId)
    vcpu.lastExitTsc = lp.msrs?.tsc ?? 0n
    vcpu.initialRcx = rdx
    vcpu.state = VCPU_READY
    vcpu.lastExit = 'fault'
    vcpu.assocLp = lp.id
    td.numAssocVcpus++
    return TDX_SUCCESS
  },
  { versions: 1 },
)
