/**
 * The clock of a vCPU's local APIC: its bus, at the period that KVM_CAP_X86_APIC_BUS_CYCLES_NS gives, counted by the
 * instructions of the vCPU, each a tick of the TSC. Linux arch/x86/kvm/lapic.c.
 */
import type { Apic } from '#x86'
import type { Vm } from './vm.ts'

/** Nanoseconds of a bus cycle unless userspace says otherwise. Linux arch/x86/include/asm/kvm_host.h, APIC_BUS_CYCLE_NS_DEFAULT. */
export const APIC_BUS_CYCLE_NS = 1

const KHZ_PER_UNIT = 25_000

export class ApicClock {
  readonly #ticksPerCycle: number

  constructor(vm: Vm) {
    const ticksPerNs = (vm.host.platform.tscFrequency * KHZ_PER_UNIT) / 1_000_000
    this.#ticksPerCycle = vm.apicBusCycleNs * ticksPerNs
  }

  /** Bus cycles that went by in so many ticks. */
  cycles(ticks: number): number {
    return Math.floor(ticks / this.#ticksPerCycle)
  }

  /** Ticks until `cycles` more have gone by, seen from `ticks`. */
  ticksUntil(ticks: number, cycles: number): number {
    return Math.max(0, Math.ceil((this.cycles(ticks) + cycles) * this.#ticksPerCycle) - ticks)
  }
}

/** Ticks until the timer of an APIC has something to say; undefined: it never will. A deadline is a time of the TSC already. */
export const ticksToTimer = (apic: Apic, clock: ApicClock, ticks: number): number | undefined => {
  const left = apic.ticksToTimer
  return left === undefined || apic.deadline !== 0n ? left : clock.ticksUntil(ticks, left)
}
