/** Segmentation: descriptors, loads of segment registers, LDTR and TR, limit checks. SDM Vol. 3A, "Protection". */

import {
  CR0_PE,
  DESCRIPTOR_CALL_GATE,
  DESCRIPTOR_CALL_GATE16,
  DESCRIPTOR_LDT,
  DESCRIPTOR_TASK_GATE,
  DESCRIPTOR_TSS,
  DESCRIPTOR_TSS_BUSY,
  DESCRIPTOR_TSS16,
  DESCRIPTOR_TSS16_BUSY,
  EFER_LMA,
  RFLAGS_VM,
  RIGHTS,
  VECTOR_GP,
  VECTOR_NP,
  VECTOR_SS,
  VECTOR_UD,
} from '#abi'
import { NotModelled } from '#bits'
import type { Cpu } from './cpu.ts'
import { CS, type Seg, SS } from './insn.ts'
import { isCanonicalBase } from './linear.ts'

/** A descriptor taken apart. `rights` as VMX has them, so the type is in bits 3:0; gates keep their raw halves. */
export type Descriptor = {
  readonly low: number
  readonly high: number
  readonly base: bigint
  /** In bytes. */
  readonly limit: number
  readonly rights: number
  /** Linear address of the descriptor. */
  readonly at: bigint
}

export const isProtected = (cpu: Cpu): boolean => (cpu.cr0 & CR0_PE) !== 0n
export const isLong = (cpu: Cpu): boolean => (cpu.efer & EFER_LMA) !== 0n
/** Not modelled: virtual-8086 mode. Entering it and running in it stop by name. */
export const refuseVm86 = (cpu: Cpu): void => {
  if ((cpu.systemFlags & Number(RFLAGS_VM)) !== 0) throw new NotModelled('virtual-8086 mode')
}

export const typeOf = (rights: number): number => rights & 15
export const dplOf = (rights: number): number => (rights & RIGHTS.DPL) >> 5
export const isPresent = (rights: number): boolean => (rights & RIGHTS.P) !== 0
export const isSystem = (rights: number): boolean => (rights & RIGHTS.S) === 0
export const isCode = (rights: number): boolean => (rights & (RIGHTS.S | RIGHTS.CODE)) === (RIGHTS.S | RIGHTS.CODE)
export const isConforming = (rights: number): boolean => isCode(rights) && (rights & RIGHTS.CONFORMING) !== 0
export const isWritableData = (rights: number): boolean =>
  (rights & (RIGHTS.S | RIGHTS.CODE | RIGHTS.WRITABLE)) === (RIGHTS.S | RIGHTS.WRITABLE)
const isReadable = (rights: number): boolean =>
  !isSystem(rights) && (!isCode(rights) || (rights & RIGHTS.READABLE) !== 0)
const isUnusable = (rights: number): boolean => (rights & RIGHTS.UNUSABLE) !== 0
export const isNull = (selector: number): boolean => (selector & 0xfffc) === 0

export const parse = (raw: bigint, at: bigint): Descriptor => {
  const low = Number(raw & 0xffff_ffffn)
  const high = Number(raw >> 32n)
  const units = (high & 0xf_0000) | (low & 0xffff)
  const rights = (high >>> 8) & 0xf0ff
  const limit = (rights & RIGHTS.G) === 0 ? units : units * 4096 + 4095
  const base = BigInt(((low >>> 16) | ((high & 0xff) << 16) | (high & 0xff00_0000)) >>> 0)
  return { low, high, base, limit, rights, at }
}

/** The descriptor of a selector that is not null; `undefined` where it lies outside its table. */
export const findDescriptor = (cpu: Cpu, selector: number, bytes = 8): Descriptor | undefined => {
  const inLdt = (selector & 4) !== 0
  if (inLdt && isUnusable(cpu.ldtr.rights)) return undefined
  const table = inLdt ? cpu.ldtr : cpu.gdtr
  const offset = selector & 0xfff8
  if (offset + bytes - 1 > table.limit) return undefined
  const at = isLong(cpu)
    ? BigInt.asUintN(64, table.base + BigInt(offset))
    : (table.base + BigInt(offset)) & 0xffff_ffffn
  return parse(cpu.readSystem(at, 8), at)
}

/** The same, with `vector`(selector) where there is none. `ext` is bit 0 of error codes while an event is delivered. */
export const descriptorOf = (cpu: Cpu, selector: number, vector = VECTOR_GP, ext = 0, bytes = 8): Descriptor =>
  findDescriptor(cpu, selector, bytes) ?? cpu.raise(vector, (selector & 0xfffc) | ext)

/** Bits 63:32 of the base of a 16-byte system descriptor, whose upper half must say nothing else. */
export const longBase = (cpu: Cpu, found: Descriptor, selector: number): bigint => {
  const upper = cpu.readSystem(BigInt.asUintN(64, found.at + 8n), 8)
  if (((upper >> 40n) & 0x1fn) !== 0n) cpu.raise(VECTOR_GP, selector & 0xfffc)
  const base = ((upper & 0xffff_ffffn) << 32n) | found.base
  if (!isCanonicalBase(cpu, base)) cpu.raise(VECTOR_GP, selector & 0xfffc)
  return base
}

