/** KVM_MEMORY_ENCRYPT_OP on a TD: the sub-commands, by the id in kvm_tdx_cmd. Linux arch/x86/kvm/vmx/tdx.c, tdx_vm_ioctl and tdx_vcpu_*ioctl. */

import {
  KVM_TDX_CAPABILITIES,
  KVM_TDX_FINALIZE_VM,
  KVM_TDX_GET_CPUID,
  KVM_TDX_INIT_MEM_REGION,
  KVM_TDX_INIT_VCPU,
  KVM_TDX_INIT_VM,
  kvm_tdx_cmd,
} from '#abi'
import { type Hva, hex, hva } from '#bits'
import { Errno } from '../errno.ts'
import type { Host } from '../host.ts'
import type { Command } from '../tdx/command.ts'
import { capabilities } from '../tdx/kvm_tdx_capabilities.ts'
import { finalizeVm } from '../tdx/kvm_tdx_finalize_vm.ts'
import { getCpuid } from '../tdx/kvm_tdx_get_cpuid.ts'
import { initMemRegion } from '../tdx/kvm_tdx_init_mem_region.ts'
import { initVcpu } from '../tdx/kvm_tdx_init_vcpu.ts'
import { initVm } from '../tdx/kvm_tdx_init_vm.ts'
import type { Vcpu } from '../vcpu.ts'
import type { Vm } from '../vm.ts'

const NAMES = ['CAPABILITIES', 'INIT_VM', 'INIT_VCPU', 'INIT_MEM_REGION', 'FINALIZE_VM', 'GET_CPUID']
const nameOf = (id: number): string => (NAMES[id] === undefined ? `sub-command ${id}` : `KVM_TDX_${NAMES[id]}`)

const read = (host: Host, at: Hva): Command => {
  const command = host.space.get(kvm_tdx_cmd, at)
  if (command.hw_error !== 0n) {
    throw new Errno('EINVAL', `${nameOf(command.id)}: hw_error ${hex(command.hw_error)} on input; want 0`)
  }
  return command
}

/** INIT_VM and FINALIZE_VM give back the SEAMCALL's status, when they fail too. */
const reporting = (host: Host, at: Hva, run: () => void): number => {
  try {
    run()
  } catch (error) {
    if (error instanceof Errno) host.space.set(kvm_tdx_cmd, at, { hw_error: error.hwError ?? 0n })
    throw error
  }
  return 0
}

/** EFAULT; EINVAL: hw_error not 0, or no sub-command of a VM; else what the sub-command says. */
export const encryptVm = (vm: Vm, arg: bigint): number => {
  const at = hva(arg)
  const command = read(vm.host, at)
  switch (command.id) {
    case KVM_TDX_CAPABILITIES:
      capabilities(vm, command)
      return 0
    case KVM_TDX_INIT_VM:
      return reporting(vm.host, at, () => initVm(vm, command))
    case KVM_TDX_FINALIZE_VM:
      return reporting(vm.host, at, () => finalizeVm(vm))
    default:
      throw new Errno('EINVAL', `KVM_MEMORY_ENCRYPT_OP: ${nameOf(command.id)} is none of a VM's`)
  }
}

/** The same for a vCPU; all of it is over once the TD is finalized. */
export const encryptVcpu = (vcpu: Vcpu, arg: bigint): number => {
  const command = read(vcpu.vm.host, hva(arg))
  const { state } = vcpu.vm.td
  if (state !== 'initialized') {
    throw new Errno('EINVAL', `${nameOf(command.id)}: the TD is ${state}; want initialized and not finalized`)
  }
  switch (command.id) {
    case KVM_TDX_INIT_VCPU:
      initVcpu(vcpu, command)
      return 0
    case KVM_TDX_INIT_MEM_REGION:
      initMemRegion(vcpu, command)
      return 0
    case KVM_TDX_GET_CPUID:
      getCpuid(vcpu, command)
      return 0
    default:
      throw new Errno('EINVAL', `KVM_MEMORY_ENCRYPT_OP: ${nameOf(command.id)} is none of a vCPU's`)
  }
}
