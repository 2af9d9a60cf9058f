/** KVM_GET_DIRTY_LOG: which pages of a slot the guest has written since the last time. Linux virt/kvm/kvm_main.c, kvm_get_dirty_log_protect. */
import { KVM_USER_MEM_SLOTS, kvm_dirty_log } from '#abi'
import { hva } from '#bits'
import { Errno } from '../errno.ts'
import type { Vm } from '../vm.ts'

/** A bit for each page, in whole u64s. EINVAL: no such slot number; ENOENT: no slot, or one that does not log; EFAULT. */
export const getDirtyLog = (vm: Vm, arg: bigint): number => {
  const { slot: id, dirty_bitmap } = vm.host.space.get(kvm_dirty_log, hva(arg))
  if (id >>> 16 !== 0 || id >= KVM_USER_MEM_SLOTS) {
    throw new Errno('EINVAL', `KVM_GET_DIRTY_LOG: slot ${id} is not below ${KVM_USER_MEM_SLOTS}`)
  }
  const slot = vm.slots.get(id)
  if (slot?.dirty === undefined) throw new Errno('ENOENT', `KVM_GET_DIRTY_LOG: slot ${id} does not log writes`)
  vm.host.space.write(hva(dirty_bitmap), slot.dirty)
  if (slot.dirty.some(byte => byte !== 0)) {
    slot.dirty.fill(0)
    // Write access goes, so that the next write is noticed.
    vm.zapShared(slot.gfn, slot.pages)
  }
  return 0
}
