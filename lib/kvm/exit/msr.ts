/** TDG.VP.VMCALL<Instruction.RDMSR and WRMSR>: emulated, filtered, or KVM_EXIT_X86_RDMSR and WRMSR. */
import {
  KVM_EXIT_X86_RDMSR,
  KVM_EXIT_X86_WRMSR,
  KVM_MSR_EXIT_REASON_FILTER,
  KVM_MSR_EXIT_REASON_INVAL,
  kvm_run_msr,
  TDVMCALL_STATUS_INVALID_OPERAND,
} from '#abi'
import type { Vcpu } from '../vcpu.ts'

/** Userspace has answered: `error` non-zero refuses. */
const complete =
  (isRead: boolean) =>
  (vcpu: Vcpu): boolean => {
    const { error, data } = kvm_run_msr.read(vcpu.view, vcpu.exit)
    if (error !== 0) vcpu.args.r10 = TDVMCALL_STATUS_INVALID_OPERAND
    else if (isRead) vcpu.args.r11 = data
    return true
  }
const completeRead = complete(true)
const completeWrite = complete(false)

/** KVM refuses: to userspace where it has asked for this reason, else INVALID_OPERAND to the guest. */
const refuse = (vcpu: Vcpu, index: number, reason: number, write: bigint | undefined): boolean => {
  if ((vcpu.vm.userSpaceMsr & reason) === 0) {
    vcpu.args.r10 = TDVMCALL_STATUS_INVALID_OPERAND
    return true
  }
  vcpu.exitReason = write === undefined ? KVM_EXIT_X86_RDMSR : KVM_EXIT_X86_WRMSR
  kvm_run_msr.write(vcpu.view, vcpu.exit, { error: 0, pad: new Uint8Array(7), reason, index, data: write ?? 0n })
  vcpu.complete = write === undefined ? completeRead : completeWrite
  return false
}

/** R12 index in, R11 value out. */
export const handleRdmsr = (vcpu: Vcpu): boolean => {
  const index = Number(vcpu.args.r12 & 0xffff_ffffn)
  if (!vcpu.vm.msrFilter.allows(index, false)) return refuse(vcpu, index, KVM_MSR_EXIT_REASON_FILTER, undefined)
  const value = vcpu.msrs.get(index, false)
  if (value === undefined) return refuse(vcpu, index, KVM_MSR_EXIT_REASON_INVAL, undefined)
  vcpu.args.r11 = value
  return true
}

/** R12 index, R13 value. */
export const handleWrmsr = (vcpu: Vcpu): boolean => {
  const { r12, r13: value } = vcpu.args
  const index = Number(r12 & 0xffff_ffffn)
  if (!vcpu.vm.msrFilter.allows(index, true)) return refuse(vcpu, index, KVM_MSR_EXIT_REASON_FILTER, value)
  if (!vcpu.msrs.set(index, value, false)) return refuse(vcpu, index, KVM_MSR_EXIT_REASON_INVAL, value)
  return true
}
