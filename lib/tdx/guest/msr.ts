/** MSRs of a TD. intel/tdx-module, vm_exits/td_msr_access.c, helpers/virt_msr_helpers.c; the table: lib/abi/tdx/msr.ts. */
import {
  EFER_LMA,
  EFER_SCE,
  IA32_ARCH_CAPABILITIES,
  IA32_DEBUGCTL,
  IA32_EFER,
  IA32_FMASK,
  IA32_FS_BASE,
  IA32_GS_BASE,
  IA32_KERNEL_GS_BASE,
  IA32_LSTAR,
  IA32_MISC_ENABLE,
  IA32_PAT,
  IA32_PKRS,
  IA32_STAR,
  IA32_SYSENTER_CS,
  IA32_SYSENTER_EIP,
  IA32_SYSENTER_ESP,
  IA32_TIME_STAMP_COUNTER,
  IA32_TSC_AUX,
  IA32_TSC_DEADLINE,
  IA32_XSS,
  MSR_LOOKUP,
  type MsrFeature,
  type MsrRow,
  TD_CTLS_ENUM_TOPOLOGY,
  TDX_ATTR_PERFMON,
  TDX_ATTR_PKS,
  TDX_OPERAND_INVALID,
  XFAM_CET,
  XFAM_LBR,
  XFAM_PT,
  XFAM_UINTR,
} from '#abi'
import { NotModelled } from '#bits'
import type { Cpu } from '#x86'
import type { Platform } from '../platform.ts'
import { check } from '../status.ts'
import type { Td } from '../td.ts'
import type { Vcpu } from '../vcpu.ts'
import type { TdCpuid } from './cpuid.ts'

const SSB_NO = 1n << 4n
const TSX_CTRL = 1n << 7n

/** IA32_ARCH_CAPABILITIES as the TD is to see it. init_virt_ia32_arch_capabilities. */
export const virtualArchCapabilities = (
  platform: Platform,
  cpuid: TdCpuid,
  configured: boolean,
  config: bigint,
): bigint => {
  const { archCapabilities, archCapabilitiesConfigMask } = platform.msr
  const isLegal = (configured || config === 0n) && (config & ~(archCapabilitiesConfigMask | archCapabilities)) === 0n
  check(isLegal, TDX_OPERAND_INVALID, 'IA32_ARCH_CAPABILITIES_CONFIG')
  let value = archCapabilities
  if ((config & SSB_NO) === 0n) value &= ~SSB_NO
  if (!cpuid.flags.tsx) value &= ~TSX_CTRL
  return value
}

const ROWS = new Map<number, MsrRow>()
for (const row of MSR_LOOKUP) for (let index = row.first; index <= row.last; index++) ROWS.set(index, row)

/** Native MSRs that the CPU keeps itself; the module keeps the rest of what the table calls native. */
const IN_CPU = new Set([
  IA32_TIME_STAMP_COUNTER,
  IA32_SYSENTER_CS,
  IA32_SYSENTER_ESP,
  IA32_SYSENTER_EIP,
  IA32_PAT,
  IA32_PKRS,
  IA32_EFER,
  IA32_STAR,
  IA32_LSTAR,
  IA32_FMASK,
  IA32_FS_BASE,
  IA32_GS_BASE,
  IA32_KERNEL_GS_BASE,
  IA32_TSC_AUX,
])

const hasFeature = (td: Td, feature: MsrFeature): boolean => {
  const flags = td.cpuid?.flags
  switch (feature) {
    case 'PERFMON':
      return (td.attributes & TDX_ATTR_PERFMON) !== 0n
    case 'UMWAIT':
      return flags?.waitpkg === true
    case 'TSX':
      return flags?.tsx === true
    case 'XFD':
      return flags?.xfd === true
    case 'XFAM_PT':
      return (td.xfam & XFAM_PT) !== 0n
    case 'XFAM_CET':
      return (td.xfam & XFAM_CET) !== 0n
    case 'PKS':
      return (td.attributes & TDX_ATTR_PKS) !== 0n
    case 'XFAM_ULI':
      return (td.xfam & XFAM_UINTR) !== 0n
    case 'XFAM_LBR':
      return (td.xfam & XFAM_LBR) !== 0n
    case 'OTHER':
      return false
  }
}

/** What the table says for this TD, features and #GP-or-#VE decided. */
const actionOf = (td: Td, index: number, write: boolean): 'native' | 'module' | 'gp' | 've' => {
  const row = ROWS.get(index)
  if (row === undefined) return 've'
  const action = write ? row.write : row.read
  if (typeof action === 'object') return hasFeature(td, action.with) ? 'native' : action.else
  if (action !== 'gp-or-ve') return action
  const flags = td.cpuid?.flags
  const isEnumerated =
    index === IA32_TSC_DEADLINE
      ? flags?.tscDeadline
      : index === 0x87
        ? flags?.mktme
        : index >= 0x981
          ? flags?.tme
          : flags?.dca
  return isEnumerated === true ? 've' : 'gp'
}

