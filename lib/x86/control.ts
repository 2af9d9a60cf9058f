/** Control and debug registers: what may be written, what follows, what leaves the guest. SDM Vol. 3A, "Control Registers". */
import {
  CR0_AM,
  CR0_CD,
  CR0_EM,
  CR0_ET,
  CR0_MP,
  CR0_NE,
  CR0_NW,
  CR0_PE,
  CR0_PG,
  CR0_TS,
  CR0_WP,
  CR4_DE,
  CR4_FSGSBASE,
  CR4_LA57,
  CR4_MCE,
  CR4_OSFXSR,
  CR4_OSXMMEXCPT,
  CR4_OSXSAVE,
  CR4_PAE,
  CR4_PCE,
  CR4_PCIDE,
  CR4_PGE,
  CR4_PKE,
  CR4_PKS,
  CR4_PSE,
  CR4_PVI,
  CR4_SMAP,
  CR4_SMEP,
  CR4_TSD,
  CR4_UMIP,
  CR4_VME,
  DESCRIPTOR_TSS16_BUSY,
  DR6_BD,
  DR7_GD,
  EFER_LMA,
  EFER_LME,
  PTE,
  RIGHTS,
  VECTOR_DB,
  VECTOR_GP,
  VECTOR_UD,
} from '#abi'
import { type Gpa, ones } from '#bits'
import type { Cpu } from './cpu.ts'
import type { Feature } from './cpuid.ts'
import { Fault } from './fault.ts'
import { CS } from './insn.ts'
import { typeOf } from './segments.ts'
import { EPT_QUALIFICATION, EXIT_REASON_CR_ACCESS } from './vmx.ts'

const CR0_DEFINED = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG

/** CR4 bits that every CPU here has, and those that come with a feature. */
const CR4_ALWAYS = CR4_PVI | CR4_VME | CR4_TSD | CR4_PCE
const CR4_FEATURES: readonly (readonly [bigint, Feature])[] = [
  [CR4_DE, 'DE'],
  [CR4_PSE, 'PSE'],
  [CR4_PAE, 'PAE'],
  [CR4_MCE, 'MCE'],
  [CR4_PGE, 'PGE'],
  [CR4_OSFXSR, 'FXSR'],
  [CR4_OSXMMEXCPT, 'SSE'],
  [CR4_UMIP, 'UMIP'],
  [CR4_LA57, 'LA57'],
  [CR4_FSGSBASE, 'FSGSBASE'],
  [CR4_PCIDE, 'PCID'],
  [CR4_OSXSAVE, 'XSAVE'],
  [CR4_SMEP, 'SMEP'],
  [CR4_SMAP, 'SMAP'],
  [CR4_PKE, 'PKU'],
  [CR4_PKS, 'PKS'],
]
const cr4Allowed = (cpu: Cpu): bigint =>
  CR4_FEATURES.reduce((all, [bit, feature]) => (cpu.features.has(feature) ? all | bit : all), CR4_ALWAYS)

const refuse = (cpu: Cpu): never => cpu.raise(VECTOR_GP, 0)
const requireKernel = (cpu: Cpu): void => {
  if (cpu.cpl !== 0) refuse(cpu)
}

/** Access type in the exit qualification. SDM Vol. 3C, "Exit Qualification for Control-Register Accesses". */
const [MOV_TO, CLTS, LMSW] = [0n, 2n, 3n]
const leaveCr = (cpu: Cpu, n: number, type: bigint, lmswSource = 0n): never => {
  const [first, second] = cpu.insn?.operands ?? []
  const source = type === MOV_TO && second?.kind === 'reg' ? BigInt(second.index) : 0n
  const fromMemory = type === LMSW && first?.kind === 'mem' ? 1n << 6n : 0n
  const qualification = BigInt(n) | (type << 4n) | fromMemory | (source << 8n) | (lmswSource << 16n)
  return cpu.leave(EXIT_REASON_CR_ACCESS, qualification)
}

/** What a read of CR0 and CR4 gives: owned bits come from the shadow. */
export const visibleCr0 = (cpu: Cpu): bigint => {
  const vmx = cpu.controls
  return vmx === undefined ? cpu.cr0 : (cpu.cr0 & ~vmx.cr0Mask) | (vmx.cr0Shadow & vmx.cr0Mask)
}
const visibleCr4 = (cpu: Cpu): bigint => {
  const vmx = cpu.controls
  return vmx === undefined ? cpu.cr4 : (cpu.cr4 & ~vmx.cr4Mask) | (vmx.cr4Shadow & vmx.cr4Mask)
}

