/** KVM_CAP_DIRTY_LOG_RING and KVM_RESET_DIRTY_RINGS. Linux virt/kvm/kvm_main.c, kvm_vm_ioctl_enable_dirty_log_ring. */
import { KVM_DIRTY_RING_MAX_ENTRIES, kvm_dirty_gfn } from '#abi'
import { PAGE_SIZE } from '#bits'
import { reservedEntries } from '../dirtyring.ts'
import { Errno } from '../errno.ts'
import type { Vm } from '../vm.ts'

/**
 * From now on each vCPU has a ring of `arg` bytes, and there are no bitmaps. EINVAL: no power of two, smaller than a page or
 * than what KVM keeps for itself, a second time, or there are vCPUs; E2BIG.
 */
export const enableDirtyRing = (vm: Vm, arg: bigint): number => {
  const bytes = Number(BigInt.asUintN(32, arg))
  const least = Math.max(PAGE_SIZE, reservedEntries(vm.isTd) * kvm_dirty_gfn.size)
  const refused = (why: string): Errno => new Errno('EINVAL', `KVM_CAP_DIRTY_LOG_RING: ${why}`)
  if (bytes === 0 || 2 ** Math.floor(Math.log2(bytes)) !== bytes) throw refused(`${bytes} bytes is no power of two`)
  if (bytes < least) throw refused(`${bytes} bytes; want at least ${least}`)
  if (bytes > KVM_DIRTY_RING_MAX_ENTRIES * kvm_dirty_gfn.size)
    throw new Errno(
      'E2BIG',
      `KVM_CAP_DIRTY_LOG_RING: ${bytes} bytes; want ${KVM_DIRTY_RING_MAX_ENTRIES} entries at most`,
    )
  if (vm.dirtyRingBytes !== 0) throw refused('the VM has its rings')
  if (vm.vcpus.size > 0) throw refused('the VM has vCPUs already')
  vm.dirtyRingBytes = bytes
  return 0
}

/** How many entries have become free. EINVAL: the VM has no rings. */
export const resetDirtyRings = (vm: Vm): number => {
  if (vm.dirtyRingBytes === 0) throw new Errno('EINVAL', 'KVM_RESET_DIRTY_RINGS: the VM has no rings')
  let count = 0
  for (const { ring } of vm.vcpus.values()) {
    count += ring?.reset((slot, offset) => vm.watchAgain(slot, offset)) ?? 0
  }
  return count
}
