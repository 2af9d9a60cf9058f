/** KVM_GET_DIRTY_LOG and KVM_CLEAR_DIRTY_LOG: which pages of a slot the guest has written. Linux virt/kvm/kvm_main.c, kvm_get_dirty_log_protect. */
import { KVM_USER_MEM_SLOTS, kvm_clear_dirty_log, kvm_dirty_log } from '#abi'
import { hva } from '#bits'
import { Errno } from '../errno.ts'
import type { Memslot } from '../memslot.ts'
import type { Vm } from '../vm.ts'

type Logged = Memslot & { readonly dirty: Uint8Array }

const logged = (vm: Vm, name: string, id: number): Logged => {
  if (vm.dirtyRingBytes !== 0) throw new Errno('ENXIO', `${name}: the VM has dirty rings instead`)
  if (id >>> 16 !== 0 || id >= KVM_USER_MEM_SLOTS) {
    throw new Errno('EINVAL', `${name}: slot ${id} is not below ${KVM_USER_MEM_SLOTS}`)
  }
  const slot = vm.slots.get(id)
  if (slot?.dirty === undefined) throw new Errno('ENOENT', `${name}: slot ${id} does not log writes`)
  return slot as Logged
}

/** A bit for each page, in whole u64s. ENXIO: dirty rings; EINVAL: no such slot number; ENOENT: no slot, or one that does not log; EFAULT. */
export const getDirtyLog = (vm: Vm, arg: bigint): number => {
  const { slot: id, dirty_bitmap } = vm.host.space.get(kvm_dirty_log, hva(arg))
  const slot = logged(vm, 'KVM_GET_DIRTY_LOG', id)
  vm.host.space.write(hva(dirty_bitmap), slot.dirty)
  // With the log in userspace's hands nothing is over until it is cleared.
  if (vm.manualDirtyLog !== 0n) return 0
  if (slot.dirty.some(byte => byte !== 0)) {
    slot.dirty.fill(0)
    // Write access goes, so that the next write is noticed.
    vm.zapShared(slot.gfn, slot.pages)
  }
  return 0
}

/** Takes the pages whose bits are set out of the log. EINVAL: a range that does not begin or end with a u64; ENOENT; EFAULT. */
export const clearDirtyLog = (vm: Vm, arg: bigint): number => {
  const { slot: id, num_pages: pages, first_page, dirty_bitmap } = vm.host.space.get(kvm_clear_dirty_log, hva(arg))
  const slot = logged(vm, 'KVM_CLEAR_DIRTY_LOG', id)
  const left = BigInt(slot.pages) - first_page
  const isWhole = (pages & 63) === 0 || BigInt(pages) === left
  if ((first_page & 63n) !== 0n || left < 0n || BigInt(pages) > left || !isWhole) {
    throw new Errno(
      'EINVAL',
      `KVM_CLEAR_DIRTY_LOG: pages ${first_page} and ${pages} more; want whole u64s of ${slot.pages}`,
    )
  }
  const mask = vm.host.space.read(hva(dirty_bitmap), Math.ceil(pages / 64) * 8)
  const first = Number(first_page) >>> 3
  let isCleared = false
  for (const [i, bits] of mask.entries()) {
    isCleared ||= (slot.dirty[first + i]! & bits) !== 0
    slot.dirty[first + i]! &= ~bits
  }
  if (isCleared) vm.zapShared(slot.gfn, slot.pages)
  return 0
}
