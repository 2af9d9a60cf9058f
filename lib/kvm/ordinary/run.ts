/** KVM_RUN of an ordinary VM's vCPU: the processor runs, and its VM exits become a kvm_run. Linux arch/x86/kvm/vmx/vmx.c and x86.c. */
import {
  KVM_EXIT_HLT,
  KVM_EXIT_INTERNAL_ERROR,
  KVM_EXIT_IO,
  KVM_EXIT_IRQ_WINDOW_OPEN,
  KVM_EXIT_MMIO,
  KVM_EXIT_SHUTDOWN,
  KVM_INTERNAL_ERROR_EMULATION,
  KVM_MP_STATE_HALTED,
  KVM_PIO_PAGE_OFFSET,
  kvm_run,
  kvm_run_internal,
  kvm_run_io,
  kvm_run_mmio,
  VECTOR_GP,
  VECTOR_UD,
} from '#abi'
import { NotModelled, readUint, type Size, writeUint } from '#bits'
import * as x86 from '#x86'
import { type Cpu, completeXsetbv, Fault, type VmExit } from '#x86'
import { hypercall } from '../exit/hypercall.ts'
import type { Vcpu } from '../vcpu.ts'
import type { OrdinaryCpu } from './cpu.ts'
import { type GuestDebug, goesOn, step, stopsAfter, stopsBefore } from './debug.ts'
import { guestRdmsr, guestWrmsr } from './msr.ts'
import { type Asked, directionOf } from './replay.ts'

/** Register numbers of `Cpu.gpr`. */
const [RAX, RCX, RDX, RBX, RSI] = [0, 1, 2, 3, 6]
const LOW = 0xffff_ffffn

const { offset: IO } = kvm_run_io
const { offset: MMIO } = kvm_run_mmio

const exitMmio = ({ view, exit }: Vcpu, at: number, size: number, isWrite: boolean, value: bigint): void => {
  view.setBigUint64(exit + MMIO.phys_addr, BigInt(at), true)
  view.setBigUint64(exit + MMIO.data, value, true)
  view.setUint32(exit + MMIO.len, size, true)
  view.setUint8(exit + MMIO.is_write, isWrite ? 1 : 0)
}

/** What userspace has put where the guest's read looks for it. */
const answer = (vcpu: Vcpu, asked: Asked): void => {
  if (!asked.isWrite && asked.kind === 'port') asked.value = readUint(vcpu.view, vcpu.pio, asked.size as Size)
  else if (!asked.isWrite) {
    const data = vcpu.view.getBigUint64(vcpu.exit + MMIO.data, true)
    asked.value = BigInt.asUintN(8 * asked.size, data)
  }
}

/** An access that userspace answers. MMIO writes are told once the instruction is over, as KVM's emulator does. */
const handleAsked = (vcpu: Vcpu, ordinary: OrdinaryCpu, asked: Asked): boolean => {
  const { answered } = ordinary.replay
  const { at, size, isWrite, value } = asked
  if (asked.kind === 'mmio' && isWrite) {
    ordinary.writes.push({ gpa: at, size, value })
    answered.push(asked)
    return true
  }
  if (asked.kind === 'mmio') {
    vcpu.exitReason = KVM_EXIT_MMIO
    exitMmio(vcpu, at, size, false, 0n)
  } else {
    if (isWrite && vcpu.vm.takesWrite(true, BigInt(at), size, value)) {
      answered.push(asked)
      return true
    }
    const { view, exit } = vcpu
    if (isWrite) writeUint(view, vcpu.pio, size as Size, value)
    vcpu.exitReason = KVM_EXIT_IO
    view.setUint8(exit + IO.direction, directionOf(asked))
    view.setUint8(exit + IO.size, size)
    view.setUint16(exit + IO.port, at, true)
    // Not modelled: more than one element of a string instruction at an exit.
    view.setUint32(exit + IO.count, 1, true)
    view.setBigUint64(exit + IO.data_offset, BigInt(KVM_PIO_PAGE_OFFSET), true)
  }
  vcpu.complete = () => {
    answer(vcpu, asked)
    answered.push(asked)
    return finish(vcpu, ordinary)
  }
  return false
}

