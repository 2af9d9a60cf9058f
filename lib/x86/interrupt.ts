/** Delivery of exceptions and interrupts. SDM Vol. 3A, "Interrupt and Exception Handling". */
import {
  DESCRIPTOR_INTERRUPT_GATE,
  DESCRIPTOR_INTERRUPT_GATE16,
  DESCRIPTOR_TASK_GATE,
  DESCRIPTOR_TRAP_GATE,
  DESCRIPTOR_TRAP_GATE16,
  DESCRIPTOR_TSS16_BUSY,
  RFLAGS_AC,
  RFLAGS_IF,
  RFLAGS_NT,
  RFLAGS_RF,
  RFLAGS_TF,
  RFLAGS_VM,
  RIGHTS,
  VECTOR_BP,
  VECTOR_DB,
  VECTOR_DF,
  VECTOR_GP,
  VECTOR_NMI,
  VECTOR_NP,
  VECTOR_OF,
  VECTOR_SS,
  VECTOR_TS,
} from '#abi'
import type { Cpu } from './cpu.ts'
import { Fault, Leave, vmExit } from './fault.ts'
import { CS, SS } from './insn.ts'
import {
  type Descriptor,
  descriptorOf,
  dplOf,
  isCode,
  isConforming,
  isLong,
  isNull,
  isPresent,
  isProtected,
  isSystem,
  loadNullStack,
  markAccessed,
  parse,
  refuseVm86,
  stackDescriptor,
  typeOf,
} from './segments.ts'
import { currentStack, Stack, widthOf } from './stack.ts'
import { switchTask } from './task.ts'
import {
  EXIT_REASON_EXCEPTION_NMI,
  EXIT_REASON_PREEMPTION_TIMER,
  EXIT_REASON_TRIPLE_FAULT,
  type VmExit,
} from './vmx.ts'

/** `stop` is no event of the guest: the run ends there, as if its budget were used up. */
export type EventKind = 'external' | 'nmi' | 'exception' | 'software' | 'stop'
/** Says which interrupt comes only when one can be taken: a local APIC. */
export type InterruptSource = {
  /** Has it an interrupt that may be taken, as far as it is concerned? */
  ready(): boolean
  /** The vector that is taken now. */
  take(): number
}
/** An event from outside: interrupts and NMIs wait until they may be taken, the others come at once. */
export type Event = {
  readonly vector: number
  readonly kind: EventKind
  readonly errorCode?: number
  readonly source?: InterruptSource
}
export type SoftwareKind = 'int' | 'int3' | 'into' | 'int1'
/** Until the end of the following instruction: STI holds off interrupts, MOV SS debug traps and NMIs too. */
export type Shadow = 'none' | 'sti' | 'mov-ss'

/** How an event comes: what its gate is asked, what is pushed. */
type Delivery = {
  readonly vector: number
  readonly errorCode: number | undefined
  /** INT n, INT3 and INTO ask for the gate's DPL. */
  readonly software: boolean
  /** Pushed RIP. */
  readonly back: bigint
  /** The pushed flags have RF set. */
  readonly resume: boolean
}

const CLEARED = RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM

/** Real mode: the interrupt vector table. */
const deliverReal = (cpu: Cpu, event: Delivery): void => {
  const at = event.vector * 4
  if (at + 3 > cpu.idtr.limit) throw new Fault(VECTOR_GP)
  const pointer = cpu.readSystem((cpu.idtr.base + BigInt(at)) & 0xffff_ffffn, 4)
  const stack = currentStack(cpu)
  stack.push(cpu.rflags, 2)
  stack.push(BigInt(cpu.segments[CS]!.selector), 2)
  stack.push(event.back, 2)
  cpu.gpr[4] = stack.pointer
  cpu.rflags &= ~(RFLAGS_IF | RFLAGS_TF | RFLAGS_AC | RFLAGS_RF)
  const cs = cpu.segments[CS]!
  cs.selector = Number(pointer >> 16n)
  cs.base = BigInt(cs.selector << 4)
  cpu.rip = pointer & 0xffffn
}

type Gate = { readonly selector: number; readonly offset: bigint; readonly type: number; readonly ist: number }

