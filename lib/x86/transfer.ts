/** Far JMP, CALL and RET, call gates and IRET. SDM Vol. 2A and 2B, under their names; Vol. 3A, "Protection". */
import {
  DESCRIPTOR_CALL_GATE,
  DESCRIPTOR_CALL_GATE16,
  DESCRIPTOR_TASK_GATE,
  DESCRIPTOR_TSS,
  DESCRIPTOR_TSS16,
  RFLAGS_AC,
  RFLAGS_ID,
  RFLAGS_IF,
  RFLAGS_IOPL,
  RFLAGS_NT,
  RFLAGS_RF,
  RFLAGS_VIF,
  RFLAGS_VIP,
  RFLAGS_VM,
  RIGHTS,
  VECTOR_GP,
  VECTOR_NP,
} from '#abi'
import { NotModelled, type Size, wrap } from '#bits'
import type { Cpu } from './cpu.ts'
import { CS, SS } from './insn.ts'
import { innerStack, readTss } from './interrupt.ts'
import {
  type Descriptor,
  descriptorOf,
  dplOf,
  dropInnerSegments,
  isCode,
  isConforming,
  isLong,
  isNull,
  isPresent,
  isProtected,
  isSystem,
  loadNullStack,
  longBase,
  markAccessed,
  refuseVm86,
  stackDescriptor,
  typeOf,
} from './segments.ts'
import { currentStack, Stack, widthOf } from './stack.ts'
import { switchTask } from './task.ts'

type OperandSize = 2 | 4 | 8
type Level = 0 | 1 | 2 | 3

const is64Code = (cpu: Cpu, rights: number): boolean => isLong(cpu) && (rights & RIGHTS.L) !== 0

/** #GP(0) unless `offset` is a place to execute from in this code segment. */
const checkOffset = (cpu: Cpu, target: Descriptor, offset: bigint): void => {
  const good = is64Code(cpu, target.rights) ? cpu.isCanonical(offset) : offset <= BigInt(target.limit)
  if (!good) cpu.raise(VECTOR_GP, 0)
}

const checkCodeBits = (cpu: Cpu, rights: number, code: number): void => {
  const both = RIGHTS.L | RIGHTS.DB
  if (isLong(cpu) && (rights & both) === both) cpu.raise(VECTOR_GP, code)
}

/** A code segment named by a JMP or CALL itself, without a gate. */
const checkDirect = (cpu: Cpu, selector: number, target: Descriptor): void => {
  const code = selector & 0xfffc
  const dpl = dplOf(target.rights)
  const allowed = isConforming(target.rights) ? dpl <= cpu.cpl : (selector & 3) <= cpu.cpl && dpl === cpu.cpl
  if (!allowed) cpu.raise(VECTOR_GP, code)
  checkCodeBits(cpu, target.rights, code)
  if (!isPresent(target.rights)) cpu.raise(VECTOR_NP, code)
}

const go = (cpu: Cpu, selector: number, target: Descriptor, level: Level, offset: bigint): void => {
  const rights = markAccessed(cpu, target)
  cpu.segments[CS]!.set((selector & 0xfffc) | level, target.base, target.limit, rights)
  cpu.next = offset
  cpu.refresh()
}

type CallGate = {
  readonly selector: number
  readonly offset: bigint
  readonly size: OperandSize
  /** Words that a legacy gate copies from stack to stack. */
  readonly parameters: number
  readonly target: Descriptor
}

