/** What KVM's in-kernel bus, clock and MSR lists take and give. Linux include/uapi/linux/kvm.h and arch/x86/include/uapi/asm/kvm.h. */
import { bytes, struct, u32, u64 } from '#bits'

export const KVM_IOEVENTFD_FLAG_DATAMATCH = 1
export const KVM_IOEVENTFD_FLAG_PIO = 2
export const KVM_IOEVENTFD_FLAG_DEASSIGN = 4
export const kvm_ioeventfd = struct('kvm_ioeventfd', {
  datamatch: u64,
  addr: u64,
  len: u32,
  fd: u32,
  flags: u32,
  pad: bytes(36),
})

/** `pio`: 1 for ports, 0 for memory. */
export const kvm_coalesced_mmio_zone = struct('kvm_coalesced_mmio_zone', { addr: u64, size: u32, pio: u32 })
/** Head of the ring, in the page of a vCPU's mapping that KVM_CAP_COALESCED_MMIO names. */
export const kvm_coalesced_mmio_ring = struct('kvm_coalesced_mmio_ring', { first: u32, last: u32 })
export const kvm_coalesced_mmio = struct('kvm_coalesced_mmio', { phys_addr: u64, len: u32, pio: u32, data: bytes(8) })
export const KVM_COALESCED_MMIO_PAGE_OFFSET = 2
export const KVM_COALESCED_MMIO_MAX = Math.floor((4096 - kvm_coalesced_mmio_ring.size) / kvm_coalesced_mmio.size)

export const KVM_CLOCK_TSC_STABLE = 2
export const KVM_CLOCK_REALTIME = 4
export const KVM_CLOCK_HOST_TSC = 8

export const KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE = 1n
export const KVM_DIRTY_LOG_INITIALLY_SET = 2n
export const kvm_clear_dirty_log = struct('kvm_clear_dirty_log', {
  slot: u32,
  num_pages: u32,
  first_page: u64,
  dirty_bitmap: u64,
})