const readGate = (cpu: Cpu, event: Delivery, ext: number): Gate => {
  const long = isLong(cpu)
  const bytes = long ? 16 : 8
  const at = event.vector * bytes
  const code = event.vector * 8 + 2 + ext
  if (at + bytes - 1 > cpu.idtr.limit) cpu.raise(VECTOR_GP, code)
  const linear = BigInt.asUintN(long ? 64 : 32, cpu.idtr.base + BigInt(at))
  const { low, high, rights } = parse(cpu.readSystem(linear, 8), linear)
  const type = typeOf(rights)
  const known = long
    ? type === DESCRIPTOR_INTERRUPT_GATE || type === DESCRIPTOR_TRAP_GATE
    : type === DESCRIPTOR_TASK_GATE ||
      type === DESCRIPTOR_INTERRUPT_GATE16 ||
      type === DESCRIPTOR_TRAP_GATE16 ||
      type === DESCRIPTOR_INTERRUPT_GATE ||
      type === DESCRIPTOR_TRAP_GATE
  if (!isSystem(rights) || !known) cpu.raise(VECTOR_GP, code)
  if (event.software && dplOf(rights) < cpu.cpl) cpu.raise(VECTOR_GP, code)
  if (!isPresent(rights)) cpu.raise(VECTOR_NP, code)
  let offset = (high & 0xffff_0000) | (low & 0xffff)
  if (type === DESCRIPTOR_INTERRUPT_GATE16 || type === DESCRIPTOR_TRAP_GATE16) offset &= 0xffff
  const upper = long ? cpu.readSystem(BigInt.asUintN(64, linear + 8n), 8) & 0xffff_ffffn : 0n
  return { selector: low >>> 16, offset: (upper << 32n) | BigInt(offset >>> 0), type, ist: long ? high & 7 : 0 }
}

/** The code segment a gate leads to. */
const gateTarget = (cpu: Cpu, selector: number, ext: number): Descriptor => {
  if (isNull(selector)) cpu.raise(VECTOR_GP, ext)
  const code = (selector & 0xfffc) | ext
  const found = descriptorOf(cpu, selector, VECTOR_GP, ext)
  if (!isCode(found.rights) || dplOf(found.rights) > cpu.cpl) cpu.raise(VECTOR_GP, code)
  if (isLong(cpu) && (found.rights & (RIGHTS.L | RIGHTS.DB)) !== RIGHTS.L) cpu.raise(VECTOR_GP, code)
  if (!isPresent(found.rights)) cpu.raise(VECTOR_NP, code)
  return found
}

/** A field of the current TSS; #TS(TR) where its limit does not reach. */
export const readTss = (cpu: Cpu, offset: number, size: 2 | 4 | 8, ext: number): bigint => {
  if (offset + size - 1 > cpu.tr.limit) cpu.raise(VECTOR_TS, (cpu.tr.selector & 0xfffc) | ext)
  return cpu.readSystem(BigInt.asUintN(isLong(cpu) ? 64 : 32, cpu.tr.base + BigInt(offset)), size)
}

/** The legacy stack for privilege `level`: SS and its descriptor, and the stack pointer. */
export const innerStack = (cpu: Cpu, level: number, ext: number) => {
  const wide = typeOf(cpu.tr.rights) !== DESCRIPTOR_TSS16_BUSY
  const pointer = wide ? readTss(cpu, 4 + level * 8, 4, ext) : readTss(cpu, 2 + level * 4, 2, ext)
  const selector = Number(wide ? readTss(cpu, 8 + level * 8, 2, ext) : readTss(cpu, 4 + level * 4, 2, ext))
  if (isNull(selector)) cpu.raise(VECTOR_TS, ext)
  return { selector, found: stackDescriptor(cpu, selector, level, VECTOR_TS, ext), pointer }
}

/** Puts CS, RIP and the privilege in force. */
const enter = (cpu: Cpu, gate: Gate, target: Descriptor, rights: number, level: 0 | 1 | 2 | 3): void => {
  cpu.segments[CS]!.set((gate.selector & 0xfffc) | level, target.base, target.limit, rights)
  cpu.rip = gate.offset
  const isInterrupt = gate.type === DESCRIPTOR_INTERRUPT_GATE || gate.type === DESCRIPTOR_INTERRUPT_GATE16
  cpu.rflags &= ~(isInterrupt ? CLEARED | RFLAGS_IF : CLEARED)
  cpu.cpl = level
}

