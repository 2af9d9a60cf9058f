/** KVM_CREATE_GUEST_MEMFD: private memory for a TD, as a file of pages. */

import { GUEST_MEMFD_FLAG_INIT_SHARED, GUEST_MEMFD_FLAG_MMAP, kvm_create_guest_memfd } from '#abi'
import { hex, hva, PAGE_SIZE } from '#bits'
import { Errno } from '../errno.ts'
import { GuestMemfd } from '../guestmemfd.ts'
import type { Vm } from '../vm.ts'

/**
 * With GUEST_MEMFD_FLAG_MMAP the host maps it (mmapFd) and conversion is in place; pages are shared at first, as
 * GUEST_MEMFD_FLAG_INIT_SHARED says. EINVAL: unknown flags, MMAP without INIT_SHARED, size 0 or not whole pages.
 * Not modelled: attributes of the file itself (KVM_SET_MEMORY_ATTRIBUTES2), which the postings of 2026 have; the VM's count.
 * Not modelled: GUEST_MEMFD_FLAG_MMAP without GUEST_MEMFD_FLAG_INIT_SHARED (EINVAL), whose mapping nobody can touch.
 */
export const createGuestMemfd = (vm: Vm, arg: bigint): number => {
  const { size, flags } = vm.host.space.get(kvm_create_guest_memfd, hva(arg))
  if (flags !== 0n && flags !== (GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED)) {
    throw new Errno('EINVAL', `KVM_CREATE_GUEST_MEMFD: flags ${hex(flags)}; want 0, or MMAP and INIT_SHARED`)
  }
  if (size === 0n || size % BigInt(PAGE_SIZE) !== 0n || size >= 2n ** 63n) {
    throw new Errno('EINVAL', `KVM_CREATE_GUEST_MEMFD: size ${hex(size)}; want whole pages, at least one`)
  }
  return vm.host.descriptors.open(new GuestMemfd(vm, vm.host.memory, Number(size / BigInt(PAGE_SIZE)), flags !== 0n))
}