/** The PAE page-directory-pointer-table entries at `cr3`, through the second stage. */
export const readPdptes = (cpu: Cpu, cr3: bigint): readonly bigint[] =>
  [0n, 1n, 2n, 3n].map(n => {
    const at = (cr3 & 0xffff_ffe0n) + n * 8n
    const frame = cpu.stage.frame((at & ~0xfffn) as Gpa, 'read')
    if (frame === -1) return cpu.leaveEpt(EPT_QUALIFICATION.READ, 0n, at)
    return cpu.memory.read(frame + Number(at & 0xfffn), 8)
  })

/** Loads them as MOV to a control register does: #GP(0) where one that is present has a reserved bit set. */
const checkedPdptes = (cpu: Cpu, cr3: bigint): readonly bigint[] => {
  const reserved = 0x1e6n | (ones(64) & ~ones(cpu.stage.width))
  const entries = readPdptes(cpu, cr3)
  if (entries.some(entry => (entry & PTE.P) !== 0n && (entry & reserved) !== 0n)) refuse(cpu)
  return entries
}

/** Writes CR0. Everything is checked before anything changes. */
const setCr0 = (cpu: Cpu, wanted: bigint): void => {
  if (wanted >> 32n !== 0n) refuse(cpu)
  const value = (wanted & CR0_DEFINED) | CR0_ET
  const paging = (value & CR0_PG) !== 0n
  const turned = ((value ^ cpu.cr0) & CR0_PG) !== 0n
  if (paging && (value & CR0_PE) === 0n) refuse(cpu)
  if ((value & CR0_NW) !== 0n && (value & CR0_CD) === 0n) refuse(cpu)
  let efer = cpu.efer
  if (turned && paging && (efer & EFER_LME) !== 0n) {
    if ((cpu.cr4 & CR4_PAE) === 0n || (cpu.segments[CS]!.rights & RIGHTS.L) !== 0) refuse(cpu)
    if (typeOf(cpu.tr.rights) === DESCRIPTOR_TSS16_BUSY) refuse(cpu)
    efer |= EFER_LMA
  } else if (turned && !paging) {
    if (cpu.mode === 64 || (cpu.cr4 & CR4_PCIDE) !== 0n) refuse(cpu)
    efer &= ~EFER_LMA
  }
  const pae = paging && (cpu.cr4 & CR4_PAE) !== 0n && (efer & EFER_LMA) === 0n
  const reload = pae && ((value ^ cpu.cr0) & (CR0_PG | CR0_CD | CR0_NW)) !== 0n
  const pdptes = reload ? checkedPdptes(cpu, cpu.cr3) : pae ? cpu.pdptes : undefined
  cpu.efer = efer
  cpu.cr0 = value
  cpu.pdptes = pdptes
}

/** Writes CR4; `owned` bits were judged by whoever owns them. */
const setCr4 = (cpu: Cpu, value: bigint, owned: bigint): void => {
  if ((value & ~cr4Allowed(cpu) & ~owned) !== 0n) refuse(cpu)
  const changed = value ^ cpu.cr4
  const long = (cpu.efer & EFER_LMA) !== 0n
  const paging = (cpu.cr0 & CR0_PG) !== 0n
  if (long && ((changed & CR4_LA57) !== 0n || (value & CR4_PAE) === 0n)) refuse(cpu)
  if ((changed & value & CR4_PCIDE) !== 0n && (!long || (cpu.cr3 & 0xfffn) !== 0n)) refuse(cpu)
  const pae = paging && !long && (value & CR4_PAE) !== 0n
  const reload = pae && (changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)) !== 0n
  const pdptes = reload ? checkedPdptes(cpu, cpu.cr3) : pae ? cpu.pdptes : undefined
  cpu.cr4 = value
  cpu.pdptes = pdptes
}

const setCr3 = (cpu: Cpu, wanted: bigint): void => {
  // Bit 63 with PCIDs only says that nothing need be flushed.
  const value = (cpu.cr4 & CR4_PCIDE) === 0n ? wanted : wanted & ~(1n << 63n)
  const long = (cpu.efer & EFER_LMA) !== 0n
  if (cpu.mode === 64 && (value & (ones(64) & ~ones(cpu.stage.width))) !== 0n) refuse(cpu)
  const pae = !long && (cpu.cr0 & CR0_PG) !== 0n && (cpu.cr4 & CR4_PAE) !== 0n
  const pdptes = pae ? checkedPdptes(cpu, value) : undefined
  cpu.cr3 = value
  cpu.pdptes = pdptes
}