const deliverProtected = (cpu: Cpu, event: Delivery): void => {
  refuseVm86(cpu)
  const ext = event.software ? 0 : 1
  const gate = readGate(cpu, event, ext)
  if (gate.type === DESCRIPTOR_TASK_GATE) switchTask(cpu, gate.selector, 'gate')
  const target = gateTarget(cpu, gate.selector, ext)
  const inner = !isConforming(target.rights) && dplOf(target.rights) < cpu.cpl
  const level = inner ? dplOf(target.rights) : cpu.cpl
  const long = isLong(cpu)
  const ss = cpu.segments[SS]!
  const oldStack = cpu.gpr[4]!
  const size = long ? 8 : gate.type === DESCRIPTOR_INTERRUPT_GATE16 || gate.type === DESCRIPTOR_TRAP_GATE16 ? 2 : 4

  let stack: Stack
  let newSs: { selector: number; found: Descriptor } | undefined
  if (long) {
    let pointer = oldStack
    if (gate.ist !== 0) pointer = readTss(cpu, 36 + (gate.ist - 1) * 8, 8, ext)
    else if (inner) pointer = readTss(cpu, 4 + level * 8, 8, ext)
    if (!cpu.isCanonical(pointer)) cpu.raise(VECTOR_SS, ext)
    stack = new Stack(cpu, ss, pointer & ~0xfn, 8, level, ext)
  } else if (inner) {
    const next = innerStack(cpu, level, ext)
    newSs = next
    const code = (next.selector & 0xfffc) | ext
    stack = new Stack(cpu, next.found, next.pointer, widthOf(next.found.rights), level, code)
  } else stack = currentStack(cpu, ext)

  if (long ? !cpu.isCanonical(gate.offset) : gate.offset > BigInt(target.limit)) cpu.raise(VECTOR_GP, ext)
  if (long || inner) {
    stack.push(BigInt(ss.selector), size)
    stack.push(oldStack, size)
  }
  stack.push(event.resume ? cpu.rflags | RFLAGS_RF : cpu.rflags, size)
  stack.push(BigInt(cpu.segments[CS]!.selector), size)
  stack.push(event.back, size)
  if (event.errorCode !== undefined) stack.push(BigInt(event.errorCode), size)
  const rights = markAccessed(cpu, target)
  const stackRights = newSs === undefined ? 0 : markAccessed(cpu, newSs.found)

  // Every check has passed: nothing below can fail.
  cpu.gpr[4] = stack.pointer
  if (newSs !== undefined) ss.set(newSs.selector, newSs.found.base, newSs.found.limit, stackRights)
  else if (long && inner) loadNullStack(cpu, level, level)
  enter(cpu, gate, target, rights, level as 0 | 1 | 2 | 3)
}

const deliver = (cpu: Cpu, event: Delivery): void => {
  cpu.isStepping = false
  if (isProtected(cpu)) deliverProtected(cpu, event)
  else deliverReal(cpu, event)
}

/**
 * INT n, INT3, INTO, INT1. Errors of their gates are the instruction's own, with EXT clear (INT1: set). Whoever stops at
 * exceptions is asked once the gate allows the instruction; INT1 then stops at itself, as the test vectors have it,
 * though what it pushes is the following instruction, as the manual has it.
 */
export const softwareInterrupt = (cpu: Cpu, vector: number, kind: SoftwareKind): void => {
  const software = kind !== 'int1'
  const event = { vector, errorCode: undefined, software, back: cpu.next, resume: false }
  if (cpu.onFault !== undefined) {
    if (software && isProtected(cpu)) readGate(cpu, event, 0)
    const trap = new Fault(vector)
    if (cpu.onFault(trap) === 'stop') {
      if (software) cpu.rip = cpu.next
      throw new Leave(exceptionExit(trap))
    }
  }
  if (kind === 'int1') {
    // A breakpoint that MOV SS held off comes with it, as one #DB: kvm-unit-tests, x86/debug.c.
    cpu.dr[6] = cpu.dr[6]! | BigInt(cpu.met)
    cpu.met = 0
  }
  deliver(cpu, event)
  cpu.next = cpu.rip
}

type Class = 'benign' | 'contributory' | 'page'
/** SDM Vol. 3A, "Interrupt 8—Double Fault Exception (#DF)". */
const classOf = (vector: number): Class => {
  if (vector === 14 || vector === 20) return 'page'
  return vector === 0 || (vector >= 10 && vector <= 13) || vector === 21 ? 'contributory' : 'benign'
}
const doubles = (first: number, second: number): boolean => {
  const [a, b] = [classOf(first), classOf(second)]
  return (a === 'contributory' && b === 'contributory') || (a === 'page' && b !== 'benign')
}

