/** KVM_SET_CPUID2 and KVM_GET_CPUID2: the CPUID that KVM itself answers with and checks against. */

import { KVM_MAX_CPUID_ENTRIES, kvm_cpuid2 } from '#abi'
import { hva } from '#bits'
import { entriesOf, findCpuid, readCpuid, writeCpuid } from '../cpuid.ts'
import { Errno } from '../errno.ts'
import type { Vcpu } from '../vcpu.ts'

/** E2BIG: too many entries; EINVAL: an impossible linear address width, or another list after the vCPU has run. */
export const setCpuid2 = (vcpu: Vcpu, arg: bigint): number => {
  const { space } = vcpu.vm.host
  const { nent } = space.get(kvm_cpuid2, hva(arg))
  if (nent > KVM_MAX_CPUID_ENTRIES) {
    throw new Errno('E2BIG', `KVM_SET_CPUID2: ${nent} entries; at most ${KVM_MAX_CPUID_ENTRIES}`)
  }
  const entries = readCpuid(space, entriesOf(hva(arg)), nent)
  if (vcpu.hasRun && JSON.stringify(entries) !== JSON.stringify(vcpu.cpuid)) {
    throw new Errno('EINVAL', `KVM_SET_CPUID2: vCPU ${vcpu.id} has run; its CPUID can no longer change`)
  }
  const width = ((findCpuid(entries, 0x8000_0008, 0)?.eax ?? 0) >>> 8) & 0xff
  if (width !== 0 && width !== 48 && width !== 57) {
    throw new Errno('EINVAL', `KVM_SET_CPUID2: leaf 0x8000_0008 says ${width} linear address bits; want 48 or 57`)
  }
  vcpu.cpuid = entries
  return 0
}

/** E2BIG: room for fewer entries than there are. */
export const getCpuid2 = (vcpu: Vcpu, arg: bigint): number => {
  const { space } = vcpu.vm.host
  const { nent } = space.get(kvm_cpuid2, hva(arg))
  if (nent < vcpu.cpuid.length) {
    throw new Errno('E2BIG', `KVM_GET_CPUID2: room for ${nent} entries; there are ${vcpu.cpuid.length}`)
  }
  writeCpuid(space, entriesOf(hva(arg)), vcpu.cpuid)
  space.set(kvm_cpuid2, hva(arg), { nent: vcpu.cpuid.length })
  return 0
}
