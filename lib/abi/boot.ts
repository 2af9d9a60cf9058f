/**
 * How a TD selftest boots: where the boot code, its parameters and the selectors are. Series "TDX KVM selftests" v13,
 * include/x86/tdx/td_boot.h, lib/x86/tdx/tdx_util.c and include/x86/processor_asm.h.
 */
import { packed, struct, u16, u32, u64 } from '#bits'

/** Initial RIP of a TD's vCPU. The boot code ends right below, the reset vector fills the 16 bytes to 4 GiB. */
export const TD_RESET_VECTOR = 0xffff_fff0n
/** GPA of `td_boot_parameters`. */
export const TD_BOOT_PARAMETERS_GPA = 0xffff_0000n
export const TD_BOOT_CODE_SLOT = 20
export const TD_BOOT_PARAMETERS_SLOT = 21

export const KERNEL_CS = 0x08
export const KERNEL_DS = 0x10
export const KERNEL_TSS = 0x18

/** `struct td_boot_parameters`; one `tdPerVcpuParameters` for each vCPU follows. All 24 bytes are packed. */
export const tdBootParameters = struct('td_boot_parameters', {
  cr0: u32,
  cr3: u32,
  cr4: u32,
  gdtLimit: u16,
  gdtBase: packed(u32),
  idtLimit: u16,
  idtBase: packed(u32),
})

/** `struct td_per_vcpu_parameters`, indexed by the vCPU's number (ESI at reset). */
export const tdPerVcpuParameters = struct('td_per_vcpu_parameters', {
  esp: u32,
  guestCode: u64,
})

/** CR0 a guest boots with: PE, NE and PG. */
export const TD_BOOT_CR0 = 0x8000_0021
/** Limit of a selftest's GDT: one page. */
export const TD_GDT_LIMIT = 0xfff
/** Limit of a selftest's IDT: 256 gates of 16 bytes. */
export const TD_IDT_LIMIT = 0xfff