/** MOV from CR0, CR2, CR3, CR4, CR8. SDM Vol. 2B, "MOV—Move to/from Control Registers". */
export const readCr = (cpu: Cpu, n: number): bigint => {
  if (![0, 2, 3, 4, 8].includes(n)) cpu.raise(VECTOR_UD)
  requireKernel(cpu)
  if (n === 0) return visibleCr0(cpu)
  if (n === 2) return cpu.cr2
  if (n === 3) return cpu.cr3
  return n === 4 ? visibleCr4(cpu) : cpu.cr8
}

/** MOV to CR0, CR2, CR3, CR4, CR8. A change of an owned bit leaves before anything but privilege is checked. */
export const writeCr = (cpu: Cpu, n: number, value: bigint): void => {
  if (![0, 2, 3, 4, 8].includes(n)) cpu.raise(VECTOR_UD)
  requireKernel(cpu)
  const vmx = cpu.controls
  if (n === 0) {
    const mask = vmx?.cr0Mask ?? 0n
    if (((value ^ (vmx?.cr0Shadow ?? 0n)) & mask) !== 0n) leaveCr(cpu, 0, MOV_TO)
    setCr0(cpu, (value & ~mask) | (cpu.cr0 & mask))
  } else if (n === 4) {
    const mask = vmx?.cr4Mask ?? 0n
    if (((value ^ (vmx?.cr4Shadow ?? 0n)) & mask) !== 0n) leaveCr(cpu, 4, MOV_TO)
    setCr4(cpu, (value & ~mask) | (cpu.cr4 & mask), mask)
  } else if (n === 3) setCr3(cpu, value)
  else if (n === 8) {
    if (value >> 4n !== 0n) refuse(cpu)
    cpu.cr8 = value
  } else cpu.cr2 = value
}

/** Writes CR0 or CR4 as MOV does, for whoever handled the exit of an owned bit: same checks, no exit. */
export const completeCr = (cpu: Cpu, n: 0 | 4, value: bigint): void => {
  if (n === 0) setCr0(cpu, value)
  else setCr4(cpu, value, cpu.controls?.cr4Mask ?? 0n)
}

/** LMSW: MP, EM and TS, and PE, which it can only set. SDM Vol. 2A, "LMSW". */
export const lmsw = (cpu: Cpu, source: bigint): void => {
  requireKernel(cpu)
  const vmx = cpu.controls
  const mask = vmx?.cr0Mask ?? 0n
  const shadow = vmx?.cr0Shadow ?? 0n
  const setsPe = (source & mask & ~shadow & CR0_PE) !== 0n
  if (setsPe || ((source ^ shadow) & mask & 0xen) !== 0n) leaveCr(cpu, 0, LMSW, source & 0xffffn)
  const writable = (0xen | (source & CR0_PE)) & ~mask
  setCr0(cpu, (cpu.cr0 & ~writable) | (source & writable))
}

/** SDM Vol. 2A, "CLTS". */
export const clts = (cpu: Cpu): void => {
  requireKernel(cpu)
  const vmx = cpu.controls
  if (vmx !== undefined && (vmx.cr0Mask & CR0_TS) !== 0n) {
    if ((vmx.cr0Shadow & CR0_TS) !== 0n) leaveCr(cpu, 0, CLTS)
  } else cpu.cr0 &= ~CR0_TS
}

/** DR4 and DR5 are other names of DR6 and DR7, unless CR4.DE is set. */
const debugRegister = (cpu: Cpu, n: number): number => {
  if ((n === 4 || n === 5) && (cpu.cr4 & CR4_DE) !== 0n) cpu.raise(VECTOR_UD)
  if (n > 7) cpu.raise(VECTOR_UD)
  requireKernel(cpu)
  if ((cpu.dr[7]! & DR7_GD) !== 0n) throw new Fault(VECTOR_DB, undefined, undefined, DR6_BD)
  return n === 4 || n === 5 ? n + 2 : n
}

/** SDM Vol. 2B, "MOV—Move to/from Debug Registers". */
export const readDr = (cpu: Cpu, n: number): bigint => cpu.dr[debugRegister(cpu, n)]!

/** What is written counts from the next instruction on. */
export const writeDr = (cpu: Cpu, n: number, value: bigint): void => {
  const which = debugRegister(cpu, n)
  if (which < 4) {
    cpu.dr[which] = value
    cpu.refresh()
    return
  }
  if (value >> 32n !== 0n) refuse(cpu)
  if (which === 6) cpu.dr[6] = (value & 0xe00fn) | 0xffff_0ff0n
  else {
    cpu.dr[7] = (value & 0xffff_23ffn) | 0x400n
    cpu.refresh()
  }
}
