/** KVM_GET_SUPPORTED_CPUID: the CPUID leaves KVM can give a guest. */

import { KVM_MAX_CPUID_ENTRIES, kvm_cpuid2 } from '#abi'
import { type Hva, hva } from '#bits'
import { type CpuidEntry, encodeCpuid, entriesOf } from '../cpuid.ts'
import { Errno } from '../errno.ts'
import type { Host } from '../host.ts'

/** The list in bytes: a host's never changes. */
const encoded = new WeakMap<readonly CpuidEntry[], Uint8Array>()

/** E2BIG: the list has fewer entries than KVM has; nothing is written back. */
export const getSupportedCpuid = (host: Host, arg: bigint): number => {
  const at: Hva = hva(arg)
  const { nent } = host.space.get(kvm_cpuid2, at)
  const entries = host.supportedCpuid()
  if (Math.min(nent, KVM_MAX_CPUID_ENTRIES) < entries.length) {
    throw new Errno('E2BIG', `KVM_GET_SUPPORTED_CPUID: room for ${nent} entries; there are ${entries.length}`)
  }
  const bytes = encoded.get(entries) ?? encodeCpuid(entries)
  encoded.set(entries, bytes)
  host.space.write(entriesOf(at), bytes)
  host.space.set(kvm_cpuid2, at, { nent: entries.length })
  return 0
}
