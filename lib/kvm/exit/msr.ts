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

/**
 * KVM refuses the access: to userspace where it has asked for this reason, and `done` gets its answer (an `error` that is not
 * 0 refuses). True: userspace does not want to know. `write` is the value, undefined for a read.
 */
export const exitMsr = (
  vcpu: Vcpu,
  reason: number,
  index: number,
  write: bigint | undefined,
  done: (answer: { error: number; data: bigint }) => boolean,
): boolean => {
  if ((vcpu.vm.userSpaceMsr & reason) === 0) return true
  vcpu.exitReason = write === undefined ? KVM_EXIT_X86_RDMSR : KVM_EXIT_X86_WRMSR
  kvm_run_msr.write(vcpu.view, vcpu.exit, { error: 0, pad: new Uint8Array(7), reason, index, data: write ?? 0n })
  vcpu.complete = () => done(kvm_run_msr.read(vcpu.view, vcpu.exit))
  return false
}

const refuse = (vcpu: Vcpu, index: number, reason: number, write: bigint | undefined): boolean => {
  const { args } = vcpu
  const isKvms = exitMsr(vcpu, reason, index, write, ({ error, data }) => {
    if (error !== 0) args.r10 = TDVMCALL_STATUS_INVALID_OPERAND
    else if (write === undefined) args.r11 = data
    return true
  })
  if (isKvms) args.r10 = TDVMCALL_STATUS_INVALID_OPERAND
  return isKvms
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