/** Reads a call gate that the caller may use, and the code segment behind it. */
const callGate = (cpu: Cpu, selector: number, gate: Descriptor): CallGate => {
  const code = selector & 0xfffc
  if (dplOf(gate.rights) < Math.max(cpu.cpl, selector & 3)) cpu.raise(VECTOR_GP, code)
  if (!isPresent(gate.rights)) cpu.raise(VECTOR_NP, code)
  const long = isLong(cpu)
  const short = typeOf(gate.rights) === DESCRIPTOR_CALL_GATE16
  const low = BigInt(short ? gate.low & 0xffff : ((gate.high & 0xffff_0000) | (gate.low & 0xffff)) >>> 0)
  const offset = long ? (longBase(cpu, { ...gate, base: low }, selector) & ~0xffff_ffffn) | low : low
  if (long && !cpu.isCanonical(offset)) cpu.raise(VECTOR_GP, code)
  const to = gate.low >>> 16
  if (isNull(to)) cpu.raise(VECTOR_GP, 0)
  const target = descriptorOf(cpu, to)
  if (!isCode(target.rights) || dplOf(target.rights) > cpu.cpl) cpu.raise(VECTOR_GP, to & 0xfffc)
  if (long && (target.rights & (RIGHTS.L | RIGHTS.DB)) !== RIGHTS.L) cpu.raise(VECTOR_GP, to & 0xfffc)
  if (!isPresent(target.rights)) cpu.raise(VECTOR_NP, to & 0xfffc)
  return { selector: to, offset, size: long ? 8 : short ? 2 : 4, parameters: gate.high & 31, target }
}

/** What a far pointer's descriptor leads to other than code. Task switches do not come back. */
const gateOrTask = (cpu: Cpu, selector: number, found: Descriptor, how: 'jump' | 'call'): CallGate => {
  const type = typeOf(found.rights)
  if (isSystem(found.rights)) {
    if (type === DESCRIPTOR_CALL_GATE || (type === DESCRIPTOR_CALL_GATE16 && !isLong(cpu))) {
      return callGate(cpu, selector, found)
    }
    if (type === DESCRIPTOR_TASK_GATE || type === DESCRIPTOR_TSS || type === DESCRIPTOR_TSS16) {
      if (dplOf(found.rights) < Math.max(cpu.cpl, selector & 3)) cpu.raise(VECTOR_GP, selector & 0xfffc)
      return switchTask(cpu, selector, how)
    }
  }
  return cpu.raise(VECTOR_GP, selector & 0xfffc)
}

const realTarget = (cpu: Cpu, selector: number, offset: bigint): void => {
  const cs = cpu.segments[CS]!
  if (offset > BigInt(cs.limit)) cpu.raise(VECTOR_GP, 0)
  cs.selector = selector
  cs.base = BigInt(selector << 4)
  cpu.next = offset
}

export const farJump = (cpu: Cpu, selector: number, offset: bigint, _size: OperandSize): void => {
  refuseVm86(cpu)
  if (!isProtected(cpu)) {
    realTarget(cpu, selector, offset)
    return
  }
  if (isNull(selector)) cpu.raise(VECTOR_GP, 0)
  const found = descriptorOf(cpu, selector)
  if (isCode(found.rights)) {
    checkDirect(cpu, selector, found)
    checkOffset(cpu, found, offset)
    go(cpu, selector, found, cpu.cpl, offset)
    return
  }
  const gate = gateOrTask(cpu, selector, found, 'jump')
  // A JMP through a gate does not change the privilege.
  if (!isConforming(gate.target.rights) && dplOf(gate.target.rights) !== cpu.cpl) {
    cpu.raise(VECTOR_GP, gate.selector & 0xfffc)
  }
  checkOffset(cpu, gate.target, gate.offset)
  go(cpu, gate.selector, gate.target, cpu.cpl, gate.offset)
}

export const farCall = (cpu: Cpu, selector: number, offset: bigint, size: OperandSize): void => {
  refuseVm86(cpu)
  const link = (stack: Stack, width: OperandSize) => {
    stack.push(BigInt(cpu.segments[CS]!.selector), width)
    stack.push(cpu.next, width)
  }
  if (!isProtected(cpu)) {
    if (offset > BigInt(cpu.segments[CS]!.limit)) cpu.raise(VECTOR_GP, 0)
    const stack = currentStack(cpu)
    link(stack, size)
    realTarget(cpu, selector, offset)
    cpu.gpr[4] = stack.pointer
    return
  }
  if (isNull(selector)) cpu.raise(VECTOR_GP, 0)
  const found = descriptorOf(cpu, selector)
  if (isCode(found.rights)) {
    checkDirect(cpu, selector, found)
    const stack = currentStack(cpu)
    checkOffset(cpu, found, offset)
    link(stack, size)
    go(cpu, selector, found, cpu.cpl, offset)
    cpu.gpr[4] = stack.pointer
    return
  }
  const gate = gateOrTask(cpu, selector, found, 'call')
  checkOffset(cpu, gate.target, gate.offset)
  if (!isConforming(gate.target.rights) && dplOf(gate.target.rights) < cpu.cpl) {
    callInner(cpu, gate)
    return
  }
  const stack = currentStack(cpu)
  link(stack, gate.size)
  go(cpu, gate.selector, gate.target, cpu.cpl, gate.offset)
  cpu.gpr[4] = stack.pointer
}

