/** KVM_GET_CLOCK and KVM_SET_CLOCK: nanoseconds of a VM's life, as its guest counts them. Linux arch/x86/kvm/x86.c, get_kvmclock. */
import { KVM_CLOCK_HOST_TSC, KVM_CLOCK_REALTIME, KVM_CLOCK_TSC_STABLE, kvm_clock_data } from '#abi'
import { hva, NotModelled } from '#bits'
import { nanosecondsOf, ticksOf } from '../clock.ts'
import { Errno } from '../errno.ts'
import type { Vcpu } from '../vcpu.ts'
import type { Vm } from '../vm.ts'

export const getClock = (vm: Vm, arg: bigint): number => {
  vm.host.space.set(kvm_clock_data, hva(arg), {
    clock: BigInt.asUintN(64, BigInt(nanosecondsOf(vm)) + vm.clockOffset),
    // What no vCPU departs from, and nobody's time of day.
    flags: KVM_CLOCK_TSC_STABLE | KVM_CLOCK_HOST_TSC,
    pad0: 0,
    realtime: 0n,
    host_tsc: BigInt(ticksOf(vm)),
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
  vm.clockOffset = clock - BigInt(nanosecondsOf(vm))
  for (const { ordinary } of vm.vcpus.values()) if (ordinary !== undefined) ordinary.clock.isStale = true
  return 0
}

/** EINVAL: the guest has not asked for KVM's clock; a TD's never has. */
export const kvmclockCtrl = ({ ordinary }: Vcpu): number => {
  if (ordinary?.clock.isActive !== true) throw new Errno('EINVAL', 'KVM_KVMCLOCK_CTRL: the guest has no clock of KVM’s')
  ordinary.clock.stop()
  return 0
}
