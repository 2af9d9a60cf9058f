import t from 'tap'
import * as kvm from './kvm.ts'

/** Offsets in kvm_run of the fields after the exit reason, as Linux's headers compile. */
const RUN: [layout: { name: string; size: number; offset: Record<string, number> }, offsets: Record<string, number>][] =
  [
    [kvm.kvm_run_hw, { hardware_exit_reason: 32 }],
    [kvm.kvm_run_fail_entry, { hardware_entry_failure_reason: 32, cpu: 40 }],
    [kvm.kvm_run_ex, { exception: 32, error_code: 36 }],
    [kvm.kvm_run_io, { direction: 32, size: 33, port: 34, count: 36, data_offset: 40 }],
    [kvm.kvm_run_mmio, { phys_addr: 32, data: 40, len: 48, is_write: 52 }],
    [kvm.kvm_run_hypercall, { nr: 32, args: 40, ret: 88, flags: 96 }],
    [kvm.kvm_run_internal, { suberror: 32, ndata: 36, data: 40 }],
    [kvm.kvm_run_system_event, { type: 32, ndata: 36, data: 40 }],
    [kvm.kvm_run_msr, { error: 32, reason: 40, index: 44, data: 48 }],
    [kvm.kvm_run_memory_fault, { flags: 32, gpa: 40, size: 48 }],
    [kvm.kvm_run_tdx, { flags: 32, nr: 40, ret: 48, data: 56 }],
    [kvm.kvm_run_tdx_get_quote, { ret: 48, gpa: 56, size: 64 }],
    [kvm.kvm_run_tdx_get_tdvmcall_info, { ret: 48, leaf: 56, r11: 64, r12: 72, r13: 80, r14: 88 }],
    [kvm.kvm_run_tdx_setup_event_notify, { ret: 48, vector: 56 }],
  ]

t.test('kvm_run has its fields where the headers put them', async t => {
  const { offset } = kvm.kvm_run
  t.match(offset, {
    request_interrupt_window: 0,
    immediate_exit: 1,
    exit_reason: 8,
    ready_for_interrupt_injection: 12,
    if_flag: 13,
    flags: 14,
    cr8: 16,
    apic_base: 24,
    exit: 32,
    kvm_valid_regs: 288,
    kvm_dirty_regs: 296,
    s: 304,
  })
  t.equal(kvm.kvm_run.size, 2352)
  for (const [layout, offsets] of RUN) {
    for (const [field, at] of Object.entries(offsets)) {
      t.equal(kvm.KVM_RUN_EXIT + layout.offset[field]!, at, `${layout.name}.${field}`)
    }
    t.ok(layout.size <= 256, `${layout.name} fits the union`)
  }
})

