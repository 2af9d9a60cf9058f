/** TDG.VP.VMCALL<ReportFatalError>: KVM_EXIT_SYSTEM_EVENT, KVM_SYSTEM_EVENT_TDX_FATAL, with every register the guest exposed. */
import { KVM_EXIT_SYSTEM_EVENT, KVM_SYSTEM_EVENT_TDX_FATAL, kvm_run_system_event } from '#abi'
import type { Vcpu } from '../vcpu.ts'

const { offset } = kvm_run_system_event

/** data[n] is the register with SDM number n; RSP and RBP are 0. The guest may be run on: R10 stays as it was. */
export const handleReportFatalError = (vcpu: Vcpu): boolean => {
  const { args, view, exit } = vcpu
  vcpu.exitReason = KVM_EXIT_SYSTEM_EVENT
  view.setUint32(exit + offset.type, KVM_SYSTEM_EVENT_TDX_FATAL, true)
  view.setUint32(exit + offset.ndata, 16, true)
  const data = exit + offset.data
  view.setBigUint64(data, vcpu.enterStatus, true)
  view.setBigUint64(data + 8, args.rcx, true)
  view.setBigUint64(data + 16, args.rdx, true)
  view.setBigUint64(data + 24, args.rbx, true)
  view.setBigUint64(data + 32, 0n, true)
  view.setBigUint64(data + 40, 0n, true)
  view.setBigUint64(data + 48, args.rsi, true)
  view.setBigUint64(data + 56, args.rdi, true)
  view.setBigUint64(data + 64, args.r8, true)
  view.setBigUint64(data + 72, args.r9, true)
  view.setBigUint64(data + 80, args.r10, true)
  view.setBigUint64(data + 88, args.r11, true)
  view.setBigUint64(data + 96, args.r12, true)
  view.setBigUint64(data + 104, args.r13, true)
  view.setBigUint64(data + 112, args.r14, true)
  view.setBigUint64(data + 120, args.r15, true)
  return false
}
