/** KVM_X86_SET_MSR_FILTER: which MSRs the guest may read and write. */

import {
  KVM_MSR_FILTER_DEFAULT_DENY,
  KVM_MSR_FILTER_MAX_RANGES,
  KVM_MSR_FILTER_READ,
  KVM_MSR_FILTER_WRITE,
  kvm_msr_filter,
  kvm_msr_filter_range,
} from '#abi'
import { hex, hva } from '#bits'
import { Errno } from '../errno.ts'
import type { MsrFilterRange } from '../msrfilter.ts'
import type { Vm } from '../vm.ts'

/** Most bytes of a range's bitmap. Linux arch/x86/include/asm/kvm_host.h, KVM_MSR_FILTER_MAX_BITMAP_SIZE. */
const MAX_BITMAP = 0x600

const invalid = (why: string): Errno => new Errno('EINVAL', `KVM_X86_SET_MSR_FILTER: ${why}`)

/** EINVAL: unknown flags, or a default of deny with no range at all; EFAULT: a bitmap that is not mapped. */
export const setMsrFilter = (vm: Vm, arg: bigint): number => {
  const { space } = vm.host
  const head = space.get(kvm_msr_filter, hva(arg))
  if ((head.flags & ~KVM_MSR_FILTER_DEFAULT_DENY) !== 0)
    throw invalid(`flags ${head.flags}; want 0 or ${KVM_MSR_FILTER_DEFAULT_DENY}`)
  const view = new DataView(head.ranges.buffer, head.ranges.byteOffset)
  const ranges: MsrFilterRange[] = []
  for (let i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++) {
    const { flags, nmsrs, base, bitmap } = kvm_msr_filter_range.read(view, i * kvm_msr_filter_range.size)
    if (nmsrs === 0) continue
    const access = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE
    if ((flags & ~access) !== 0 || flags === 0) throw invalid(`range ${i}: flags ${flags}; want some of ${access}`)
    const bytes = Math.ceil(nmsrs / 64) * 8
    if (bytes > MAX_BITMAP) throw invalid(`range ${i} from ${hex(base)}: ${nmsrs} MSRs are more than ${MAX_BITMAP * 8}`)
    ranges.push({ flags, base, count: nmsrs, bitmap: space.read(hva(bitmap), bytes) })
  }
  const defaultAllow = (head.flags & KVM_MSR_FILTER_DEFAULT_DENY) === 0
  if (!defaultAllow && ranges.length === 0) throw invalid('a default of deny needs at least one range')
  vm.msrFilter.defaultAllow = defaultAllow
  vm.msrFilter.ranges = ranges
  return 0
}