/** The MSR bitmap: does this access leave the guest? */
export const msrExits = (td: Td, index: number, write: boolean): boolean =>
  !(IN_CPU.has(index) && actionOf(td, index, write) === 'native')

/** `apic-write`: done, and an APIC-write VM exit follows the instruction. */
export type MsrOutcome = 'done' | 'gp' | 've' | 'apic-write'

const [X2APIC_FIRST, X2APIC_LAST] = [0x800, 0x8ff]
/** IA32_X2APIC_APICID: with topology enumeration the module answers its read. Linux, "x86/tdx: Enable CPU topology enumeration". */
const X2APIC_ID = 0x802
const [TPR, PPR, EOI, ISR, TMR, IRR, SELF_IPI] = [0x808, 0x80a, 0x80b, 0x810, 0x818, 0x820, 0x83f]

/** An x2APIC register of the virtual APIC page. SDM Vol. 3C, "Virtualizing MSR-Based APIC Accesses". */
const accessApic = (vcpu: Vcpu, cpu: Cpu, index: number, value: bigint | undefined): bigint | 'gp' | 'apic-write' => {
  const { vapic } = vcpu
  if (value === undefined) {
    if (index === TPR) return BigInt(vapic.tpr(cpu.cr8))
    if (index === PPR) return BigInt(vapic.ppr(cpu.cr8))
    if (index >= ISR && index < TMR) return BigInt(vapic.isr[index - ISR]!)
    if (index >= IRR && index < IRR + 8) return BigInt(vapic.irr[index - IRR]!)
    return 0n
  }
  if (index === TPR && value >> 8n === 0n) {
    cpu.cr8 = value >> 4n
    vapic.tprLow = Number(value & 0xfn)
  } else if (index === EOI && value === 0n) {
    vapic.eoi()
  } else if (index === SELF_IPI && value >> 8n === 0n) {
    if (value < 16n) return 'apic-write'
    vapic.request(Number(value))
  } else {
    return 'gp'
  }
  return 0n
}

/** Native MSRs that only take commands: bits that may be set. Reading one is #GP(0). */
const COMMANDS: Readonly<Record<number, bigint>> = { 73: 1n, 267: 1n }
/**
 * Bits that a native MSR has, where not all.
 * Not modelled: reserved bits of the other MSRs the module keeps, and what they do beside being kept (counters, traces).
 */
const WRITABLE: Readonly<Record<number, bigint>> = {
  72: 0x4ffn,
  225: 0xffff_fffdn,
  290: 3n,
}

/** An MSR of the guest, wherever it is kept, for a debugger. */
export const heldMsr = (vcpu: Vcpu, cpu: Cpu, index: number): bigint =>
  index === IA32_XSS
    ? vcpu.xss
    : IN_CPU.has(index)
      ? (cpu.msrs.read(cpu, index) ?? cpu.msrs.get(index))
      : (vcpu.msrs.get(index) ?? 0n)

/** Puts a value in place with no check. */
export const setHeldMsr = (vcpu: Vcpu, cpu: Cpu, index: number, value: bigint): void => {
  if (!IN_CPU.has(index)) vcpu.msrs.set(index, value)
  else cpu.msrs.set(index, value)
  // What it allows is in the translations.
  if (index === IA32_PKRS) cpu.tlb.flush()
}

/** 64 bits of the TD's MSR bitmaps: reads of low and high MSRs, writes of low and high ones, a set bit where it is intercepted. */
export const msrBitmap = (td: Td, index: number): bigint => {
  const [quarter, first] = [index >> 7, (index & 127) * 64 + ((index >> 7) & 1 ? 0xc000_0000 : 0)]
  let word = 0n
  for (let i = 0; i < 64; i++) if (actionOf(td, first + i, quarter >= 2) !== 'native') word |= 1n << BigInt(i)
  return word
}

const readHeld = (vcpu: Vcpu, index: number): bigint | 'gp' => (index in COMMANDS ? 'gp' : (vcpu.msrs.get(index) ?? 0n))

const writeHeld = (vcpu: Vcpu, index: number, value: bigint): MsrOutcome => {
  const legal = COMMANDS[index] ?? WRITABLE[index]
  if (legal !== undefined && (value & ~legal) !== 0n) return 'gp'
  if (!(index in COMMANDS)) vcpu.msrs.set(index, value)
  return 'done'
}

