/**
 * KVM's paravirtual clock of an ordinary VM's vCPU: the guest says where, KVM writes there how the TSC is to be read as
 * nanoseconds. Linux Documentation/virt/kvm/x86/msr.rst; arch/x86/kvm/x86.c, kvm_guest_time_update and kvm_write_wall_clock.
 * What is written holds until userspace sets the clock; that several vCPUs agree it does not say, since each has a TSC of its
 * own. There is no time of day: the VM's life begins with the year 1970.
 */
import { pvclock_vcpu_time_info, pvclock_wall_clock } from '#abi'
import { PAGE_SIZE } from '#bits'
import { nanosecondsOf } from '../clock.ts'
import type { Vcpu } from '../vcpu.ts'

/** MSR_KVM_WALL_CLOCK and MSR_KVM_SYSTEM_TIME, and their later numbers. */
const WALL: readonly number[] = [0x11, 0x4b56_4d00]
const SYSTEM: readonly number[] = [0x12, 0x4b56_4d01]
const ENABLED = 1n
const NS = 1_000_000_000n
/** PVCLOCK_GUEST_STOPPED. */
const STOPPED = 2

export const isClockMsr = (index: number): boolean => WALL.includes(index) || SYSTEM.includes(index)

/** Nanoseconds of a tick of so many Hz: a shift, then 32 bits of a fraction. kvm_get_time_scale. */
export const timeScale = (hz: bigint): { readonly shift: number; readonly multiplier: number } => {
  let ticks = hz
  let shift = 0
  for (; ticks > NS * 2n || ticks >> 32n !== 0n; shift--) ticks >>= 1n
  // Never with bit 31 set: a billion is reached before.
  for (; ticks <= NS; shift++) ticks <<= 1n
  return { shift, multiplier: Number((NS << 32n) / ticks) }
}

export class PvClock {
  readonly #vcpu: Vcpu
  #wall = 0n
  #system = 0n
  /** The guest has not seen the clock as it is now. */
  isStale = false
  #isStopped = false

  constructor(vcpu: Vcpu) {
    this.#vcpu = vcpu
  }

  read(index: number): bigint {
    return WALL.includes(index) ? this.#wall : this.#system
  }

  write(index: number, value: bigint): void {
    if (WALL.includes(index)) {
      this.#wall = value
      this.#writeWall()
    } else {
      this.#system = value
      this.isStale = true
    }
  }

  get isActive(): boolean {
    return (this.#system & ENABLED) !== 0n
  }

  /** KVM_KVMCLOCK_CTRL: the guest is told that it has been stopped. */
  stop(): void {
    this.#isStopped = true
    this.isStale = true
  }

  /** Where the guest wants so many bytes: not across pages, and only in memory. */
  #at(gpa: bigint, size: number): number | undefined {
    const { vm } = this.#vcpu
    const offset = Number(gpa & 0xfffn)
    const gfn = Number(gpa >> 12n)
    const slot = offset + size > PAGE_SIZE ? undefined : vm.slots.find(gfn)
    if (slot === undefined) return undefined
    vm.markDirty(slot, gfn)
    return vm.backing(slot, gfn) + offset
  }

  /** Written once, when it is asked for; an odd version while it is not whole. */
  #writeWall(): void {
    const { view, vm } = this.#vcpu
    const at = this.#at(this.#wall, pvclock_wall_clock.size)
    if (at === undefined) return
    const version = pvclock_wall_clock.get(view, at, 'version')
    const since = BigInt.asUintN(64, -vm.clockOffset)
    pvclock_wall_clock.write(view, at, {
      version: (version + (version & 1) + 2) >>> 0,
      sec: Number((since / NS) & 0xffff_ffffn),
      nsec: Number(since % NS),
    })
  }

  /** Before the guest is entered. */
  update(tsc: bigint): void {
    this.isStale = false
    if (!this.isActive) return
    const { view, vm } = this.#vcpu
    const at = this.#at(this.#system & ~ENABLED, pvclock_vcpu_time_info.size)
    if (at === undefined) return
    const { shift, multiplier } = timeScale(BigInt(vm.host.platform.tscFrequency) * 25_000_000n)
    const seen = pvclock_vcpu_time_info.read(view, at)
    pvclock_vcpu_time_info.write(view, at, {
      version: (((seen.version + 1) | 1) + 1) >>> 0,
      tsc_timestamp: tsc,
      system_time: BigInt.asUintN(64, BigInt(nanosecondsOf(vm)) + vm.clockOffset),
      tsc_to_system_mul: multiplier,
      tsc_shift: shift & 0xff,
      // That it was stopped stays, until the guest takes it away.
      flags: (this.#isStopped ? STOPPED : 0) | (seen.flags & STOPPED),
    })
    this.#isStopped = false
  }
}
