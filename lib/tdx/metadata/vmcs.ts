/** The TD VMCS as a debug TD's host sees it: guest state in the emulated CPU. SDM Vol. 3C, "Guest-State Area". */
import {
  CR0_PE,
  CR0_PG,
  CR4_LA57,
  CR4_VMXE,
  EFER_LMA,
  EFER_LME,
  IA32_DEBUGCTL,
  IA32_PAT,
  IA32_PERF_GLOBAL_CTRL,
  IA32_SYSENTER_CS,
  IA32_SYSENTER_EIP,
  IA32_SYSENTER_ESP,
  type MetadataField,
} from '#abi'
import { type Cpu, CS, DS, ES, FS, GS, SS } from '#x86'
import { CR0_MASK, CR0_SHADOW, CR4_SHADOW, cr4Mask } from '../guest/cr.ts'
import { heldMsr, setHeldMsr } from '../guest/msr.ts'
import type { Platform } from '../platform.ts'
import type { Vcpu } from '../vcpu.ts'

type Part = {
  readonly get: (cpu: Cpu, vcpu: Vcpu, index: number) => bigint
  readonly set?: (cpu: Cpu, value: bigint, vcpu: Vcpu) => void
}

const [RSP] = [4]
const STI_BLOCKING = 1n
const MOV_SS_BLOCKING = 2n
const NMI_BLOCKING = 8n

const msr = (index: number): Part => ({
  get: (cpu, vcpu) => heldMsr(vcpu, cpu, index),
  set: (cpu, value, vcpu) => setHeldMsr(vcpu, cpu, index, value),
})

const PARTS: Record<string, Part> = {
  GUEST_CR0: {
    get: cpu => cpu.cr0,
    set: (cpu, value) => {
      cpu.cr0 = value
    },
  },
  GUEST_CR3: {
    get: cpu => cpu.cr3,
    set: (cpu, value) => {
      cpu.cr3 = value
    },
  },
  GUEST_CR4: {
    get: cpu => cpu.cr4,
    set: (cpu, value) => {
      cpu.cr4 = value
    },
  },
  GUEST_DR7: {
    get: cpu => cpu.dr[7]!,
    set: (cpu, value) => {
      cpu.dr[7] = value
    },
  },
  GUEST_RSP: {
    get: cpu => cpu.gpr[RSP]!,
    set: (cpu, value) => {
      cpu.gpr[RSP] = value
    },
  },
  GUEST_RIP: {
    get: cpu => cpu.rip,
    set: (cpu, value) => {
      cpu.rip = value
    },
  },
  GUEST_RFLAGS: {
    get: cpu => cpu.rflags,
    set: (cpu, value) => {
      cpu.rflags = value
    },
  },
  GUEST_GDTR_BASE: {
    get: cpu => cpu.gdtr.base,
    set: (cpu, value) => {
      cpu.gdtr.base = value
    },
  },
  GUEST_IDTR_BASE: {
    get: cpu => cpu.idtr.base,
    set: (cpu, value) => {
      cpu.idtr.base = value
    },
  },
  GUEST_GDTR_LIMIT: {
    get: cpu => BigInt(cpu.gdtr.limit),
    set: (cpu, value) => {
      cpu.gdtr.limit = Number(value & 0xffffn)
    },
  },
  GUEST_IDTR_LIMIT: {
    get: cpu => BigInt(cpu.idtr.limit),
    set: (cpu, value) => {
      cpu.idtr.limit = Number(value & 0xffffn)
    },
  },
  IA32_EFER: {
    get: cpu => cpu.efer,
    set: (cpu, value) => {
      cpu.efer = value
    },
  },
  IA32_PAT: msr(IA32_PAT),
  IA32_DEBUGCTL: msr(IA32_DEBUGCTL),
  IA32_PERF_GLOBAL_CTRL: msr(IA32_PERF_GLOBAL_CTRL),
  IA32_RTIT_CTL: msr(0x570),
  IA32_LBR_CTL: msr(0x14ce),
  IA32_GUEST_PKRS: msr(0x6e1),
  GUEST_IA32_S_CET: msr(0x6a2),
  GUEST_IA32_INTERRUPT_SSP_TABLE_ADDR: msr(0x6a8),
  IA32_SYSENTER_CS: msr(IA32_SYSENTER_CS),
  IA32_SYSENTER_ESP: msr(IA32_SYSENTER_ESP),
  IA32_SYSENTER_EIP: msr(IA32_SYSENTER_EIP),
  INTERRUPTIBILITY_STATE: {
    get: cpu =>
      (cpu.shadow === 'sti' ? STI_BLOCKING : cpu.shadow === 'mov-ss' ? MOV_SS_BLOCKING : 0n) |
      (cpu.nmiBlocked ? NMI_BLOCKING : 0n),
    set: (cpu, value) => {
      cpu.shadow = (value & MOV_SS_BLOCKING) !== 0n ? 'mov-ss' : (value & STI_BLOCKING) !== 0n ? 'sti' : 'none'
      cpu.nmiBlocked = (value & NMI_BLOCKING) !== 0n
    },
  },
  // A vCPU here is always active: HLT is a #VE, and what shuts down is disabled.
  ACTIVITY_STATE: { get: () => 0n },
  GUEST_INTERRUPT_STATUS: {
    get: (_cpu, vcpu) => BigInt((vcpu.vapic.inService << 8) | vcpu.vapic.requested),
  },
  PDPTEN: { get: (cpu, _vcpu, index) => (isPae(cpu) ? cpu.pdptes[index]! : 0n) },
  CR0_GUEST_HOST_MASK: { get: () => CR0_MASK },
  CR4_GUEST_HOST_MASK: { get: (_cpu, vcpu) => cr4Mask(vcpu.td) },
  CR0_READ_SHADOW: { get: () => CR0_SHADOW },
  CR4_READ_SHADOW: { get: () => CR4_SHADOW },
}