/** Sets the accessed bit in memory; the rights as they are then. */
export const markAccessed = (cpu: Cpu, found: Descriptor): number => {
  if ((found.rights & RIGHTS.ACCESSED) === 0) cpu.writeSystem(found.at + 5n, 1, BigInt((found.rights | 1) & 0xff))
  return found.rights | RIGHTS.ACCESSED
}

/** Does `size` bytes at `offset` lie within the limit? Expand-down segments begin above it. */
export const withinLimit = (rights: number, limit: number, offset: number, size: number): boolean => {
  const last = offset + size - 1
  if ((rights & (RIGHTS.S | RIGHTS.CODE | RIGHTS.EXPAND_DOWN)) === (RIGHTS.S | RIGHTS.EXPAND_DOWN)) {
    return offset > limit && last <= ((rights & RIGHTS.DB) !== 0 ? 0xffff_ffff : 0xffff)
  }
  return last <= limit
}

/** `Cpu.linear` outside 64-bit mode. */
export const legacyLinear = (cpu: Cpu, seg: Seg, offset: bigint, size: number, access: 'read' | 'write'): bigint => {
  const register = cpu.segments[seg]!
  const { rights } = register
  const vector = seg === SS ? VECTOR_SS : VECTOR_GP
  if (isProtected(cpu)) {
    if (isUnusable(rights)) cpu.raise(vector, 0)
    if (access === 'write' ? !isWritableData(rights) : !isReadable(rights)) cpu.raise(vector, 0)
  }
  if (!withinLimit(rights, register.limit, Number(offset), size)) cpu.raise(vector, 0)
  return (register.base + offset) & 0xffff_ffffn
}

/** MOV SS and POP SS hold off interrupts and debug traps for one instruction; LSS does not need to. */
const shadowStack = (cpu: Cpu): void => {
  if (cpu.insn?.row.mnemonic !== 'LSS') cpu.shadow = 'mov-ss'
}

/** SS for a stack of privilege `cpl`: the checks that every change of SS makes, with the vector of its occasion. */
export const stackDescriptor = (cpu: Cpu, selector: number, cpl: number, vector: number, ext = 0): Descriptor => {
  const code = (selector & 0xfffc) | ext
  const found = descriptorOf(cpu, selector, vector, ext)
  if ((selector & 3) !== cpl || dplOf(found.rights) !== cpl || !isWritableData(found.rights)) cpu.raise(vector, code)
  if (!isPresent(found.rights)) cpu.raise(VECTOR_SS, code)
  return found
}

/** A null SS as a 64-bit stack of privilege `cpl` has it: unusable, the DPL being the CPL. */
export const loadNullStack = (cpu: Cpu, selector: number, cpl: number): void =>
  cpu.segments[SS]!.set(selector, 0n, 0, RIGHTS.UNUSABLE | (cpl << 5))

const loadStack = (cpu: Cpu, selector: number): void => {
  if (isNull(selector)) {
    if (cpu.mode !== 64 || cpu.cpl === 3 || (selector & 3) !== cpu.cpl) cpu.raise(VECTOR_GP, 0)
    loadNullStack(cpu, selector, cpu.cpl)
  } else {
    const found = stackDescriptor(cpu, selector, cpu.cpl, VECTOR_GP)
    const rights = markAccessed(cpu, found)
    cpu.segments[SS]!.set(selector, found.base, found.limit, rights)
  }
  shadowStack(cpu)
  cpu.refresh()
}

/** WRFSBASE and WRGSBASE. */
export const setSegmentBase = (cpu: Cpu, seg: Seg, base: bigint): void => {
  if (!isCanonicalBase(cpu, base)) cpu.raise(VECTOR_GP, 0)
  cpu.segments[seg]!.base = base
}

/** MOV, POP and LxS to a segment register other than CS. SDM Vol. 2B, "MOV". */
export const loadSegment = (cpu: Cpu, seg: Seg, selector: number): void => {
  refuseVm86(cpu)
  cpu.context = undefined
  const register = cpu.segments[seg]!
  if (seg === CS) cpu.raise(VECTOR_UD)
  if (!isProtected(cpu)) {
    register.selector = selector
    register.base = BigInt(selector << 4)
    if (seg === SS) shadowStack(cpu)
    return
  }
  if (seg === SS) {
    loadStack(cpu, selector)
    return
  }
  if (isNull(selector)) {
    register.set(selector, 0n, 0, RIGHTS.UNUSABLE)
    return
  }
  const code = selector & 0xfffc
  const found = descriptorOf(cpu, selector)
  const { rights } = found
  if (!isReadable(rights)) cpu.raise(VECTOR_GP, code)
  if (!isConforming(rights) && Math.max(selector & 3, cpu.cpl) > dplOf(rights)) cpu.raise(VECTOR_GP, code)
  if (!isPresent(rights)) cpu.raise(VECTOR_NP, code)
  register.set(selector, found.base, found.limit, markAccessed(cpu, found))
}

