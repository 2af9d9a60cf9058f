/** TDVMCALLs that userspace answers through KVM_EXIT_TDX: GetTdVmCallInfo, GetQuote, SetupEventNotifyInterrupt. */
import {
  KVM_EXIT_TDX,
  kvm_run_tdx,
  kvm_run_tdx_get_quote,
  kvm_run_tdx_get_tdvmcall_info,
  kvm_run_tdx_setup_event_notify,
  TDVMCALL_GET_QUOTE,
  TDVMCALL_GET_TD_VM_CALL_INFO,
  TDVMCALL_SETUP_EVENT_NOTIFY_INTERRUPT,
  TDVMCALL_STATUS_INVALID_OPERAND,
  TDVMCALL_STATUS_SUBFUNC_UNSUPPORTED,
  TDVMCALL_STATUS_SUCCESS,
} from '#abi'
import type { Vcpu } from '../vcpu.ts'

const refuse = (vcpu: Vcpu): boolean => {
  vcpu.args.r10 = TDVMCALL_STATUS_INVALID_OPERAND
  return true
}

/** `ret` becomes R10. */
const completeRet = (vcpu: Vcpu): boolean => {
  vcpu.args.r10 = kvm_run_tdx.get(vcpu.view, vcpu.exit, 'ret')
  return true
}

const completeInfo = (vcpu: Vcpu): boolean => {
  const info = kvm_run_tdx_get_tdvmcall_info.read(vcpu.view, vcpu.exit)
  vcpu.args.r10 = info.ret
  vcpu.args.r11 = info.r11
  vcpu.args.r12 = info.r12
  vcpu.args.r13 = info.r13
  vcpu.args.r14 = info.r14
  return true
}

/** R12 = 0: the base interface, answered here. R12 = 1: the optional sub-functions, userspace's to say. */
export const handleGetTdVmCallInfo = (vcpu: Vcpu): boolean => {
  const { args } = vcpu
  if (args.r12 === 0n) {
    args.r10 = TDVMCALL_STATUS_SUCCESS
    args.r11 = 0n
    args.r12 = 0n
    args.r13 = 0n
    args.r14 = 0n
    return true
  }
  if (args.r12 !== 1n) return refuse(vcpu)
  vcpu.exitReason = KVM_EXIT_TDX
  kvm_run_tdx_get_tdvmcall_info.write(vcpu.view, vcpu.exit, {
    flags: 0n,
    nr: BigInt(TDVMCALL_GET_TD_VM_CALL_INFO),
    ret: TDVMCALL_STATUS_SUCCESS,
    leaf: 1n,
    r11: 0n,
    r12: 0n,
    r13: 0n,
    r14: 0n,
  })
  vcpu.complete = completeInfo
  return false
}

/** R12 GPA of the buffer, which must be shared; R13 bytes. */
export const handleGetQuote = (vcpu: Vcpu): boolean => {
  const { r12: gpa, r13: size } = vcpu.args
  if ((gpa & vcpu.sharedBit) === 0n) return refuse(vcpu)
  vcpu.exitReason = KVM_EXIT_TDX
  kvm_run_tdx_get_quote.write(vcpu.view, vcpu.exit, {
    flags: 0n,
    nr: BigInt(TDVMCALL_GET_QUOTE),
    ret: TDVMCALL_STATUS_SUBFUNC_UNSUPPORTED,
    gpa: gpa & ~vcpu.sharedBit,
    size,
  })
  vcpu.complete = completeRet
  return false
}

/** R12 vector, 32 to 255. */
export const handleSetupEventNotifyInterrupt = (vcpu: Vcpu): boolean => {
  const vector = vcpu.args.r12
  if (vector < 32n || vector > 255n) return refuse(vcpu)
  vcpu.exitReason = KVM_EXIT_TDX
  kvm_run_tdx_setup_event_notify.write(vcpu.view, vcpu.exit, {
    flags: 0n,
    nr: BigInt(TDVMCALL_SETUP_EVENT_NOTIFY_INTERRUPT),
    ret: TDVMCALL_STATUS_SUBFUNC_UNSUPPORTED,
    vector,
  })
  vcpu.complete = completeRet
  return false
}