const CR4_PAE = 1n << 5n
const isPae = (cpu: Cpu): boolean =>
  (cpu.cr0 & CR0_PG) !== 0n && (cpu.cr4 & CR4_PAE) !== 0n && (cpu.efer & EFER_LMA) === 0n

for (const [name, of] of [
  ['ES', (cpu: Cpu) => cpu.segments[ES]!],
  ['CS', (cpu: Cpu) => cpu.segments[CS]!],
  ['SS', (cpu: Cpu) => cpu.segments[SS]!],
  ['DS', (cpu: Cpu) => cpu.segments[DS]!],
  ['FS', (cpu: Cpu) => cpu.segments[FS]!],
  ['GS', (cpu: Cpu) => cpu.segments[GS]!],
  ['LDTR', (cpu: Cpu) => cpu.ldtr],
  ['TR', (cpu: Cpu) => cpu.tr],
] as const) {
  PARTS[`GUEST_${name}_SELECTOR`] = {
    get: cpu => BigInt(of(cpu).selector),
    set: (cpu, value) => {
      of(cpu).selector = Number(value)
    },
  }
  PARTS[`GUEST_${name}_BASE`] = {
    get: cpu => of(cpu).base,
    set: (cpu, value) => {
      of(cpu).base = value
    },
  }
  PARTS[`GUEST_${name}_LIMIT`] = {
    get: cpu => BigInt(of(cpu).limit >>> 0),
    set: (cpu, value) => {
      of(cpu).limit = Number(value)
    },
  }
  PARTS[`GUEST_${name}_ACCESS_RIGHTS`] = {
    get: cpu => BigInt(of(cpu).rights),
    set: (cpu, value) => {
      of(cpu).rights = Number(value)
      cpu.refresh()
    },
  }
}

/** Names of the fields that are the emulated CPU's. */
export const VMCS_PARTS: ReadonlySet<string> = new Set(Object.keys(PARTS))

/** The value of a guest-state field; `undefined` where the field is none. */
export const readGuestState = (row: MetadataField, vcpu: Vcpu, index: number): bigint | undefined =>
  vcpu.cpu === undefined ? undefined : PARTS[row.name]?.get(vcpu.cpu, vcpu, index)

