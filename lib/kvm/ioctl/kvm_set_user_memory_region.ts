/** KVM_SET_USER_MEMORY_REGION and KVM_SET_USER_MEMORY_REGION2: memory slots. Linux virt/kvm/kvm_main.c, kvm_set_memory_region. */

import {
  KVM_DIRTY_LOG_INITIALLY_SET,
  KVM_MEM_GUEST_MEMFD,
  KVM_MEM_LOG_DIRTY_PAGES,
  KVM_MEM_READONLY,
  KVM_USER_MEM_SLOTS,
  kvm_userspace_memory_region,
  kvm_userspace_memory_region2,
} from '#abi'
import { hex, hva, PAGE_SIZE } from '#bits'
import { Errno } from '../errno.ts'
import { GuestMemfd } from '../guestmemfd.ts'
import type { Memslot } from '../memslot.ts'
import type { Vm } from '../vm.ts'

/** The fields both versions have; the first version leaves the guest_memfd ones 0. */
type Region = {
  readonly slot: number
  readonly flags: number
  readonly guest_phys_addr: bigint
  readonly memory_size: bigint
  readonly userspace_addr: bigint
  readonly guest_memfd_offset: bigint
  readonly guest_memfd: number
}

const U64 = 2n ** 64n
/** Most pages of a slot. Linux include/linux/kvm_host.h, KVM_MEM_MAX_NR_PAGES. */
const MAX_PAGES = 2n ** 31n - 1n
/** End of the addresses a 64-bit process may have. */
const TASK_SIZE = 0x7fff_ffff_f000n

const isPageAligned = (value: bigint): boolean => (value & 0xfffn) === 0n

const invalid = (why: string): Errno => new Errno('EINVAL', `KVM_SET_USER_MEMORY_REGION: ${why}`)

/** Everything that can be said without looking at the VM's slots. */
const check = (vm: Vm, region: Region): void => {
  const { flags, slot } = region
  const isGuestMemfd = (flags & KVM_MEM_GUEST_MEMFD) !== 0
  // A TD's slots cannot be read-only, and private memory has no dirty log.
  const plain = KVM_MEM_LOG_DIRTY_PAGES | (vm.isTd ? 0 : KVM_MEM_READONLY)
  const allowed = isGuestMemfd ? KVM_MEM_GUEST_MEMFD : plain
  if ((flags & ~allowed) !== 0) {
    const why = vm.isTd && flags & KVM_MEM_READONLY ? 'a TD has no read-only slots' : `allowed here: ${allowed}`
    throw invalid(`slot ${slot & 0xffff}: flags ${flags}; ${why}`)
  }
  if (!isPageAligned(region.memory_size)) throw invalid(`memory_size ${hex(region.memory_size)} is not whole pages`)
  if (!isPageAligned(region.guest_phys_addr)) {
    throw invalid(`guest_phys_addr ${hex(region.guest_phys_addr)} is not page aligned`)
  }
  if (!isPageAligned(region.userspace_addr)) {
    throw invalid(`userspace_addr ${hex(region.userspace_addr)} is not page aligned`)
  }
  if (region.userspace_addr + region.memory_size > TASK_SIZE) {
    throw invalid(`userspace_addr ${hex(region.userspace_addr)} + ${hex(region.memory_size)} is no user address range`)
  }
  if (isGuestMemfd && !isPageAligned(region.guest_memfd_offset)) {
    throw invalid(`guest_memfd_offset ${hex(region.guest_memfd_offset)} is not page aligned`)
  }
  if (isGuestMemfd && region.guest_memfd_offset + region.memory_size >= U64) {
    throw invalid(`guest_memfd_offset ${hex(region.guest_memfd_offset)} + ${hex(region.memory_size)} overflows`)
  }
  if (slot >>> 16 !== 0) throw invalid(`address space ${slot >>> 16}; there is only 0`)
  if (region.guest_phys_addr + region.memory_size >= U64) {
    throw invalid(`guest_phys_addr ${hex(region.guest_phys_addr)} + ${hex(region.memory_size)} overflows`)
  }
  if (region.memory_size >> 12n > MAX_PAGES) throw invalid(`memory_size ${hex(region.memory_size)} is too many pages`)
}

/** The guest_memfd a new slot wants to be bound to. */
const memfdOf = (vm: Vm, region: Region, pages: number): GuestMemfd => {
  const file = vm.host.descriptors.get(region.guest_memfd)
  if (!(file instanceof GuestMemfd)) throw invalid(`guest_memfd ${region.guest_memfd} is a ${file.kind} descriptor`)
  if (file.vm !== vm) throw invalid(`guest_memfd ${region.guest_memfd} belongs to another VM`)
  const first = Number(region.guest_memfd_offset / BigInt(PAGE_SIZE))
  if (first + pages > file.pages) {
    throw invalid(`guest_memfd pages ${first} to ${first + pages} do not fit the file's ${file.pages}`)
  }
  if (file.isBound(first, pages)) {
    throw new Errno(
      'EEXIST',
      `KVM_SET_USER_MEMORY_REGION: guest_memfd pages ${first} to ${first + pages} are bound already`,
    )
  }
  return file
}