/** Runs the instruction that was answered to its end, which KVM_RUN does even where it shall not enter the guest. */
const finish = (vcpu: Vcpu, ordinary: OrdinaryCpu): boolean => {
  const { cpu, replay } = ordinary
  while (replay.answered.length > 0) {
    replay.rewind()
    // Events come before the instruction or after it, never between an access and its answer.
    const held = cpu.pending.splice(0)
    const count = cpu.gpr[RCX]!
    const exit = cpu.step()
    const known = cpu.pending.flatMap(({ source }) => source ?? [])
    cpu.pending.unshift(...held.filter(({ source }) => source === undefined || !known.includes(source)))
    const { asked } = replay
    if (asked === undefined) {
      replay.clear()
      if (exit !== undefined && !handleExit(vcpu, ordinary, exit)) return false
    } else {
      replay.asked = undefined
      // A repeated string instruction has gone on to its next element.
      if (cpu.gpr[RCX] !== count) replay.clear()
      if (!handleAsked(vcpu, ordinary, asked)) return false
    }
  }
  return tellWrite(vcpu, ordinary)
}

/** The next MMIO write of an instruction that is over. */
const tellWrite = (vcpu: Vcpu, ordinary: OrdinaryCpu): boolean => {
  const write = ordinary.writes.shift()
  if (write === undefined) return true
  if (vcpu.vm.takesWrite(false, BigInt(write.gpa), write.size, write.value)) return tellWrite(vcpu, ordinary)
  vcpu.exitReason = KVM_EXIT_MMIO
  exitMmio(vcpu, write.gpa, write.size, true, write.value)
  vcpu.complete = () => tellWrite(vcpu, ordinary)
  return false
}

const raise = (cpu: Cpu, vector: number, errorCode?: number): boolean => {
  cpu.inject(errorCode === undefined ? { vector, kind: 'exception' } : { vector, kind: 'exception', errorCode })
  return true
}

const xsetbv = (cpu: Cpu, length: number): boolean => {
  const value = ((cpu.gpr[RDX]! & LOW) << 32n) | (cpu.gpr[RAX]! & LOW)
  try {
    completeXsetbv(cpu, Number(cpu.gpr[RCX]! & LOW), value)
  } catch (fault) {
    if (!(fault instanceof Fault)) throw fault
    return raise(cpu, VECTOR_GP, 0)
  }
  cpu.advance(length)
  return true
}

const cpuid = (cpu: Cpu, length: number): void => {
  const { gpr } = cpu
  const found = x86.answerCpuid(cpu, Number(gpr[RAX]! & LOW), Number(gpr[RCX]! & LOW))
  for (const [i, register] of [RAX, RBX, RCX, RDX].entries()) gpr[register] = BigInt(found[i]! >>> 0)
  cpu.advance(length)
}

const EPERM = BigInt.asUintN(64, -1n)

const vmcall = (vcpu: Vcpu, cpu: Cpu): boolean => {
  const { gpr } = cpu
  cpu.advance(3)
  const result = (value: bigint): void => {
    gpr[RAX] = value
  }
  if (cpu.cpl !== 0) {
    result(EPERM)
    return true
  }
  return hypercall(vcpu, gpr[RAX]!, [gpr[RBX]!, gpr[RCX]!, gpr[RDX]!, gpr[RSI]!], result)
}

/** KVM could not make sense of what the guest did: it fetches, or walks page tables, where no memory is. */
const emulationFailed = (vcpu: Vcpu): boolean => {
  vcpu.exitReason = KVM_EXIT_INTERNAL_ERROR
  kvm_run_internal.write(vcpu.view, vcpu.exit, { suberror: KVM_INTERNAL_ERROR_EMULATION, ndata: 0 })
  return false
}

