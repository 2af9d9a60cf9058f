/**
 * Structures of an ordinary VM's vCPU state and of interrupts. Linux arch/x86/include/uapi/asm/kvm.h and include/uapi/linux/kvm.h.
 * A structure that ends in a list (routing entries) is its head here.
 */
import { bytes, struct, u8, u16, u32, u64, u64s } from '#bits'

export const kvm_regs = struct('kvm_regs', {
  rax: u64,
  rbx: u64,
  rcx: u64,
  rdx: u64,
  rsi: u64,
  rdi: u64,
  rsp: u64,
  rbp: u64,
  r8: u64,
  r9: u64,
  r10: u64,
  r11: u64,
  r12: u64,
  r13: u64,
  r14: u64,
  r15: u64,
  rip: u64,
  rflags: u64,
})

export const kvm_segment = struct('kvm_segment', {
  base: u64,
  limit: u32,
  selector: u16,
  type: u8,
  present: u8,
  dpl: u8,
  db: u8,
  s: u8,
  l: u8,
  g: u8,
  avl: u8,
  unusable: u8,
  padding: u8,
})
export const kvm_dtable = struct('kvm_dtable', { base: u64, limit: u16, padding: bytes(6) })

const SREGS = {
  cs: bytes(kvm_segment.size),
  ds: bytes(kvm_segment.size),
  es: bytes(kvm_segment.size),
  fs: bytes(kvm_segment.size),
  gs: bytes(kvm_segment.size),
  ss: bytes(kvm_segment.size),
  tr: bytes(kvm_segment.size),
  ldt: bytes(kvm_segment.size),
  gdt: bytes(kvm_dtable.size),
  idt: bytes(kvm_dtable.size),
  cr0: u64,
  cr2: u64,
  cr3: u64,
  cr4: u64,
  cr8: u64,
  efer: u64,
  apic_base: u64,
}
/** Segments are kvm_segment, gdt and idt kvm_dtable. */
export const kvm_sregs = struct('kvm_sregs', { ...SREGS, interrupt_bitmap: u64s(4) })
export const kvm_sregs2 = struct('kvm_sregs2', { ...SREGS, flags: u64, pdptrs: u64s(4) })
export const KVM_SREGS2_FLAGS_PDPTRS_VALID = 1n

export const kvm_fpu = struct('kvm_fpu', {
  fpr: bytes(128),
  fcw: u16,
  fsw: u16,
  ftwx: u8,
  pad1: u8,
  last_opcode: u16,
  last_ip: u64,
  last_dp: u64,
  xmm: bytes(256),
  mxcsr: u32,
  pad2: u32,
})
/** The XSAVE area in the standard format. */
export const kvm_xsave = struct('kvm_xsave', { region: bytes(4096) })
export const kvm_xcr = struct('kvm_xcr', { xcr: u32, reserved: u32, value: u64 })
/** 16 of kvm_xcr in `xcrs`. */
export const kvm_xcrs = struct('kvm_xcrs', { nr_xcrs: u32, flags: u32, xcrs: bytes(256), padding: u64s(16) })
export const kvm_debugregs = struct('kvm_debugregs', {
  db: u64s(4),
  dr6: u64,
  dr7: u64,
  flags: u64,
  reserved: u64s(9),
})

export const KVM_VCPUEVENT_VALID_NMI_PENDING = 1
export const KVM_VCPUEVENT_VALID_SIPI_VECTOR = 2
export const KVM_VCPUEVENT_VALID_SHADOW = 4
export const KVM_VCPUEVENT_VALID_SMM = 8
export const KVM_VCPUEVENT_VALID_PAYLOAD = 16
export const KVM_VCPUEVENT_VALID_TRIPLE_FAULT = 32
export const KVM_X86_SHADOW_INT_MOV_SS = 1
export const KVM_X86_SHADOW_INT_STI = 2
export const kvm_vcpu_events = struct('kvm_vcpu_events', {
  exception_injected: u8,
  exception_nr: u8,
  exception_has_error_code: u8,
  exception_pending: u8,
  exception_error_code: u32,
  interrupt_injected: u8,
  interrupt_nr: u8,
  interrupt_soft: u8,
  interrupt_shadow: u8,
  nmi_injected: u8,
  nmi_pending: u8,
  nmi_masked: u8,
  nmi_pad: u8,
  sipi_vector: u32,
  flags: u32,
  smi: bytes(4),
  triple_fault_pending: u8,
  reserved: bytes(26),
  exception_has_payload: u8,
  exception_payload: u64,
})

export const kvm_lapic_state = struct('kvm_lapic_state', { regs: bytes(1024) })
export const kvm_interrupt = struct('kvm_interrupt', { irq: u32 })
export const kvm_translation = struct('kvm_translation', {
  linear_address: u64,
  physical_address: u64,
  valid: u8,
  writeable: u8,
  usermode: u8,
  pad: bytes(5),
})

export const kvm_irq_level = struct('kvm_irq_level', { irq: u32, level: u32 })
export const kvm_msi = struct('kvm_msi', {
  address_lo: u32,
  address_hi: u32,
  data: u32,
  flags: u32,
  devid: u32,
  pad: bytes(12),
})
export const KVM_IRQFD_FLAG_DEASSIGN = 1
export const KVM_IRQFD_FLAG_RESAMPLE = 2
export const kvm_irqfd = struct('kvm_irqfd', { fd: u32, gsi: u32, flags: u32, resamplefd: u32, pad: bytes(16) })
/** `nr` of kvm_irq_routing_entry follow. */
export const kvm_irq_routing = struct('kvm_irq_routing', { nr: u32, flags: u32 })
export const KVM_IRQ_ROUTING_IRQCHIP = 1
export const KVM_IRQ_ROUTING_MSI = 2
/** The union that `type` selects is written out as its MSI form. */
export const kvm_irq_routing_entry = struct('kvm_irq_routing_entry', {
  gsi: u32,
  type: u32,
  flags: u32,
  pad: u32,
  address_lo: u32,
  address_hi: u32,
  data: u32,
  devid: u32,
  padding: bytes(16),
})

export const kvm_dirty_log = struct('kvm_dirty_log', { slot: u32, padding: u32, dirty_bitmap: u64 })
export const kvm_clock_data = struct('kvm_clock_data', {
  clock: u64,
  flags: u32,
  pad0: u32,
  realtime: u64,
  host_tsc: u64,
  pad: bytes(16),
})
/** `nmsrs` indices of 4 bytes follow. */
export const kvm_msr_list = struct('kvm_msr_list', { nmsrs: u32 })

/** Of the RFC "Add TDX intra-host migration" (2025-06): a guest_memfd's pages for another VM. */
export const kvm_link_guest_memfd = struct('kvm_link_guest_memfd', { fd: u64, flags: u64, reserved: u64s(6) })