t.test('structures have the sizes and offsets of the headers', async t => {
  const sizes: [layout: { name: string; size: number }, size: number][] = [
    [kvm.kvm_tdx_cmd, 24],
    [kvm.kvm_tdx_capabilities, 2056],
    [kvm.kvm_tdx_init_vm, 264],
    [kvm.kvm_tdx_init_mem_region, 24],
    [kvm.kvm_cpuid_entry2, 40],
    [kvm.kvm_userspace_memory_region, 32],
    [kvm.kvm_userspace_memory_region2, 160],
    [kvm.kvm_memory_attributes, 32],
    [kvm.kvm_create_guest_memfd, 64],
    [kvm.kvm_pre_fault_memory, 64],
    [kvm.kvm_enable_cap, 104],
    [kvm.kvm_msr_filter, 392],
    [kvm.kvm_msr_filter_range, 24],
    [kvm.kvm_msr_entry, 16],
    [kvm.kvm_segment, 24],
    [kvm.kvm_dtable, 16],
    [kvm.kvm_clock_data, 48],
    [kvm.kvm_irq_routing_entry, 48],
    [kvm.kvm_dirty_gfn, 16],
    [kvm.kvm_pit_channel_state, 24],
    [kvm.kvm_reinject_control, 32],
    [kvm.kvm_stats_header, 24],
    [kvm.kvm_stats_desc, 16],
    [kvm.pvclock_vcpu_time_info, 32],
    [kvm.pvclock_wall_clock, 12],
  ]
  for (const [layout, size] of sizes) t.equal(layout.size, size, layout.name)
  // The request's number has the size of its structure in bits 29:16.
  const requests: [layout: { name: string; size: number }, request: number][] = [
    [kvm.kvm_regs, kvm.KVM_GET_REGS],
    [kvm.kvm_sregs, kvm.KVM_GET_SREGS],
    [kvm.kvm_sregs2, kvm.KVM_GET_SREGS2],
    [kvm.kvm_fpu, kvm.KVM_GET_FPU],
    [kvm.kvm_xsave, kvm.KVM_GET_XSAVE],
    [kvm.kvm_xcrs, kvm.KVM_GET_XCRS],
    [kvm.kvm_debugregs, kvm.KVM_GET_DEBUGREGS],
    [kvm.kvm_vcpu_events, kvm.KVM_GET_VCPU_EVENTS],
    [kvm.kvm_lapic_state, kvm.KVM_GET_LAPIC],
    [kvm.kvm_interrupt, kvm.KVM_INTERRUPT],
    [kvm.kvm_translation, kvm.KVM_TRANSLATE],
    [kvm.kvm_irq_level, kvm.KVM_IRQ_LINE],
    [kvm.kvm_irq_level, kvm.KVM_IRQ_LINE_STATUS],
    [kvm.kvm_irqchip, kvm.KVM_GET_IRQCHIP],
    [kvm.kvm_irqchip, kvm.KVM_SET_IRQCHIP],
    [kvm.kvm_pit_config, kvm.KVM_CREATE_PIT2],
    [kvm.kvm_pit_state, kvm.KVM_GET_PIT],
    [kvm.kvm_pit_state, kvm.KVM_SET_PIT],
    [kvm.kvm_pit_state2, kvm.KVM_GET_PIT2],
    [kvm.kvm_pit_state2, kvm.KVM_SET_PIT2],
    [kvm.kvm_signal_mask, kvm.KVM_SET_SIGNAL_MASK],
    [kvm.kvm_msi, kvm.KVM_SIGNAL_MSI],
    [kvm.kvm_irqfd, kvm.KVM_IRQFD],
    [kvm.kvm_irq_routing, kvm.KVM_SET_GSI_ROUTING],
    [kvm.kvm_dirty_log, kvm.KVM_GET_DIRTY_LOG],
    [kvm.kvm_clock_data, kvm.KVM_GET_CLOCK],
  ]
  for (const [layout, request] of requests) t.equal(layout.size, (request >>> 16) & 0x3fff, layout.name)
  t.same(kvm.kvm_tdx_cmd.offset, { id: 0, flags: 4, data: 8, hw_error: 16 })
  t.match(kvm.kvm_tdx_capabilities.offset, {
    supported_attrs: 0,
    supported_xfam: 8,
    kernel_tdvmcallinfo_1_r11: 16,
    user_tdvmcallinfo_1_r11: 24,
    kernel_tdvmcallinfo_1_r12: 32,
    user_tdvmcallinfo_1_r12: 40,
    reserved: 48,
    nent: 2048,
  })
  t.match(kvm.kvm_tdx_init_vm.offset, {
    attributes: 0,
    xfam: 8,
    mrconfigid: 16,
    mrowner: 64,
    mrownerconfig: 112,
    reserved: 160,
    nent: 256,
  })
  t.same(kvm.kvm_tdx_init_mem_region.offset, { source_addr: 0, gpa: 8, nr_pages: 16 })
  t.match(kvm.kvm_cpuid_entry2.offset, { function: 0, index: 4, flags: 8, eax: 12, ebx: 16, ecx: 20, edx: 24 })
  t.match(kvm.kvm_userspace_memory_region2.offset, {
    slot: 0,
    flags: 4,
    guest_phys_addr: 8,
    memory_size: 16,
    userspace_addr: 24,
    guest_memfd_offset: 32,
    guest_memfd: 40,
    pad1: 44,
    pad2: 48,
  })
  t.same(kvm.kvm_memory_attributes.offset, { address: 0, size: 8, attributes: 16, flags: 24 })
  t.same(kvm.kvm_create_guest_memfd.offset, { size: 0, flags: 8, reserved: 16 })
  t.same(kvm.kvm_enable_cap.offset, { cap: 0, flags: 4, args: 8, pad: 40 })
  t.match(kvm.kvm_msr_filter.offset, { flags: 0, ranges: 8 })
})

t.test("a request's bits say the size of its argument", async t => {
  const sized: [request: number, size: number][] = [
    [kvm.KVM_SET_USER_MEMORY_REGION, kvm.kvm_userspace_memory_region.size],
    [kvm.KVM_SET_USER_MEMORY_REGION2, kvm.kvm_userspace_memory_region2.size],
    [kvm.KVM_ENABLE_CAP, kvm.kvm_enable_cap.size],
    [kvm.KVM_IOEVENTFD, kvm.kvm_ioeventfd.size],
    [kvm.KVM_SET_GUEST_DEBUG, kvm.kvm_guest_debug.size],
    [kvm.KVM_REGISTER_COALESCED_MMIO, kvm.kvm_coalesced_mmio_zone.size],
    [kvm.KVM_GET_CLOCK, kvm.kvm_clock_data.size],
    [kvm.KVM_CLEAR_DIRTY_LOG, kvm.kvm_clear_dirty_log.size],
    [kvm.KVM_GET_MSR_INDEX_LIST, kvm.kvm_msr_list.size],
    [kvm.KVM_SET_MEMORY_ATTRIBUTES, kvm.kvm_memory_attributes.size],
    [kvm.KVM_CREATE_GUEST_MEMFD, kvm.kvm_create_guest_memfd.size],
    [kvm.KVM_PRE_FAULT_MEMORY, kvm.kvm_pre_fault_memory.size],
    [kvm.KVM_X86_SET_MSR_FILTER, kvm.kvm_msr_filter.size],
    [kvm.KVM_GET_MP_STATE, kvm.kvm_mp_state.size],
    [kvm.KVM_SET_CPUID2, kvm.kvm_cpuid2.size],
    [kvm.KVM_SET_MSRS, kvm.kvm_msrs.size],
  ]
  for (const [request, size] of sized) t.equal((request >>> 16) & 0x3fff, size, kvm.KVM_IOCTL_NAMES.get(request) ?? '')
  for (const [number, name] of kvm.KVM_IOCTL_NAMES) t.equal((number >>> 8) & 0xff, 0xae, name)
})

t.test('every number has one name', async t => {
  t.equal(kvm.KVM_IOCTL_NAMES.get(0xc008_aeba), 'KVM_MEMORY_ENCRYPT_OP')
  t.equal(kvm.KVM_CAP_NAMES.get(235), 'KVM_CAP_VM_TYPES')
  t.equal(kvm.exitName(kvm.KVM_EXIT_TDX), 'KVM_EXIT_TDX')
  t.equal(kvm.exitName(999), 'exit reason 999')
})
