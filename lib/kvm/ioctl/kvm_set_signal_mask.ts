/** KVM_SET_SIGNAL_MASK: signals that do not end a vCPU's KVM_RUN. Linux virt/kvm/kvm_main.c, kvm_vcpu_ioctl_set_sigmask. */
import { kvm_signal_mask } from '#abi'
import { hva } from '#bits'
import { Errno } from '../errno.ts'
import type { Vcpu } from '../vcpu.ts'

/** Bytes of a sigset_t. */
const SIGSET = 8
/** SIGKILL and SIGSTOP, which nobody blocks. */
const NEVER = (1n << 8n) | (1n << 18n)

/** Without a structure KVM_RUN goes by the process's own mask again. EINVAL: another length than that of 64 signals. */
export const setSignalMask = (vcpu: Vcpu, arg: bigint): number => {
  if (arg === 0n) {
    vcpu.signalMask = undefined
    return 0
  }
  const { space } = vcpu.vm.host
  const { len } = space.get(kvm_signal_mask, hva(arg))
  if (len !== SIGSET) throw new Errno('EINVAL', `KVM_SET_SIGNAL_MASK: len ${len}; want ${SIGSET}`)
  vcpu.signalMask = space.load(hva(arg + BigInt(kvm_signal_mask.size)), SIGSET) & ~NEVER
  return 0
}
