/** MSRs of an ordinary VM: the processor's own, the local APIC's, and those that KVM keeps. Linux arch/x86/kvm/x86.c, kvm_get_msr_common. */
import {
  IA32_TIME_STAMP_COUNTER,
  IA32_TSC_ADJUST,
  KVM_MSR_EXIT_REASON_FILTER,
  KVM_MSR_EXIT_REASON_INVAL,
  VECTOR_GP,
} from '#abi'
import { exitMsr } from '../exit/msr.ts'
import type { Vcpu } from '../vcpu.ts'
import { IA32_APIC_BASE, IA32_TSC_DEADLINE, isX2apic, type OrdinaryCpu } from './cpu.ts'
import { isClockMsr } from './pvclock.ts'

const LOW = 0xffff_ffffn
const [RAX, RCX, RDX] = [0, 1, 2]

/** undefined: there is no such MSR. */
export const readMsr = (
  vcpu: Vcpu,
  { cpu, apic, clock }: OrdinaryCpu,
  index: number,
  isHost: boolean,
): bigint | undefined => {
  if (isClockMsr(index)) return clock.read(index)
  if (isX2apic(index)) return apic?.readMsr(index)
  if (apic !== undefined && index === IA32_APIC_BASE) return apic.base
  if (apic !== undefined && index === IA32_TSC_DEADLINE) return apic.deadline
  return cpu.msrs.read(cpu, index) ?? vcpu.msrs.get(index, isHost)
}

/** False where the write is refused. */
export const writeMsr = (vcpu: Vcpu, ordinary: OrdinaryCpu, index: number, value: bigint, isHost: boolean): boolean => {
  const { cpu, apic, clock } = ordinary
  if (isClockMsr(index)) {
    clock.write(index, value)
    return true
  }
  if (isX2apic(index)) return apic?.writeMsr(index, value) ?? false
  if (apic !== undefined && index === IA32_TSC_DEADLINE) {
    apic.deadline = value
    return true
  }
  if (apic !== undefined && index === IA32_APIC_BASE) return apic.writeBase(value, vcpu.vm.stage.width, vcpu.hasX2apic)
  if (isHost && (index === IA32_TIME_STAMP_COUNTER || index === IA32_TSC_ADJUST)) return setTsc(ordinary, index, value)
  if (cpu.msrs.read(cpu, index) !== undefined) return cpu.msrs.write(cpu, index, value)
  return vcpu.msrs.set(index, value, isHost)
}

/** A host's TSC and TSC_ADJUST are two values, of which neither moves the other: kvm selftest tsc_msrs_test expects this. */
const setTsc = ({ cpu }: OrdinaryCpu, index: number, value: bigint): true => {
  const adjust = index === IA32_TSC_ADJUST ? value : cpu.msrs.read(cpu, IA32_TSC_ADJUST)!
  if (index === IA32_TIME_STAMP_COUNTER) cpu.msrs.write(cpu, index, value)
  cpu.msrs.set(IA32_TSC_ADJUST, adjust)
  return true
}

const raise = ({ cpu }: OrdinaryCpu): boolean => {
  cpu.inject({ vector: VECTOR_GP, kind: 'exception', errorCode: 0 })
  return true
}

const give = ({ cpu }: OrdinaryCpu, value: bigint, length: number): boolean => {
  cpu.gpr[RAX] = value & LOW
  cpu.gpr[RDX] = value >> 32n
  cpu.advance(length)
  return true
}

/** To userspace where it has asked for this reason, else #GP. */
const refuse = (
  vcpu: Vcpu,
  ordinary: OrdinaryCpu,
  reason: number,
  index: number,
  write: bigint | undefined,
  length: number,
): boolean => {
  const done = ({ error, data }: { error: number; data: bigint }): boolean => {
    if (error !== 0) return raise(ordinary)
    if (write === undefined) return give(ordinary, data, length)
    ordinary.cpu.advance(length)
    return true
  }
  return exitMsr(vcpu, reason, index, write, done) ? raise(ordinary) : false
}

export const guestRdmsr = (vcpu: Vcpu, ordinary: OrdinaryCpu, length: number): boolean => {
  const index = Number(ordinary.cpu.gpr[RCX]! & LOW)
  const isAllowed = vcpu.vm.msrFilter.allows(index, false)
  const value = isAllowed ? readMsr(vcpu, ordinary, index, false) : undefined
  if (value !== undefined) return give(ordinary, value, length)
  const reason = isAllowed ? KVM_MSR_EXIT_REASON_INVAL : KVM_MSR_EXIT_REASON_FILTER
  return refuse(vcpu, ordinary, reason, index, undefined, length)
}

export const guestWrmsr = (vcpu: Vcpu, ordinary: OrdinaryCpu, length: number): boolean => {
  const { cpu } = ordinary
  const index = Number(cpu.gpr[RCX]! & LOW)
  const value = ((cpu.gpr[RDX]! & LOW) << 32n) | (cpu.gpr[RAX]! & LOW)
  const isAllowed = vcpu.vm.msrFilter.allows(index, true)
  if (isAllowed && writeMsr(vcpu, ordinary, index, value, false)) {
    cpu.advance(length)
    return true
  }
  const reason = isAllowed ? KVM_MSR_EXIT_REASON_INVAL : KVM_MSR_EXIT_REASON_FILTER
  return refuse(vcpu, ordinary, reason, index, value, length)
}
