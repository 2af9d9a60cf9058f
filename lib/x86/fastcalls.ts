/** System calls without a gate: SYSCALL, SYSENTER and their returns; SWAPGS. */
import {
  EFER_SCE,
  IA32_FMASK,
  IA32_GS_BASE,
  IA32_KERNEL_GS_BASE,
  IA32_LSTAR,
  IA32_STAR,
  IA32_SYSENTER_CS,
  IA32_SYSENTER_EIP,
  IA32_SYSENTER_ESP,
  RFLAGS_IF,
  RFLAGS_RF,
  RFLAGS_VM,
  VECTOR_GP,
  VECTOR_UD,
} from '#abi'
import type { Cpu } from './cpu.ts'
import { CS, GS, SS } from './insn.ts'
import { CODE64, FLAT_CODE, FLAT_DATA } from './reset.ts'
import { isLong, isProtected } from './segments.ts'
import { requireKernel } from './system.ts'

/** CS and SS with fixed, flat content, as SYSCALL and SYSENTER and their returns load them. */
const flat = (cpu: Cpu, selector: number, level: 0 | 3, is64: boolean): void => {
  const dpl = level << 5
  cpu.segments[CS]!.set((selector & 0xfffc) | level, 0n, 0xffff_ffff, (is64 ? CODE64 : FLAT_CODE) | dpl)
  cpu.segments[SS]!.set(((selector + 8) & 0xfffc) | level, 0n, 0xffff_ffff, FLAT_DATA | dpl)
  cpu.refresh()
}

/** SDM Vol. 2B, "SYSCALL". */
export const syscall = (cpu: Cpu): void => {
  if (cpu.mode !== 64 || (cpu.efer & EFER_SCE) === 0n) cpu.raise(VECTOR_UD)
  const { msrs } = cpu
  cpu.gpr[1] = cpu.next
  cpu.gpr[11] = cpu.rflags & ~RFLAGS_RF
  const to = msrs.get(IA32_LSTAR)
  flat(cpu, Number((msrs.get(IA32_STAR) >> 32n) & 0xfffcn), 0, true)
  cpu.rflags &= ~(msrs.get(IA32_FMASK) | RFLAGS_RF | RFLAGS_VM)
  cpu.next = to
}

/** SDM Vol. 2B, "SYSRET". */
export const sysret = (cpu: Cpu, size: 2 | 4 | 8): void => {
  if (cpu.mode !== 64 || (cpu.efer & EFER_SCE) === 0n) cpu.raise(VECTOR_UD)
  requireKernel(cpu)
  const to = cpu.gpr[1]!
  if (size === 8 && !cpu.isCanonical(to)) cpu.raise(VECTOR_GP, 0)
  cpu.rflags = cpu.gpr[11]! & 0x3c_7fd7n
  const base = Number((cpu.msrs.get(IA32_STAR) >> 48n) & 0xffffn)
  // SS is at +8 from STAR's selector in both cases, CS at +16 or +0.
  flat(cpu, size === 8 ? base + 16 : base, 3, size === 8)
  cpu.segments[SS]!.selector = ((base + 8) & 0xffff) | 3
  cpu.next = size === 8 ? to : to & 0xffff_ffffn
}

/** SDM Vol. 2B, "SYSENTER". */
export const sysenter = (cpu: Cpu): void => {
  if (!isProtected(cpu)) cpu.raise(VECTOR_GP, 0)
  const { msrs } = cpu
  const selector = Number(msrs.get(IA32_SYSENTER_CS) & 0xfffcn)
  if (selector === 0) cpu.raise(VECTOR_GP, 0)
  const long = isLong(cpu)
  cpu.rflags &= ~(RFLAGS_VM | RFLAGS_IF | RFLAGS_RF)
  flat(cpu, selector, 0, long)
  const narrow = (value: bigint) => (long ? value : value & 0xffff_ffffn)
  cpu.gpr[4] = narrow(msrs.get(IA32_SYSENTER_ESP))
  cpu.next = narrow(msrs.get(IA32_SYSENTER_EIP))
}

/** SDM Vol. 2B, "SYSEXIT". */
export const sysexit = (cpu: Cpu, size: 2 | 4 | 8): void => {
  const selector = Number(cpu.msrs.get(IA32_SYSENTER_CS) & 0xfffcn)
  if (selector === 0 || !isProtected(cpu) || cpu.cpl !== 0) cpu.raise(VECTOR_GP, 0)
  const [to, stack] = [cpu.gpr[2]!, cpu.gpr[1]!]
  const wide = size === 8
  if (wide && !(cpu.isCanonical(to) && cpu.isCanonical(stack))) cpu.raise(VECTOR_GP, 0)
  flat(cpu, selector + (wide ? 32 : 16), 3, wide)
  cpu.gpr[4] = wide ? stack : stack & 0xffff_ffffn
  cpu.next = wide ? to : to & 0xffff_ffffn
}

/** SDM Vol. 2B, "SWAPGS". */
export const swapgs = (cpu: Cpu): void => {
  if (cpu.mode !== 64) cpu.raise(VECTOR_UD)
  requireKernel(cpu)
  const gs = cpu.segments[GS]!
  const base = cpu.msrs.get(IA32_KERNEL_GS_BASE)
  cpu.msrs.write(cpu, IA32_KERNEL_GS_BASE, gs.base)
  cpu.msrs.write(cpu, IA32_GS_BASE, base)
}

// Time and identification