/** Values that the module makes up. rdmsr_l1_only_special_msrs and the special cases of td_rdmsr_exit. */
const readModule = (platform: Platform, vcpu: Vcpu, index: number): bigint => {
  switch (index) {
    case 0xbd: // IA32_XAPIC_DISABLE_STATUS: the legacy xAPIC is disabled
      return 1n
    case IA32_ARCH_CAPABILITIES:
      return vcpu.td.archCapabilities
    case IA32_MISC_ENABLE: // no performance monitoring (bit 7), no PEBS (bit 12)
      return (platform.msr.miscEnable & ~(1n << 7n)) | (1n << 12n)
    case IA32_DEBUGCTL:
      return (vcpu.msrs.get(IA32_DEBUGCTL) ?? 0n) & ~(1n << 13n)
    case 0x345: // IA32_PERF_CAPABILITIES
      return (vcpu.td.attributes & TDX_ATTR_PERFMON) !== 0n ? platform.msr.perfCapabilities : 0n
    case 0x486:
      return platform.msr.cr0Fixed0
    case 0x487:
      return platform.msr.cr0Fixed1
    case 0x488:
      return platform.msr.cr4Fixed0
    case 0x489:
      return platform.msr.cr4Fixed1
    default:
      // Not modelled: the virtual IA32_VMX_* MSRs that describe L2 VMs (0x480, 0x485, 0x48B to 0x492).
      throw new NotModelled(`RDMSR ${index.toString(16)} in a TD`)
  }
}

const DEBUGCTL_RESERVED = ~0xdfc3n & 0xffff_ffff_ffff_ffffn

const writeModule = (platform: Platform, vcpu: Vcpu, cpu: Cpu, index: number, value: bigint): MsrOutcome => {
  switch (index) {
    case IA32_XSS:
      if ((value & ~(platform.xss & vcpu.td.xfam)) !== 0n) return 'gp'
      vcpu.xss = value
      return 'done'
    case IA32_EFER: {
      // All that a write may change is SCE; LMA is ignored.
      const changed = (value ^ cpu.efer) & ~EFER_LMA
      if ((changed & ~EFER_SCE) !== 0n) return 've'
      cpu.efer = (cpu.efer & ~EFER_SCE) | (value & EFER_SCE)
      return 'done'
    }
    case IA32_DEBUGCTL: {
      if ((value & DEBUGCTL_RESERVED) !== 0n) return 'gp'
      if ((value & (1n << 6n)) !== 0n && (value & (1n << 7n)) === 0n) return 've'
      // Not modelled: what IA32_DEBUGCTL switches on (branch records, single-stepping on branches).
      vcpu.msrs.set(IA32_DEBUGCTL, value & ~(1n << 13n))
      return 'done'
    }
    default:
      throw new NotModelled(`WRMSR ${index.toString(16)} in a TD`)
  }
}

const setResult = (cpu: Cpu, value: bigint): void => {
  cpu.gpr[0] = value & 0xffff_ffffn
  cpu.gpr[2] = value >> 32n
}

export const readMsr = (platform: Platform, vcpu: Vcpu, cpu: Cpu): MsrOutcome => {
  const index = Number(cpu.gpr[1]! & 0xffff_ffffn)
  if (index === X2APIC_ID && (vcpu.td.tdCtls & TD_CTLS_ENUM_TOPOLOGY) !== 0n) {
    setResult(cpu, BigInt(vcpu.x2apicId))
    return 'done'
  }
  const action = actionOf(vcpu.td, index, false)
  if (action === 'gp' || action === 've') return action
  const value =
    index === IA32_XSS
      ? vcpu.xss
      : action === 'module'
        ? readModule(platform, vcpu, index)
        : index >= X2APIC_FIRST && index <= X2APIC_LAST
          ? accessApic(vcpu, cpu, index, undefined)
          : readHeld(vcpu, index)
  if (typeof value === 'string') return value
  setResult(cpu, value)
  return 'done'
}

export const writeMsr = (platform: Platform, vcpu: Vcpu, cpu: Cpu): MsrOutcome => {
  const index = Number(cpu.gpr[1]! & 0xffff_ffffn)
  const value = ((cpu.gpr[2]! & 0xffff_ffffn) << 32n) | (cpu.gpr[0]! & 0xffff_ffffn)
  const action = actionOf(vcpu.td, index, true)
  if (action === 'gp' || action === 've') return action
  // Reading these is the module's; the table lets writes through to the CPU, where they are read-only.
  if (index === IA32_ARCH_CAPABILITIES || index === 0xbd) return 'gp'
  if (action === 'module') return writeModule(platform, vcpu, cpu, index, value)
  if (index >= X2APIC_FIRST && index <= X2APIC_LAST) {
    const result = accessApic(vcpu, cpu, index, value)
    return typeof result === 'string' ? result : 'done'
  }
  return writeHeld(vcpu, index, value)
}
