/** What KVM's in-kernel bus, clock and MSR lists take and give. Linux include/uapi/linux/kvm.h and arch/x86/include/uapi/asm/kvm.h. */
import { bytes, struct, u8, u16, u32, u64, u64s } from '#bits'

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

export const KVM_DIRTY_GFN_F_DIRTY = 1
export const KVM_DIRTY_GFN_F_RESET = 2
/** An entry of a dirty ring; `slot` as in kvm_dirty_log. */
export const kvm_dirty_gfn = struct('kvm_dirty_gfn', { flags: u32, slot: u32, offset: u64 })
/** Where a vCPU's mapping has its ring, in pages. */
export const KVM_DIRTY_LOG_PAGE_OFFSET = 64
/** Linux include/linux/kvm_dirty_ring.h. */
export const KVM_DIRTY_RING_MAX_ENTRIES = 65536

/** KVM_SET_SIGNAL_MASK; as many bytes of signals follow as `len` says. */
export const kvm_signal_mask = struct('kvm_signal_mask', { len: u32 })

/** KVM_SET_GUEST_DEBUG: `control`. */
export const KVM_GUESTDBG_ENABLE = 1
export const KVM_GUESTDBG_SINGLESTEP = 2
export const KVM_GUESTDBG_USE_SW_BP = 0x1_0000
export const KVM_GUESTDBG_USE_HW_BP = 0x2_0000
export const KVM_GUESTDBG_INJECT_DB = 0x4_0000
export const KVM_GUESTDBG_INJECT_BP = 0x8_0000
export const kvm_guest_debug = struct('kvm_guest_debug', { control: u32, pad: u32, debugreg: u64s(8) })
/** kvm_run's part of KVM_EXIT_DEBUG. */
export const kvm_run_debug = struct('kvm_run.debug', { exception: u32, pad: u32, pc: u64, dr6: u64, dr7: u64 })

/** What KVM_GET_STATS_FD gives to read. */
export const KVM_STATS_TYPE_CUMULATIVE = 0
export const KVM_STATS_TYPE_INSTANT = 1
export const KVM_STATS_UNIT_NONE = 0
export const KVM_STATS_UNIT_BOOLEAN = 4 << 4
/** Linux include/linux/kvm_host.h. */
export const KVM_STATS_NAME_SIZE = 48
export const kvm_stats_header = struct('kvm_stats_header', {
  flags: u32,
  name_size: u32,
  num_desc: u32,
  id_offset: u32,
  desc_offset: u32,
  data_offset: u32,
})
/** A name of as many bytes as the header says follows. */
export const kvm_stats_desc = struct('kvm_stats_desc', {
  flags: u32,
  exponent: u16,
  size: u16,
  offset: u32,
  bucket_size: u32,
})

/** What a guest finds where MSR_KVM_SYSTEM_TIME points. Linux arch/x86/include/asm/pvclock-abi.h. */
export const pvclock_vcpu_time_info = struct('pvclock_vcpu_time_info', {
  version: u32,
  pad0: u32,
  tsc_timestamp: u64,
  system_time: u64,
  tsc_to_system_mul: u32,
  /** Signed. */
  tsc_shift: u8,
  flags: u8,
  pad: u16,
})
/** And where MSR_KVM_WALL_CLOCK does. */
export const pvclock_wall_clock = struct('pvclock_wall_clock', { version: u32, sec: u32, nsec: u32 })
