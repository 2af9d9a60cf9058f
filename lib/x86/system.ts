/** Instructions that are the system's business: time, caches, interrupts' flag, and those that leave for a VMM. */

import {
  CR0_EM,
  CR0_TS,
  CR4_OSFXSR,
  CR4_OSXSAVE,
  CR4_PCE,
  CR4_PCIDE,
  CR4_PKE,
  CR4_PVI,
  CR4_TSD,
  RFLAGS_AC,
  RFLAGS_IF,
  RFLAGS_IOPL,
  VECTOR_GP,
  VECTOR_NM,
  VECTOR_UD,
  XCR0_AVX,
  XCR0_SSE,
  XCR0_X87,
} from '#abi'
import { NotModelled } from '#bits'
import type { Cpu, TableRegister } from './cpu.ts'
import type { CpuidResult } from './cpuid.ts'
import { isCanonicalBase, linearOf } from './linear.ts'
import { isProtected } from './segments.ts'
import {
  EXIT_REASON_CPUID,
  EXIT_REASON_HLT,
  EXIT_REASON_INVD,
  EXIT_REASON_MONITOR,
  EXIT_REASON_MWAIT,
  EXIT_REASON_RDPMC,
  EXIT_REASON_SEAMCALL,
  EXIT_REASON_TDCALL,
  EXIT_REASON_VMCALL,
  EXIT_REASON_WBINVD,
  EXIT_REASON_XSETBV,
} from './vmx.ts'
import { inUse } from './xsave.ts'

export const requireKernel = (cpu: Cpu): void => {
  if (cpu.cpl !== 0) cpu.raise(VECTOR_GP, 0)
}

/** SDM Vol. 2A, "LGDT/LIDT". */
export const loadTable = (cpu: Cpu, table: TableRegister, base: bigint, limit: number): void => {
  requireKernel(cpu)
  if (cpu.mode === 64 && !isCanonicalBase(cpu, base)) cpu.raise(VECTOR_GP, 0)
  table.base = base
  table.limit = limit & 0xffff
}

// System calls

/** SDM Vol. 2A, "CPUID". It always leaves a virtual machine. */
export const cpuid = (cpu: Cpu, leaf: number, subleaf: number): CpuidResult => {
  if (cpu.controls !== undefined) cpu.leave(EXIT_REASON_CPUID, 0n)
  return answerCpuid(cpu, leaf, subleaf)
}
/** What CPUID answers where nothing leaves, or a VMM for it: OSXSAVE, OSPKE and the XSAVE size follow the registers. */
export const answerCpuid = (cpu: Cpu, leaf: number, subleaf: number): CpuidResult => {
  const [eax, ebx, ecx, edx] = cpu.cpuid(leaf, subleaf)
  if (leaf === 1) {
    // A local APIC that is disabled is not there.
    const shown = cpu.apic?.isEnabled === false ? setBit(edx, 9, false) : edx
    return [eax, ebx, setBit(ecx, 27, (cpu.cr4 & CR4_OSXSAVE) !== 0n), shown]
  }
  if (leaf === 7 && subleaf === 0) return [eax, ebx, setBit(ecx, 4, (cpu.cr4 & CR4_PKE) !== 0n), edx]
  if (leaf === 0xd && subleaf <= 1 && ebx !== 0) return [eax, xsaveSize(cpu, subleaf === 1), ecx, edx]
  // SYSCALL is only there in 64-bit mode.
  if (leaf === 0x8000_0001 && cpu.mode !== 64) return [eax, ebx, ecx, setBit(edx, 11, false)]
  return [eax, ebx, ecx, edx]
}
const setBit = (value: number, bit: number, to: boolean): number =>
  (to ? value | (1 << bit) : value & ~(1 << bit)) >>> 0

/**
 * Bytes of the XSAVE area for what XCR0 enables: in the standard format up to the end of the last component, compacted
 * one after the other. SDM Vol. 1, "XSAVE Area".
 */
const xsaveSize = (cpu: Cpu, compacted: boolean): number => {
  let size = 576
  for (let n = 2; n < 32; n++) {
    if (((cpu.xcr0 >> BigInt(n)) & 1n) === 0n) continue
    const [length, offset, flags] = cpu.cpuid(0xd, n)
    if (compacted) size = ((flags & 2) !== 0 ? Math.ceil(size / 64) * 64 : size) + length
    else size = Math.max(size, offset + length)
  }
  return size
}

/** SDM Vol. 2B, "RDTSC". */
export const rdtsc = (cpu: Cpu): bigint => {
  if (cpu.cpl !== 0 && (cpu.cr4 & CR4_TSD) !== 0n) cpu.raise(VECTOR_GP, 0)
  return cpu.tsc
}

/** SDM Vol. 2B, "RDPMC". Not modelled: performance counters (RDPMC of any counter is #GP). */
export const rdpmc = (cpu: Cpu, _index: number): bigint => {
  if (cpu.cpl !== 0 && isProtected(cpu) && (cpu.cr4 & CR4_PCE) === 0n) cpu.raise(VECTOR_GP, 0)
  if (cpu.controls?.rdpmc) cpu.leave(EXIT_REASON_RDPMC, 0n)
  return cpu.raise(VECTOR_GP, 0)
}

