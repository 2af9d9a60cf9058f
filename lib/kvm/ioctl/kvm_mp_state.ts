/** KVM_GET_MP_STATE and KVM_SET_MP_STATE: is a vCPU runnable or halted? */

import { KVM_MP_STATE_SIPI_RECEIVED, kvm_mp_state } from '#abi'
import { hva } from '#bits'
import { Errno } from '../errno.ts'
import type { Vcpu } from '../vcpu.ts'

export const getMpState = (vcpu: Vcpu, arg: bigint): number => {
  vcpu.vm.host.space.set(kvm_mp_state, hva(arg), { mp_state: vcpu.mpState })
  return 0
}

/** EINVAL: no such state on x86. */
export const setMpState = (vcpu: Vcpu, arg: bigint): number => {
  const { mp_state: state } = vcpu.vm.host.space.get(kvm_mp_state, hva(arg))
  if (state > KVM_MP_STATE_SIPI_RECEIVED) {
    throw new Errno('EINVAL', `KVM_SET_MP_STATE: state ${state}; want 0 (runnable) to ${KVM_MP_STATE_SIPI_RECEIVED}`)
  }
  vcpu.mpState = state
  return 0
}
