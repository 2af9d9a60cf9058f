/** KVM_CREATE_GUEST_MEMFD: private memory for a TD, as a file of pages. */

import { GUEST_MEMFD_FLAG_INIT_SHARED, GUEST_MEMFD_FLAG_MMAP, kvm_create_guest_memfd } from '#abi'
import { hex, hva, NotModelled, PAGE_SIZE } from '#bits'
import { Errno } from '../errno.ts'
import { GuestMemfd } from '../guestmemfd.ts'
import type { Vm } from '../vm.ts'

/**
 * EINVAL: unknown flags, size 0 or not whole pages.
 * Not modelled: guest_memfd with GUEST_MEMFD_FLAG_MMAP or GUEST_MEMFD_FLAG_INIT_SHARED, and conversion in place.
 */
export const createGuestMemfd = (vm: Vm, arg: bigint): number => {
  const { size, flags } = vm.host.space.get(kvm_create_guest_memfd, hva(arg))
  if ((flags & ~(GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED)) !== 0n) {
    throw new Errno('EINVAL', `KVM_CREATE_GUEST_MEMFD: flags ${hex(flags)} are unknown`)
  }
  if (flags !== 0n) throw new NotModelled(`KVM_CREATE_GUEST_MEMFD with flags ${hex(flags)}`)
  if (size === 0n || size % BigInt(PAGE_SIZE) !== 0n || size >= 2n ** 63n) {
    throw new Errno('EINVAL', `KVM_CREATE_GUEST_MEMFD: size ${hex(size)}; want whole pages, at least one`)
  }
  return vm.host.descriptors.open(new GuestMemfd(vm, vm.host.memory, Number(size / BigInt(PAGE_SIZE))))
}