/**
 * Data segments that an outer ring may not keep become null. SDM Vol. 2B, "RET" and "IRET". The base stays, as
 * kvm-unit-tests (x86/debug.c) rely on it for GS: only the selector goes, and what it allowed.
 */
export const dropInnerSegments = (cpu: Cpu): void => {
  for (const seg of [0, 3, 4, 5] as const) {
    const register = cpu.segments[seg]!
    const { rights } = register
    if (isUnusable(rights) || isConforming(rights) || dplOf(rights) >= cpu.cpl) continue
    register.set(0, register.base, 0, RIGHTS.UNUSABLE)
  }
}

const requireKernel = (cpu: Cpu): void => {
  if (!isProtected(cpu)) cpu.raise(VECTOR_UD)
  refuseVm86(cpu)
  if (cpu.cpl !== 0) cpu.raise(VECTOR_GP, 0)
}

/** SDM Vol. 2A, "LLDT". */
export const lldt = (cpu: Cpu, selector: number): void => {
  requireKernel(cpu)
  if (isNull(selector)) {
    cpu.ldtr.set(selector, 0n, 0, RIGHTS.UNUSABLE | DESCRIPTOR_LDT)
    return
  }
  const code = selector & 0xfffc
  if ((selector & 4) !== 0) cpu.raise(VECTOR_GP, code)
  const found = descriptorOf(cpu, selector, VECTOR_GP, 0, cpu.mode === 64 ? 16 : 8)
  if (!isSystem(found.rights) || typeOf(found.rights) !== DESCRIPTOR_LDT) cpu.raise(VECTOR_GP, code)
  if (!isPresent(found.rights)) cpu.raise(VECTOR_NP, code)
  const base = cpu.mode === 64 ? longBase(cpu, found, selector) : found.base
  cpu.ldtr.set(selector, base, found.limit, found.rights)
}

/** SDM Vol. 2A, "LTR". */
export const ltr = (cpu: Cpu, selector: number): void => {
  requireKernel(cpu)
  if (isNull(selector)) cpu.raise(VECTOR_GP, 0)
  const code = selector & 0xfffc
  if ((selector & 4) !== 0) cpu.raise(VECTOR_GP, code)
  const found = descriptorOf(cpu, selector, VECTOR_GP, 0, cpu.mode === 64 ? 16 : 8)
  const type = typeOf(found.rights)
  const isTss = type === DESCRIPTOR_TSS || (type === DESCRIPTOR_TSS16 && !isLong(cpu))
  if (!isSystem(found.rights) || !isTss) cpu.raise(VECTOR_GP, code)
  if (!isPresent(found.rights)) cpu.raise(VECTOR_NP, code)
  const base = cpu.mode === 64 ? longBase(cpu, found, selector) : found.base
  const busy = found.rights | 2
  cpu.writeSystem(found.at + 5n, 1, BigInt(busy & 0xff))
  cpu.tr.set(selector, base, found.limit, busy)
}

/** The descriptor that LAR, LSL, VERR and VERW may see; `undefined` where ZF is to be cleared. */
const visible = (cpu: Cpu, selector: number): Descriptor | undefined => {
  if (isNull(selector)) return undefined
  const found = findDescriptor(cpu, selector)
  if (found === undefined) return undefined
  if (!isConforming(found.rights) && Math.max(cpu.cpl, selector & 3) > dplOf(found.rights)) return undefined
  return found
}

/** SDM Vol. 2D, "VERR/VERW". */
export const verify = (cpu: Cpu, selector: number, access: 'read' | 'write'): boolean => {
  const found = visible(cpu, selector)
  if (found === undefined) return false
  return access === 'read' ? isReadable(found.rights) : isWritableData(found.rights)
}

const tss = (cpu: Cpu): readonly number[] =>
  isLong(cpu)
    ? [DESCRIPTOR_TSS, DESCRIPTOR_TSS_BUSY]
    : [DESCRIPTOR_TSS16, DESCRIPTOR_TSS16_BUSY, DESCRIPTOR_TSS, DESCRIPTOR_TSS_BUSY]

/** SDM Vol. 2A, "LAR": the second doubleword of the descriptor, masked. */
export const lar = (cpu: Cpu, selector: number): bigint | undefined => {
  const found = visible(cpu, selector)
  if (found === undefined) return undefined
  const gates = isLong(cpu)
    ? [DESCRIPTOR_CALL_GATE]
    : [DESCRIPTOR_CALL_GATE16, DESCRIPTOR_TASK_GATE, DESCRIPTOR_CALL_GATE]
  const known = [DESCRIPTOR_LDT, ...tss(cpu), ...gates]
  if (isSystem(found.rights) && !known.includes(typeOf(found.rights))) return undefined
  return BigInt((found.high & 0x00ff_ff00) >>> 0)
}

/** SDM Vol. 2A, "LSL". */
export const lsl = (cpu: Cpu, selector: number): bigint | undefined => {
  const found = visible(cpu, selector)
  if (found === undefined) return undefined
  if (isSystem(found.rights) && ![DESCRIPTOR_LDT, ...tss(cpu)].includes(typeOf(found.rights))) return undefined
  return BigInt(found.limit)
}