/** The next 64 bits of the run's own random numbers: SplitMix64, so that the same seed gives the same guest. */
export const random = (cpu: Cpu): bigint => {
  const word = (value: bigint) => BigInt.asUintN(64, value)
  cpu.random = word(cpu.random + 0x9e37_79b9_7f4a_7c15n)
  let z = cpu.random
  z = word((z ^ (z >> 30n)) * 0xbf58_476d_1ce4_e5b9n)
  z = word((z ^ (z >> 27n)) * 0x94d0_49bb_1331_11ebn)
  return z ^ (z >> 31n)
}

// Ports

/** Not modelled: virtual interrupts, with which CLI and STI at CPL 3 change VIF (CR4.PVI set; they stop by name). */
const mayChangeIf = (cpu: Cpu): void => {
  if (!isProtected(cpu) || cpu.cpl <= Number((BigInt(cpu.systemFlags) & RFLAGS_IOPL) >> 12n)) return
  if (cpu.cpl === 3 && (cpu.cr4 & CR4_PVI) !== 0n) throw new NotModelled('virtual interrupts at CPL 3 (CR4.PVI)')
  cpu.raise(VECTOR_GP, 0)
}
/** SDM Vol. 2A, "CLI". */
export const cli = (cpu: Cpu): void => {
  mayChangeIf(cpu)
  cpu.systemFlags &= ~Number(RFLAGS_IF)
}
/** SDM Vol. 2B, "STI": interrupts stay held off until the following instruction has ended. */
export const sti = (cpu: Cpu): void => {
  mayChangeIf(cpu)
  if ((cpu.systemFlags & Number(RFLAGS_IF)) === 0) cpu.shadow = 'sti'
  cpu.systemFlags |= Number(RFLAGS_IF)
}
/** CLAC and STAC. SDM Vol. 2A and 2B, under their names. */
export const setAc = (cpu: Cpu, to: boolean): void => {
  if (cpu.cpl !== 0 || !cpu.features.has('SMAP')) cpu.raise(VECTOR_UD)
  const ac = Number(RFLAGS_AC)
  cpu.systemFlags = to ? cpu.systemFlags | ac : cpu.systemFlags & ~ac
}

// Waiting and caches

/** HLT leaves, virtualized or not: whoever runs the CPU decides how long it waits, and moves RIP on. */
export const hlt = (cpu: Cpu): void => {
  requireKernel(cpu)
  if (cpu.controls !== undefined && !cpu.controls.hlt)
    throw new NotModelled('HLT that does not leave a virtual machine')
  cpu.end(EXIT_REASON_HLT)
}

/** SDM Vol. 2B, "MONITOR". Natively the monitored address is not kept, since MWAIT may end at any time. */
export const monitor = (cpu: Cpu, address: bigint, extensions: bigint): void => {
  if (!cpu.features.has('MONITOR') || cpu.cpl !== 0) cpu.raise(VECTOR_UD)
  if (cpu.controls?.monitorMwait) cpu.leave(EXIT_REASON_MONITOR, 0n)
  if (extensions !== 0n) cpu.raise(VECTOR_GP, 0)
  const seg = cpu.insn?.operands[0]?.kind === 'mem' ? cpu.insn.operands[0].seg : 3
  cpu.read(linearOf(cpu, seg, address, 1, 'read'), 1)
}
/** SDM Vol. 2B, "MWAIT". Without a VMM it leaves like HLT. */
export const mwait = (cpu: Cpu, extensions: bigint): void => {
  if (!cpu.features.has('MONITOR') || cpu.cpl !== 0) cpu.raise(VECTOR_UD)
  if (cpu.controls?.monitorMwait) cpu.leave(EXIT_REASON_MWAIT, 0n)
  if (extensions >> 1n !== 0n) cpu.raise(VECTOR_GP, 0)
  cpu.leave(EXIT_REASON_MWAIT, 0n)
}

export const invd = (cpu: Cpu): void => {
  requireKernel(cpu)
  if (cpu.controls !== undefined) cpu.end(EXIT_REASON_INVD)
}
/** There are no caches to write back. */
export const wbinvd = (cpu: Cpu): void => {
  requireKernel(cpu)
  if (cpu.controls?.wbinvd) cpu.end(EXIT_REASON_WBINVD)
}

/** SDM Vol. 2A, "INVLPG". */
export const invlpg = (cpu: Cpu, linear: bigint): void => {
  requireKernel(cpu)
  cpu.tlb.flushPage(Number(linear & 0xffff_ffffn))
}
/** SDM Vol. 2A, "INVPCID". Everything is dropped, which it allows. */
export const invpcid = (cpu: Cpu, type: bigint, pcid: bigint, linear: bigint): void => {
  requireKernel(cpu)
  if (type > 3n || pcid >> 12n !== 0n) cpu.raise(VECTOR_GP, 0)
  if ((cpu.cr4 & CR4_PCIDE) === 0n && type < 2n && pcid !== 0n) cpu.raise(VECTOR_GP, 0)
  if (type === 0n && !isCanonicalBase(cpu, linear)) cpu.raise(VECTOR_GP, 0)
  cpu.tlb.flush()
}

