/** ioctls that a TD's vCPU refuses: its registers, its FPU and its local APIC are the TDX module's. Linux arch/x86/kvm/x86.c. */
import { kvm_regs } from '#abi'
import { hva } from '#bits'
import { Errno } from '../errno.ts'
import type { Vcpu } from '../vcpu.ts'

/** EINVAL, always. */
export const refuseProtected = (name: string, what: string) => (): never => {
  throw new Errno('EINVAL', `${name}: ${what} of a TD's vCPU are protected; the host can neither read nor write them`)
}

const refuse = refuseProtected('KVM_GET_REGS', 'registers')

/** EINVAL, unless the host has been given the hack of that name: then what the guest's last TDG.VP.VMCALL shows. */
export const getProtectedRegs = (vcpu: Vcpu, arg: bigint): number => {
  const { host } = vcpu.vm
  if (!host.hacks.has('KVM_GET_REGS of a TD')) return refuse()
  const { rdx, rbx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15 } = vcpu.args
  const seen = { rdx, rbx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15 }
  host.write(hva(arg), kvm_regs.encode(seen))
  return 0
}
