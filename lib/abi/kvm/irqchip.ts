/** The in-kernel interrupt controllers' state. Linux arch/x86/include/uapi/asm/kvm.h and include/uapi/linux/kvm.h. */
import { bytes, struct, u8, u16, u32, u64 } from '#bits'

export const KVM_IRQCHIP_PIC_MASTER = 0
export const KVM_IRQCHIP_PIC_SLAVE = 1
export const KVM_IRQCHIP_IOAPIC = 2
export const KVM_IOAPIC_NUM_PINS = 24

/** The union that `chip_id` selects follows in its first bytes: kvm_pic_state or kvm_ioapic_state. */
export const kvm_irqchip = struct('kvm_irqchip', { chip_id: u32, pad: u32, chip: bytes(512) })
export const kvm_pic_state = struct('kvm_pic_state', {
  last_irr: u8,
  irr: u8,
  imr: u8,
  isr: u8,
  priority_add: u8,
  irq_base: u8,
  read_reg_select: u8,
  poll: u8,
  special_mask: u8,
  init_state: u8,
  auto_eoi: u8,
  rotate_on_auto_eoi: u8,
  special_fully_nested_mode: u8,
  init4: u8,
  elcr: u8,
  elcr_mask: u8,
})
/** 24 redirection entries of 8 bytes follow in `redirtbl`. */
export const kvm_ioapic_state = struct('kvm_ioapic_state', {
  base_address: u64,
  ioregsel: u32,
  id: u32,
  irr: u32,
  pad: u32,
  redirtbl: bytes(8 * KVM_IOAPIC_NUM_PINS),
})

export const KVM_PIT_SPEAKER_DUMMY = 1
/** kvm_pit_state2.flags. */
export const KVM_PIT_FLAGS_HPET_LEGACY = 1
export const KVM_PIT_FLAGS_SPEAKER_DATA_ON = 2
export const kvm_pit_config = struct('kvm_pit_config', { flags: u32, pad: bytes(60) })
export const kvm_pit_channel_state = struct('kvm_pit_channel_state', {
  /** May be 65536. */
  count: u32,
  latched_count: u16,
  count_latched: u8,
  status_latched: u8,
  status: u8,
  read_state: u8,
  write_state: u8,
  write_latch: u8,
  rw_mode: u8,
  mode: u8,
  bcd: u8,
  gate: u8,
  count_load_time: u64,
})
/** Three kvm_pit_channel_state. */
export const kvm_pit_state = struct('kvm_pit_state', { channels: bytes(3 * kvm_pit_channel_state.size) })
export const kvm_pit_state2 = struct('kvm_pit_state2', {
  channels: bytes(3 * kvm_pit_channel_state.size),
  flags: u32,
  reserved: bytes(36),
})
export const kvm_reinject_control = struct('kvm_reinject_control', { pit_reinject: u8, reserved: bytes(31) })