// Extended state

/** SDM Vol. 2D, "XGETBV". */
export const xgetbv = (cpu: Cpu, index: number): bigint => {
  if ((cpu.cr4 & CR4_OSXSAVE) === 0n) cpu.raise(VECTOR_UD)
  if (index === 0) return cpu.xcr0
  if (index === 1 && cpu.features.has('XGETBV1')) return cpu.xcr0 & inUse(cpu)
  return cpu.raise(VECTOR_GP, 0)
}

/** SDM Vol. 2D, "XSETBV". It always leaves a virtual machine. */
export const xsetbv = (cpu: Cpu, index: number, value: bigint): void => {
  if ((cpu.cr4 & CR4_OSXSAVE) === 0n) cpu.raise(VECTOR_UD)
  // Privilege and a bad XCR are checked first only where nothing leaves. SDM Vol. 3C, "Relative Priority of Faults and VM Exits".
  requireKernel(cpu)
  if (cpu.controls !== undefined) cpu.leave(EXIT_REASON_XSETBV, 0n)
  completeXsetbv(cpu, index, value)
}
/** The rest of XSETBV, which a VMM may do for a guest. #GP(0). */
export const completeXsetbv = (cpu: Cpu, index: number, value: bigint): void => {
  const [low, , , high] = cpu.cpuid(0xd, 0)
  const supported = BigInt(low >>> 0) | (BigInt(high >>> 0) << 32n)
  const avxWithoutSse = (value & (XCR0_AVX | XCR0_SSE)) === XCR0_AVX
  if (index !== 0 || (value & XCR0_X87) === 0n || (value & ~supported) !== 0n || avxWithoutSse) {
    cpu.raise(VECTOR_GP, 0)
  }
  cpu.xcr0 = value
}

/** SDM Vol. 2B, "RDPKRU" and Vol. 2D, "WRPKRU": ECX, and for WRPKRU EDX, must be 0. */
export const rdpkru = (cpu: Cpu): bigint => {
  if ((cpu.cr4 & CR4_PKE) === 0n) cpu.raise(VECTOR_UD)
  if ((cpu.gpr[1]! & 0xffff_ffffn) !== 0n) cpu.raise(VECTOR_GP, 0)
  return BigInt(cpu.pkru)
}
export const wrpkru = (cpu: Cpu, value: bigint): void => {
  if ((cpu.cr4 & CR4_PKE) === 0n) cpu.raise(VECTOR_UD)
  if ((cpu.gpr[1]! & 0xffff_ffffn) !== 0n || (cpu.gpr[2]! & 0xffff_ffffn) !== 0n) cpu.raise(VECTOR_GP, 0)
  cpu.pkru = Number(value & 0xffff_ffffn)
}

/** May x87 instructions run? SDM Vol. 3A, "Control Registers", CR0.EM and CR0.TS. */
export const requireX87 = (cpu: Cpu): void => {
  if ((cpu.cr0 & (CR0_EM | CR0_TS)) !== 0n) cpu.raise(VECTOR_NM)
}
export const requireSse = (cpu: Cpu): void => {
  if ((cpu.cr0 & CR0_EM) !== 0n || (cpu.cr4 & CR4_OSFXSR) === 0n) cpu.raise(VECTOR_UD)
  if ((cpu.cr0 & CR0_TS) !== 0n) cpu.raise(VECTOR_NM)
}
export const requireAvx = (cpu: Cpu): void => {
  const both = XCR0_SSE | XCR0_AVX
  if ((cpu.cr4 & CR4_OSXSAVE) === 0n || (cpu.xcr0 & both) !== both || !isProtected(cpu)) cpu.raise(VECTOR_UD)
  if ((cpu.cr0 & CR0_TS) !== 0n) cpu.raise(VECTOR_NM)
}

// Calls to whoever is outside

/** TDCALL, in a TD: CPL 0 only. Elsewhere it is no instruction. Intel TDX CPU Architectural Extensions, "TDCALL". */
export const tdcall = (cpu: Cpu): void => {
  if (cpu.controls === undefined) cpu.raise(VECTOR_UD)
  if (cpu.cpl !== 0) cpu.raise(VECTOR_GP, 0)
  cpu.end(EXIT_REASON_TDCALL)
}
/** SEAMCALL leaves any virtual machine; a bare CPU has no SEAM module to call. */
export const seamcall = (cpu: Cpu): void => {
  if (cpu.controls === undefined || cpu.mode !== 64) cpu.raise(VECTOR_UD)
  if (cpu.cpl !== 0) cpu.raise(VECTOR_GP, 0)
  cpu.end(EXIT_REASON_SEAMCALL)
}
/** SDM Vol. 3C, "VMCALL". */
export const vmcall = (cpu: Cpu): void => {
  if (cpu.controls === undefined) cpu.raise(VECTOR_UD)
  cpu.end(EXIT_REASON_VMCALL)
}
