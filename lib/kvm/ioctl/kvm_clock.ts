/** KVM_GET_CLOCK and KVM_SET_CLOCK: nanoseconds of a VM's life, as its guest counts them. Linux arch/x86/kvm/x86.c, get_kvmclock. */
import { KVM_CLOCK_HOST_TSC, KVM_CLOCK_REALTIME, KVM_CLOCK_TSC_STABLE, kvm_clock_data } from '#abi'
import { hva, NotModelled } from '#bits'
import { Errno } from '../errno.ts'
import type { Vm } from '../vm.ts'

/** Time here is the instructions of the vCPU that has run most, at the rate of the TSC. */
const ticks = (vm: Vm): bigint => BigInt(Math.max(0, ...[...vm.vcpus.values()].map(vcpu => vcpu.ticks)))
const nanoseconds = (vm: Vm): bigint => (ticks(vm) * 1_000_000n) / BigInt(vm.host.platform.tscFrequency * 25_000)

export const getClock = (vm: Vm, arg: bigint): number => {
  vm.host.space.set(kvm_clock_data, hva(arg), {
    clock: BigInt.asUintN(64, nanoseconds(vm) + vm.clockOffset),
    // What no vCPU departs from, and nobody's time of day.
    flags: KVM_CLOCK_TSC_STABLE | KVM_CLOCK_HOST_TSC,
    pad0: 0,
    realtime: 0n,
    host_tsc: ticks(vm),
    pad: new Uint8Array(16),
  })
  return 0
}

/** EINVAL: flags. Not modelled: KVM_SET_CLOCK with KVM_CLOCK_REALTIME, which goes by the time of day; there is none. */
export const setClock = (vm: Vm, arg: bigint): number => {
  const { clock, flags } = vm.host.space.get(kvm_clock_data, hva(arg))
  if ((flags & ~(KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC)) !== 0)
    throw new Errno('EINVAL', `KVM_SET_CLOCK: flags ${flags} are unknown`)
  if ((flags & KVM_CLOCK_REALTIME) !== 0) throw new NotModelled('KVM_SET_CLOCK with KVM_CLOCK_REALTIME')
  vm.clockOffset = clock - nanoseconds(vm)
  return 0
}