/** Writes a guest-state field, with no check, as VMWRITE does; VM entry looks at it. False where it is none. */
export const writeGuestState = (row: MetadataField, vcpu: Vcpu, value: bigint): boolean => {
  const set = PARTS[row.name]?.set
  if (set === undefined || vcpu.cpu === undefined) return false
  set(vcpu.cpu, value, vcpu)
  vcpu.hostWroteState = true
  return true
}

const RFLAGS_RESERVED = ~0x3f_7fd7n
const VM = 1n << 17n
const ACCESSED_CODE = 9
const UNUSABLE = 1 << 16
const LONG = 1 << 13
const DB = 1 << 14
const PRESENT_SYSTEM_BUSY = 0x8b
const EFER_DEFINED = 0xd01n

/**
 * Canonical as bases are asked to be: by the width of linear addresses that the processor has, whatever the guest's
 * CR4.LA57 says. SDM Vol. 3A, "5-Level Paging"; measured by KVM's developers (arch/x86/kvm/x86.h, is_noncanonical_address).
 */
const isBase = ({ msr: { cr4Fixed1 } }: Platform, linear: bigint): boolean =>
  BigInt.asUintN(64, BigInt.asIntN((cr4Fixed1 & CR4_LA57) !== 0n ? 57 : 48, linear)) === linear

/**
 * Would VM entry take this guest state? SDM Vol. 3C, "Checks on the Guest State Area".
 * Not modelled: checks of limits against granularity, of DPLs against each other, of pending debug exceptions and of the
 * PDPTEs; a debugger that writes such a state runs it.
 */
export const isEnterable = (platform: Platform, cpu: Cpu): boolean => {
  const { cr0, cr4, efer, rflags } = cpu
  const { cr0Fixed0, cr0Fixed1, cr4Fixed0, cr4Fixed1 } = platform.msr
  const unrestricted = CR0_PE | CR0_PG
  if ((~cr0 & cr0Fixed0 & ~unrestricted) !== 0n || (cr0 & ~cr0Fixed1) !== 0n) return false
  if ((cr0 & CR0_PG) !== 0n && (cr0 & CR0_PE) === 0n) return false
  if ((~cr4 & cr4Fixed0) !== 0n || (cr4 & ~cr4Fixed1) !== 0n || (cr4 & CR4_VMXE) === 0n) return false
  if (cpu.cr3 >> 52n !== 0n) return false
  if ((efer & ~EFER_DEFINED) !== 0n) return false
  const isLong = (efer & EFER_LMA) !== 0n
  if (isLong !== ((efer & EFER_LME) !== 0n && (cr0 & CR0_PG) !== 0n)) return false
  if (isLong && (cr4 & CR4_PAE) === 0n) return false
  if ((rflags & RFLAGS_RESERVED) !== 0n) return false
  // Virtual-8086 mode and real mode are not entered from here: a TD has PE set, and runs at the privilege of its segments.
  if ((rflags & VM) !== 0n || (cr0 & CR0_PE) === 0n) return false
  const cs = cpu.segments[CS]!
  if ((cs.rights & ACCESSED_CODE) !== ACCESSED_CODE || (cs.rights & 0x90) !== 0x90 || (cs.rights & UNUSABLE) !== 0)
    return false
  if ((cs.rights & LONG) !== 0 && (!isLong || (cs.rights & DB) !== 0)) return false
  if ((cpu.tr.rights & 0x100ff & ~8) !== (PRESENT_SYSTEM_BUSY & ~8)) return false
  const is64 = isLong && (cs.rights & LONG) !== 0
  if (is64 ? !cpu.isCanonical(cpu.rip) : cpu.rip >> 32n !== 0n) return false
  for (const { base } of [cpu.tr, cpu.segments[FS]!, cpu.segments[GS]!]) if (!isBase(platform, base)) return false
  for (const n of [ES, CS, SS, DS])
    if ((cpu.segments[n]!.rights & UNUSABLE) === 0 && cpu.segments[n]!.base >> 32n !== 0n) return false
  return isBase(platform, cpu.gdtr.base) && isBase(platform, cpu.idtr.base)
}
