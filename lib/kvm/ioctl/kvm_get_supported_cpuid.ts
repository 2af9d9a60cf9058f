/** KVM_GET_SUPPORTED_CPUID: the CPUID leaves KVM can give a guest. */

import { KVM_MAX_CPUID_ENTRIES, kvm_cpuid2 } from '#abi'
import { type Hva, hva } from '#bits'
import { entriesOf, writeCpuid } from '../cpuid.ts'
import { Errno } from '../errno.ts'
import type { Host } from '../host.ts'

/** E2BIG: the list has fewer entries than KVM has; nothing is written back. */
export const getSupportedCpuid = (host: Host, arg: bigint): number => {
  const at: Hva = hva(arg)
  const { nent } = host.space.get(kvm_cpuid2, at)
  const entries = host.supportedCpuid()
  if (Math.min(nent, KVM_MAX_CPUID_ENTRIES) < entries.length) {
    throw new Errno('E2BIG', `KVM_GET_SUPPORTED_CPUID: room for ${nent} entries; there are ${entries.length}`)
  }
  writeCpuid(host.space, entriesOf(at), entries)
  host.space.set(kvm_cpuid2, at, { nent: entries.length })
  return 0
}