const handleExit = (vcpu: Vcpu, ordinary: OrdinaryCpu, exit: VmExit): boolean => {
  const { cpu } = ordinary
  switch (exit.reason) {
    case x86.EXIT_REASON_PREEMPTION_TIMER:
      return true
    case x86.EXIT_REASON_CPUID:
      cpuid(cpu, exit.instructionLength)
      return true
    case x86.EXIT_REASON_RDMSR:
      return guestRdmsr(vcpu, ordinary, exit.instructionLength)
    case x86.EXIT_REASON_WRMSR:
      return guestWrmsr(vcpu, ordinary, exit.instructionLength)
    case x86.EXIT_REASON_XSETBV:
      return xsetbv(cpu, exit.instructionLength)
    case x86.EXIT_REASON_HLT:
      vcpu.counts.halt_exits++
      cpu.advance(exit.instructionLength)
      if (ordinary.apic === undefined) {
        vcpu.exitReason = KVM_EXIT_HLT
        return false
      }
      if (!vcpu.hasEvents) vcpu.mpState = KVM_MP_STATE_HALTED
      return true
    case x86.EXIT_REASON_VMCALL:
      return vmcall(vcpu, cpu)
    // Nothing to do: KVM takes them for NOPs, and there are no caches.
    case x86.EXIT_REASON_MONITOR:
    case x86.EXIT_REASON_MWAIT:
    case x86.EXIT_REASON_INVD:
    case x86.EXIT_REASON_WBINVD:
      cpu.advance(exit.instructionLength)
      return true
    case x86.EXIT_REASON_TDCALL:
    case x86.EXIT_REASON_SEAMCALL:
    case x86.EXIT_REASON_GETSEC:
    case x86.EXIT_REASON_RSM:
    case x86.EXIT_REASON_VMXON:
      return raise(cpu, VECTOR_UD)
    case x86.EXIT_REASON_EPT_VIOLATION:
      return emulationFailed(vcpu)
    case x86.EXIT_REASON_TRIPLE_FAULT:
      vcpu.exitReason = KVM_EXIT_SHUTDOWN
      return false
    default:
      throw new NotModelled(`an ordinary VM's VM exit with reason ${exit.reason}`)
  }
}

/** Userspace waits for the moment at which the guest takes an interrupt, and it has come. */
const windowOpens = (vcpu: Vcpu, ordinary: OrdinaryCpu): boolean => {
  if (ordinary.apic !== undefined || !ordinary.isReady) return false
  vcpu.exitReason = KVM_EXIT_IRQ_WINDOW_OPEN
  return true
}

/** One instruction of a guest that userspace debugs. */
const stepDebugged = (vcpu: Vcpu, ordinary: OrdinaryCpu, debug: GuestDebug): boolean => {
  if (ordinary.owesStep) {
    ordinary.owesStep = false
    return goesOn(vcpu, ordinary, debug)
  }
  if (stopsBefore(vcpu, ordinary, debug)) return false
  const { replay } = ordinary
  const { exit, met } = step(ordinary, debug)
  if (met !== 0n) return stopsAfter(vcpu, ordinary, debug, met)
  const { asked } = replay
  replay.asked = undefined
  const isOver =
    asked === undefined
      ? exit === undefined || handleExit(vcpu, ordinary, exit)
      : handleAsked(vcpu, ordinary, asked) && finish(vcpu, ordinary)
  if (isOver) return goesOn(vcpu, ordinary, debug)
  // Told once userspace has answered.
  ordinary.owesStep = debug.isStepped
  return false
}

/** Instructions of a guest with a dirty ring between two looks at it: what they write fits into the entries that KVM keeps. */
const RING_BUDGET = 64

/** Enters the guest once, for at most `budget` instructions. True: enter again; false: back to userspace. */
export const enterOrdinary = (vcpu: Vcpu, ordinary: OrdinaryCpu, budget: number): boolean => {
  const { replay } = ordinary
  const wantsWindow = vcpu.view.getUint8(vcpu.run + kvm_run.offset.request_interrupt_window) !== 0
  if (wantsWindow && windowOpens(vcpu, ordinary)) return false
  ordinary.prepareEntry()
  const { cpu, debug } = ordinary
  if (debug !== undefined) return stepDebugged(vcpu, ordinary, debug)
  const most = vcpu.ring === undefined ? budget : Math.min(budget, RING_BUDGET)
  const timer = ordinary.ticksToTimer ?? most
  const exit = wantsWindow ? cpu.step() : cpu.run(Math.max(1, Math.min(most, timer)))
  const { asked } = replay
  if (asked === undefined) return exit === undefined || handleExit(vcpu, ordinary, exit)
  replay.asked = undefined
  return handleAsked(vcpu, ordinary, asked) && finish(vcpu, ordinary)
}