/** A call gate to a more privileged ring: the stack comes from the TSS. */
const callInner = (cpu: Cpu, gate: CallGate): void => {
  const level = dplOf(gate.target.rights) as Level
  const ss = cpu.segments[SS]!
  const [oldSelector, oldPointer] = [ss.selector, cpu.gpr[4]!]
  const { size } = gate
  if (isLong(cpu)) {
    const stack = new Stack(cpu, ss, readTss(cpu, 4 + level * 8, 8, 0), 8, level)
    for (const value of [BigInt(oldSelector), oldPointer, BigInt(cpu.segments[CS]!.selector), cpu.next]) {
      stack.push(value, 8)
    }
    go(cpu, gate.selector, gate.target, level, gate.offset)
    loadNullStack(cpu, level, level)
    cpu.gpr[4] = stack.pointer
    cpu.refresh()
    return
  }
  const next = innerStack(cpu, level, 0)
  const stack = new Stack(cpu, next.found, next.pointer, widthOf(next.found.rights), level, next.selector & 0xfffc)
  const old = currentStack(cpu)
  const parameters = Array.from({ length: gate.parameters }, () => old.pop(size))
  stack.push(BigInt(oldSelector), size)
  stack.push(oldPointer, size)
  for (const parameter of parameters.reverse()) stack.push(parameter, size)
  stack.push(BigInt(cpu.segments[CS]!.selector), size)
  stack.push(cpu.next, size)
  const stackRights = markAccessed(cpu, next.found)
  go(cpu, gate.selector, gate.target, level, gate.offset)
  ss.set(next.selector, next.found.base, next.found.limit, stackRights)
  cpu.gpr[4] = stack.pointer
  cpu.refresh()
}

/** The code segment that RET and IRET go back to; its RPL becomes the CPL. */
const returnTarget = (cpu: Cpu, selector: number): Descriptor => {
  if (isNull(selector)) cpu.raise(VECTOR_GP, 0)
  const code = selector & 0xfffc
  const found = descriptorOf(cpu, selector)
  const rpl = selector & 3
  const dpl = dplOf(found.rights)
  if (!isCode(found.rights) || rpl < cpu.cpl) cpu.raise(VECTOR_GP, code)
  if (isConforming(found.rights) ? dpl > rpl : dpl !== rpl) cpu.raise(VECTOR_GP, code)
  checkCodeBits(cpu, found.rights, code)
  if (!isPresent(found.rights)) cpu.raise(VECTOR_NP, code)
  return found
}

/** Goes back to `selector:offset` and, where `outer`, to the stack popped with it. */
const goBack = (
  cpu: Cpu,
  target: Descriptor,
  selector: number,
  offset: bigint,
  outer: { readonly selector: number; readonly pointer: bigint } | undefined,
): void => {
  const level = (selector & 3) as Level
  const was = cpu.cpl
  const ss = cpu.segments[SS]!
  const isNullStack = outer !== undefined && isNull(outer.selector)
  if (isNullStack && (!is64Code(cpu, target.rights) || level === 3)) cpu.raise(VECTOR_GP, 0)
  const found = outer === undefined || isNullStack ? undefined : stackDescriptor(cpu, outer.selector, level, VECTOR_GP)
  checkOffset(cpu, target, offset)
  const stackRights = found === undefined ? 0 : markAccessed(cpu, found)
  go(cpu, selector, target, level, offset)
  if (outer === undefined) return
  if (found === undefined) loadNullStack(cpu, outer.selector, level)
  else ss.set(outer.selector, found.base, found.limit, stackRights)
  cpu.refresh()
  cpu.gpr[4] = cpu.stackSize === 2 ? (cpu.gpr[4]! & ~0xffffn) | (outer.pointer & 0xffffn) : wrapTo(cpu, outer.pointer)
  if (level > was) dropInnerSegments(cpu)
}
const wrapTo = (cpu: Cpu, pointer: bigint): bigint => wrap(pointer, cpu.stackSize as Size)

