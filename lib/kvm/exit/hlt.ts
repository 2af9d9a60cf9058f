/** TDG.VP.VMCALL<Instruction.HLT>: the vCPU blocks inside KVM_RUN until something wakes it. */
import { KVM_MP_STATE_HALTED } from '#abi'
import type { Vcpu } from '../vcpu.ts'

/** R12 = 1: the guest has interrupts blocked, so an ordinary one does not wake it. */
export const handleHlt = (vcpu: Vcpu): boolean => {
  vcpu.counts.halt_exits++
  vcpu.isInterruptBlocked = vcpu.args.r12 !== 0n
  if (!vcpu.hasEvents) vcpu.mpState = KVM_MP_STATE_HALTED
  return true
}
