/** The time of a VM: the instructions of the vCPU that has run most, at the rate of the TSC. */
import type { Vm } from './vm.ts'

const KHZ_PER_UNIT = 25_000

/** Ticks of the TSC. */
export const ticksOf = (vm: Vm): number => {
  let most = 0
  for (const { ticks } of vm.vcpus.values()) if (ticks > most) most = ticks
  return most
}

const khz = ({ host }: Vm): number => host.platform.tscFrequency * KHZ_PER_UNIT

export const nanosecondsOf = (vm: Vm): number => Math.floor((ticksOf(vm) * 1_000_000) / khz(vm))

/** Ticks of the TSC until so many nanoseconds have gone by. */
export const ticksIn = (vm: Vm, nanoseconds: number): number => Math.ceil((nanoseconds * khz(vm)) / 1_000_000)