/** RETF, releasing `bytes` of parameters from both stacks. */
export const farReturn = (cpu: Cpu, size: OperandSize, bytes: number): void => {
  refuseVm86(cpu)
  cpu.context = undefined
  const stack = currentStack(cpu)
  const offset = stack.pop(size)
  const selector = Number(stack.pop(size) & 0xffffn)
  stack.release(bytes)
  if (!isProtected(cpu)) {
    realTarget(cpu, selector, offset)
    cpu.gpr[4] = stack.pointer
    return
  }
  const target = returnTarget(cpu, selector)
  if ((selector & 3) === cpu.cpl) {
    goBack(cpu, target, selector, offset, undefined)
    cpu.gpr[4] = stack.pointer
    return
  }
  const pointer = stack.pop(size)
  const outer = { pointer, selector: Number(stack.pop(size) & 0xffffn) }
  goBack(cpu, target, selector, offset, outer)
  const released = wrap(cpu.gpr[4]! + BigInt(bytes), cpu.stackSize as Size)
  cpu.gpr[4] = cpu.stackSize === 2 ? (cpu.gpr[4]! & ~0xffffn) | released : released
}

const ARITHMETIC = 0x0dd5n

/** RFLAGS after IRET at `cpl`: what privilege does not allow to change stays. */
const returnFlags = (cpu: Cpu, popped: bigint, size: OperandSize, cpl: number): bigint => {
  let change = ARITHMETIC | RFLAGS_NT | (size === 2 ? 0n : RFLAGS_RF | RFLAGS_AC | RFLAGS_ID)
  const iopl = Number((cpu.rflags & RFLAGS_IOPL) >> 12n)
  if (cpl <= iopl) change |= RFLAGS_IF
  if (cpl === 0) change |= RFLAGS_IOPL | (size === 2 ? 0n : RFLAGS_VIF | RFLAGS_VIP)
  return (cpu.rflags & ~change) | (popped & change)
}

export const iret = (cpu: Cpu, size: OperandSize): void => {
  refuseVm86(cpu)
  cpu.context = undefined
  const cpl = cpu.cpl
  if (isProtected(cpu) && (cpu.systemFlags & Number(RFLAGS_NT)) !== 0) {
    if (isLong(cpu)) cpu.raise(VECTOR_GP, 0)
    switchTask(cpu, Number(readTss(cpu, 0, 2, 0)), 'iret')
  }
  const stack = currentStack(cpu)
  const offset = stack.pop(size)
  const selector = Number(stack.pop(size) & 0xffffn)
  const flags = stack.pop(size)
  if (!isProtected(cpu)) {
    realTarget(cpu, selector, offset)
    cpu.gpr[4] = stack.pointer
  } else {
    if (!isLong(cpu) && cpl === 0 && size !== 2 && (flags & RFLAGS_VM) !== 0n) {
      throw new NotModelled('IRET to virtual-8086 mode')
    }
    const target = returnTarget(cpu, selector)
    // 64-bit code pops the stack even if it stays in its ring.
    if (cpu.mode === 64 || (selector & 3) !== cpl) {
      const pointer = stack.pop(size)
      goBack(cpu, target, selector, offset, { pointer, selector: Number(stack.pop(size) & 0xffffn) })
    } else {
      goBack(cpu, target, selector, offset, undefined)
      cpu.gpr[4] = stack.pointer
    }
  }
  cpu.rflags = returnFlags(cpu, flags, size, cpl)
  cpu.nmiBlocked = false
}
