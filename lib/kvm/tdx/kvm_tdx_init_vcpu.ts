/** KVM_TDX_INIT_VCPU: makes the TD's vCPU. Linux arch/x86/kvm/vmx/tdx.c, tdx_vcpu_init. */
import { Errno } from '../errno.ts'
import type { Vcpu } from '../vcpu.ts'
import type { Command } from './command.ts'

/** `data` is the guest's initial RCX and R8. EINVAL: flags, done before, or no x2APIC in the vCPU's CPUID; EIO. */
export const initVcpu = (vcpu: Vcpu, { flags, data }: Command): void => {
  if (flags !== 0) throw new Errno('EINVAL', `KVM_TDX_INIT_VCPU: flags ${flags}; want 0`)
  if (vcpu.isInitialized) throw new Errno('EINVAL', `KVM_TDX_INIT_VCPU: vCPU ${vcpu.id} is initialized already`)
  if (!vcpu.hasX2apic) {
    throw new Errno(
      'EINVAL',
      `KVM_TDX_INIT_VCPU: the CPUID of vCPU ${vcpu.id} lacks x2APIC (leaf 1, ECX bit 21); set it with KVM_SET_CPUID2`,
    )
  }
  vcpu.init(data)
}
