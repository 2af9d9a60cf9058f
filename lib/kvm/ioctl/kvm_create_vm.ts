/** KVM_CREATE_VM: a VM of the given type, and its descriptor. */

import { KVM_MAX_VCPUS, KVM_X86_DEFAULT_VM, KVM_X86_TDX_VM } from '#abi'
import { Errno } from '../errno.ts'
import type { Host } from '../host.ts'
import { Vm } from '../vm.ts'

/** EINVAL: no such type, or a TDX VM on a host without TDX. */
export const createVm = (host: Host, type: bigint): number => {
  if (type === BigInt(KVM_X86_DEFAULT_VM)) return host.descriptors.open(new Vm(host, KVM_X86_DEFAULT_VM, KVM_MAX_VCPUS))
  if (type !== BigInt(KVM_X86_TDX_VM)) {
    const known = `KVM_X86_DEFAULT_VM (${KVM_X86_DEFAULT_VM}) and KVM_X86_TDX_VM (${KVM_X86_TDX_VM})`
    throw new Errno('EINVAL', `KVM_CREATE_VM: type ${type}; this host has ${known}`)
  }
  if (!host.hasTdx) throw new Errno('EINVAL', 'KVM_CREATE_VM: type 5 (KVM_X86_TDX_VM) on a host without TDX')
  return host.descriptors.open(new Vm(host, KVM_X86_TDX_VM, Math.min(KVM_MAX_VCPUS, host.processors)))
}