const zap = (vm: Vm, slot: Memslot): void => {
  vm.zapShared(slot.gfn, slot.pages)
  vm.zapPrivate(slot.gfn, slot.pages)
}

const remove = (vm: Vm, slot: Memslot): void => {
  zap(vm, slot)
  slot.memfd?.slots.delete(slot)
  vm.slots.delete(slot)
}

/** A page's bit in whole u64s, where the slot logs writes. */
const logOf = (vm: Vm, flags: number, pages: number): Uint8Array | undefined => {
  if ((flags & KVM_MEM_LOG_DIRTY_PAGES) === 0) return undefined
  const log = new Uint8Array(Math.ceil(pages / 64) * 8)
  if ((vm.manualDirtyLog & KVM_DIRTY_LOG_INITIALLY_SET) !== 0n)
    for (let page = 0; page < pages; page++) log[page >>> 3]! |= 1 << (page & 7)
  return log
}

/** Logging goes on or off, writing is forbidden or not: what was mapped is looked at again. */
const setFlags = (vm: Vm, slot: Memslot, flags: number): void => {
  if (slot.flags === flags) return
  slot.flags = flags
  slot.dirty = (flags & KVM_MEM_LOG_DIRTY_PAGES) === 0 ? undefined : (slot.dirty ?? logOf(vm, flags, slot.pages))
  vm.zapShared(slot.gfn, slot.pages)
}

const set = (vm: Vm, region: Region): number => {
  if ((region.slot & 0xffff) >= KVM_USER_MEM_SLOTS)
    throw invalid(`slot ${region.slot & 0xffff} is not below ${KVM_USER_MEM_SLOTS}`)
  check(vm, region)
  const id = region.slot & 0xffff
  const old = vm.slots.get(id)
  const pages = Number(region.memory_size >> 12n)
  const gfn = Number(region.guest_phys_addr >> 12n)
  const hostPage = Number(region.userspace_addr >> 12n)
  if (pages === 0) {
    if (old === undefined) throw invalid(`slot ${id} is not there to be deleted`)
    remove(vm, old)
    return 0
  }
  if (old !== undefined) {
    if ((region.flags & KVM_MEM_GUEST_MEMFD) !== 0 || old.memfd !== undefined) {
      throw invalid(`slot ${id} has a guest_memfd; it can only be deleted`)
    }
    if (hostPage !== old.hostPage || pages !== old.pages)
      throw invalid(`slot ${id} can be moved, not resized or backed anew`)
    if (gfn === old.gfn) {
      setFlags(vm, old, region.flags)
      return 0
    }
  }
  const other = vm.slots.overlaps(gfn, pages, id)
  if (other !== undefined) {
    throw new Errno('EEXIST', `KVM_SET_USER_MEMORY_REGION: slot ${id} overlaps slot ${other.id} in guest memory`)
  }
  const memfd = (region.flags & KVM_MEM_GUEST_MEMFD) !== 0 ? memfdOf(vm, region, pages) : undefined
  if (vm.isTd && vm.td.state !== 'uninitialized' && gfn + pages > vm.sharedPage) {
    throw invalid(`slot ${id} reaches the shared bit (${vm.td.sharedBit}) of guest addresses`)
  }
  if (old !== undefined) remove(vm, old)
  const memfdPage = Number(region.guest_memfd_offset >> 12n)
  const dirty = logOf(vm, region.flags, pages)
  const slot: Memslot = { id, flags: region.flags, gfn, pages, hostPage, memfd, memfdPage, dirty }
  memfd?.slots.add(slot)
  vm.slots.add(slot)
  // Pages that the guest found empty are looked at again.
  vm.zapShared(gfn, pages)
  return 0
}

/** EINVAL, EEXIST: overlap; EBADF: guest_memfd is not open. */
export const setUserMemoryRegion2 = (vm: Vm, arg: bigint): number =>
  set(vm, vm.host.space.get(kvm_userspace_memory_region2, hva(arg)))

/** The first version has no guest_memfd. */
export const setUserMemoryRegion = (vm: Vm, arg: bigint): number => {
  const region = vm.host.space.get(kvm_userspace_memory_region, hva(arg))
  if ((region.flags & ~(KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY)) !== 0) {
    throw invalid(`flags ${region.flags}; this version has ${KVM_MEM_LOG_DIRTY_PAGES} and ${KVM_MEM_READONLY}`)
  }
  return set(vm, { ...region, guest_memfd_offset: 0n, guest_memfd: 0 })
}
