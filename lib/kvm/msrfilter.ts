/** KVM_X86_SET_MSR_FILTER: which MSRs a guest may read and write. Linux arch/x86/kvm/x86.c, kvm_msr_allowed. */
import { KVM_MSR_FILTER_READ, KVM_MSR_FILTER_WRITE } from '#abi'

/** A range of MSRs with a bit each, 1 = allowed, for the accesses that `flags` names. */
export type MsrFilterRange = {
  readonly flags: number
  readonly base: number
  readonly count: number
  readonly bitmap: Uint8Array
}

export class MsrFilter {
  defaultAllow = true
  ranges: readonly MsrFilterRange[] = []

  allows(index: number, write: boolean): boolean {
    // x2APIC MSRs are never filtered.
    if (index >= 0x800 && index <= 0x8ff) return true
    const access = write ? KVM_MSR_FILTER_WRITE : KVM_MSR_FILTER_READ
    for (const { flags, base, count, bitmap } of this.ranges) {
      const bit = index - base
      if (bit >= 0 && bit < count && (flags & access) !== 0) return ((bitmap[bit >>> 3]! >>> (bit & 7)) & 1) === 1
    }
    return this.defaultAllow
  }
}