/** The exit of an exception that was to stop the run: vector in bits 7:0, error code in 63:32, bit 11 where it has one. */
export const exceptionExit = (fault: Fault): VmExit => {
  const code = fault.errorCode === undefined ? 0n : (1n << 11n) | (BigInt(fault.errorCode) << 32n)
  return vmExit(EXIT_REASON_EXCEPTION_NMI, { qualification: BigInt(fault.vector) | code })
}

/** Traps are over when they are raised, and the flags they push are as they were. */
const isTrap = (fault: Fault): boolean =>
  fault.isTrap || fault.vector === VECTOR_BP || fault.vector === VECTOR_OF || fault.vector === VECTOR_DF

const note = (cpu: Cpu, { vector, errorCode, cr2 }: Fault): void =>
  cpu.faults.push({ vector, errorCode, cr2, rip: cpu.rip, rsp: cpu.gpr[4]!, instructions: cpu.instructions })

/**
 * Delivers an exception, and those that come of delivering it, up to #DF. Throws `Leave` with a triple fault where
 * that fails too.
 */
export const deliverFault = (cpu: Cpu, raised: Fault): void => {
  if (cpu.onFault?.(raised) === 'stop') throw new Leave(exceptionExit(raised))
  let fault = raised
  cpu.faults.begin()
  note(cpu, raised)
  for (;;) {
    if (fault.cr2 !== undefined) cpu.cr2 = fault.cr2
    if (fault.vector === VECTOR_DB) {
      // Which breakpoints were met is of this one; the other bits stay until software clears them.
      cpu.dr[6] = (cpu.dr[6]! & ~0xfn) | fault.dr6
      cpu.dr[7] = cpu.dr[7]! & ~(1n << 13n)
    }
    try {
      // In real mode no exception has an error code.
      const errorCode = isProtected(cpu) ? fault.errorCode : undefined
      const { vector } = fault
      deliver(cpu, { vector, errorCode, software: false, back: cpu.rip, resume: !isTrap(fault) })
      return
    } catch (second) {
      if (!(second instanceof Fault)) throw second
      note(cpu, second)
      if (fault.vector === VECTOR_DF) throw new Leave(vmExit(EXIT_REASON_TRIPLE_FAULT))
      if (second.cr2 !== undefined) cpu.cr2 = second.cr2
      fault = doubles(fault.vector, second.vector) ? new Fault(VECTOR_DF, 0) : second
    }
  }
}

/** Delivers an event from outside. Faults of doing so are delivered after it, as exceptions of their own. */
const deliverEvent = (cpu: Cpu, { vector, kind, errorCode }: Event): void => {
  if (kind === 'exception') {
    deliverFault(cpu, new Fault(vector, errorCode))
    return
  }
  try {
    deliver(cpu, { vector, errorCode: undefined, software: kind === 'software', back: cpu.rip, resume: false })
  } catch (fault) {
    if (!(fault instanceof Fault)) throw fault
    deliverFault(cpu, fault)
  }
}

/** Keeps the CPU's events in step with a source: one of its own is pending exactly while it is ready. */
export const offer = (cpu: Cpu, source: InterruptSource): void => {
  const at = cpu.pending.findIndex(event => event.source === source)
  if (source.ready() === at >= 0) return
  if (at >= 0) cpu.pending.splice(at, 1)
  else cpu.pending.push({ vector: 0, kind: 'external', source })
}

const isDue = (cpu: Cpu, { kind }: Event): boolean => {
  if (kind === 'external') return (cpu.systemFlags & Number(RFLAGS_IF)) !== 0 && cpu.shadow === 'none'
  if (kind === 'nmi') return !cpu.nmiBlocked && cpu.shadow !== 'mov-ss'
  return true
}

/** Delivers the events that may be taken now. An event stays pending if delivering it leaves the guest. */
export const deliverPending = (cpu: Cpu): void => {
  for (;;) {
    const index = cpu.pending.findIndex(event => isDue(cpu, event))
    if (index < 0) return
    let event = cpu.pending[index]!
    if (event.kind === 'stop' || event.source !== undefined) cpu.pending.splice(index, 1)
    if (event.kind === 'stop') throw new Leave(vmExit(EXIT_REASON_PREEMPTION_TIMER))
    if (event.source !== undefined) {
      event = { vector: event.source.take(), kind: 'external' }
      cpu.pending.splice(index, 0, event)
    }
    deliverEvent(cpu, event.kind === 'nmi' ? { ...event, vector: VECTOR_NMI } : event)
    cpu.pending.splice(cpu.pending.indexOf(event), 1)
    if (event.kind === 'nmi') cpu.nmiBlocked = true
    cpu.shadow = 'none'
  }
}
