/**
 * Byte layouts of KVM's user API on x86-64. Linux include/uapi/linux/kvm.h and arch/x86/include/uapi/asm/kvm.h.
 * A structure that ends in a list (cpuid, msrs) is its head here; the entries follow it.
 */
import { bytes, struct, u8, u16, u32, u64, u64s } from '#bits'

/** The part of kvm_run that every exit has. The part that depends on the exit reason is at KVM_RUN_EXIT. */
export const kvm_run = struct('kvm_run', {
  request_interrupt_window: u8,
  immediate_exit: u8,
  padding1: bytes(6),
  exit_reason: u32,
  ready_for_interrupt_injection: u8,
  if_flag: u8,
  flags: u16,
  cr8: u64,
  apic_base: u64,
  exit: bytes(256),
  kvm_valid_regs: u64,
  kvm_dirty_regs: u64,
  s: bytes(2048),
})

/** Offset in kvm_run of the union that the exit reason selects: add the offsets of the kvm_run_* layouts. */
export const KVM_RUN_EXIT = kvm_run.offset.exit

export const kvm_run_hw = struct('kvm_run.hw', { hardware_exit_reason: u64 })
export const kvm_run_fail_entry = struct('kvm_run.fail_entry', { hardware_entry_failure_reason: u64, cpu: u32 })
export const kvm_run_ex = struct('kvm_run.ex', { exception: u32, error_code: u32 })
export const kvm_run_io = struct('kvm_run.io', { direction: u8, size: u8, port: u16, count: u32, data_offset: u64 })
export const kvm_run_mmio = struct('kvm_run.mmio', { phys_addr: u64, data: bytes(8), len: u32, is_write: u8 })
/** `flags` is `longmode` of older headers, widened. */
export const kvm_run_hypercall = struct('kvm_run.hypercall', { nr: u64, args: u64s(6), ret: u64, flags: u64 })
export const kvm_run_internal = struct('kvm_run.internal', { suberror: u32, ndata: u32, data: u64s(16) })
export const kvm_run_system_event = struct('kvm_run.system_event', { type: u32, ndata: u32, data: u64s(16) })
export const kvm_run_msr = struct('kvm_run.msr', { error: u8, pad: bytes(7), reason: u32, index: u32, data: u64 })
export const kvm_run_memory_fault = struct('kvm_run.memory_fault', { flags: u64, gpa: u64, size: u64 })
export const kvm_run_tdx = struct('kvm_run.tdx', { flags: u64, nr: u64, ret: u64, data: u64s(5) })
export const kvm_run_tdx_get_quote = struct('kvm_run.tdx.get_quote', {
  flags: u64,
  nr: u64,
  ret: u64,
  gpa: u64,
  size: u64,
})
export const kvm_run_tdx_get_tdvmcall_info = struct('kvm_run.tdx.get_tdvmcall_info', {
  flags: u64,
  nr: u64,
  ret: u64,
  leaf: u64,
  r11: u64,
  r12: u64,
  r13: u64,
  r14: u64,
})
export const kvm_run_tdx_setup_event_notify = struct('kvm_run.tdx.setup_event_notify', {
  flags: u64,
  nr: u64,
  ret: u64,
  vector: u64,
})

export const kvm_tdx_cmd = struct('kvm_tdx_cmd', { id: u32, flags: u32, data: u64, hw_error: u64 })

/** Head of a cpuid list: `nent` entries of kvm_cpuid_entry2 follow. */
export const kvm_cpuid2 = struct('kvm_cpuid2', { nent: u32, padding: u32 })
export const kvm_cpuid_entry2 = struct('kvm_cpuid_entry2', {
  function: u32,
  index: u32,
  flags: u32,
  eax: u32,
  ebx: u32,
  ecx: u32,
  edx: u32,
  padding: bytes(12),
})

export const kvm_tdx_capabilities = struct('kvm_tdx_capabilities', {
  supported_attrs: u64,
  supported_xfam: u64,
  kernel_tdvmcallinfo_1_r11: u64,
  user_tdvmcallinfo_1_r11: u64,
  kernel_tdvmcallinfo_1_r12: u64,
  user_tdvmcallinfo_1_r12: u64,
  reserved: bytes(2000),
  nent: u32,
  padding: u32,
})

export const kvm_tdx_init_vm = struct('kvm_tdx_init_vm', {
  attributes: u64,
  xfam: u64,
  mrconfigid: bytes(48),
  mrowner: bytes(48),
  mrownerconfig: bytes(48),
  reserved: bytes(96),
  nent: u32,
  padding: u32,
})

export const kvm_tdx_init_mem_region = struct('kvm_tdx_init_mem_region', { source_addr: u64, gpa: u64, nr_pages: u64 })

export const kvm_userspace_memory_region = struct('kvm_userspace_memory_region', {
  slot: u32,
  flags: u32,
  guest_phys_addr: u64,
  memory_size: u64,
  userspace_addr: u64,
})
export const kvm_userspace_memory_region2 = struct('kvm_userspace_memory_region2', {
  slot: u32,
  flags: u32,
  guest_phys_addr: u64,
  memory_size: u64,
  userspace_addr: u64,
  guest_memfd_offset: u64,
  guest_memfd: u32,
  pad1: u32,
  pad2: u64s(14),
})

export const kvm_memory_attributes = struct('kvm_memory_attributes', {
  address: u64,
  size: u64,
  attributes: u64,
  flags: u64,
})
export const kvm_create_guest_memfd = struct('kvm_create_guest_memfd', { size: u64, flags: u64, reserved: u64s(6) })
export const kvm_pre_fault_memory = struct('kvm_pre_fault_memory', {
  gpa: u64,
  size: u64,
  flags: u64,
  padding: u64s(5),
})
export const kvm_enable_cap = struct('kvm_enable_cap', { cap: u32, flags: u32, args: u64s(4), pad: bytes(64) })
export const kvm_mp_state = struct('kvm_mp_state', { mp_state: u32 })

/** Head of an MSR list: `nmsrs` entries of kvm_msr_entry follow. */
export const kvm_msrs = struct('kvm_msrs', { nmsrs: u32, pad: u32 })
export const kvm_msr_entry = struct('kvm_msr_entry', { index: u32, reserved: u32, data: u64 })
export const kvm_msr_filter_range = struct('kvm_msr_filter_range', { flags: u32, nmsrs: u32, base: u32, bitmap: u64 })
/** 16 ranges of kvm_msr_filter_range follow `flags`, 8-byte aligned. */
export const kvm_msr_filter = struct('kvm_msr_filter', { flags: u32, pad: u32, ranges: bytes(16 * 24) })
