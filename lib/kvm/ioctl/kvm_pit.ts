/** KVM_CREATE_PIT2, its state, and KVM_REINJECT_CONTROL. Linux arch/x86/kvm/x86.c, kvm_arch_vm_ioctl. */
import { KVM_PIT_SPEAKER_DUMMY, kvm_pit_config, kvm_pit_state, kvm_pit_state2, kvm_reinject_control } from '#abi'
import { hva } from '#bits'
import { Errno } from '../errno.ts'
import type { Pit } from '../ordinary/pit.ts'
import type { Vm } from '../vm.ts'

const create = (vm: Vm, name: string, flags: number): number => {
  if (vm.chips?.pit !== undefined) throw new Errno('EEXIST', `${name}: the VM has its PIT`)
  if (vm.chips === undefined) throw new Errno('ENOENT', `${name}: the VM has no PIC in the kernel, which a PIT needs`)
  vm.chips.createPit(flags)
  return 0
}

/** EEXIST; ENOENT: no interrupt controllers in the kernel. Flags that KVM does not know it does not look at. */
export const createPit2 = (vm: Vm, arg: bigint): number =>
  create(vm, 'KVM_CREATE_PIT2', vm.host.space.get(kvm_pit_config, hva(arg)).flags)

/** The same with port 61h. */
export const createPit = (vm: Vm): number => create(vm, 'KVM_CREATE_PIT', KVM_PIT_SPEAKER_DUMMY)

const pitOf = (vm: Vm, name: string): Pit => {
  if (vm.chips?.pit === undefined) throw new Errno('ENXIO', `${name}: the VM has no PIT`)
  return vm.chips.pit
}

/** ENXIO: no PIT. */
export const getPit = (vm: Vm, arg: bigint): number => {
  const { space } = vm.host
  // What is there is read first, as KVM does.
  space.get(kvm_pit_state, hva(arg))
  space.set(kvm_pit_state, hva(arg), { channels: pitOf(vm, 'KVM_GET_PIT').save() })
  return 0
}

/** ENXIO: no PIT. The counters begin anew. */
export const setPit = (vm: Vm, arg: bigint): number => {
  const { channels } = vm.host.space.get(kvm_pit_state, hva(arg))
  pitOf(vm, 'KVM_SET_PIT').load(channels)
  return 0
}

/** ENXIO: no PIT. */
export const getPit2 = (vm: Vm, arg: bigint): number => {
  const pit = pitOf(vm, 'KVM_GET_PIT2')
  vm.host.space.put(kvm_pit_state2, hva(arg), { channels: pit.save(), flags: pit.flags })
  return 0
}

/** ENXIO: no PIT. */
export const setPit2 = (vm: Vm, arg: bigint): number => {
  const { channels, flags } = vm.host.space.get(kvm_pit_state2, hva(arg))
  pitOf(vm, 'KVM_SET_PIT2').load(channels, flags)
  return 0
}

/** Are ticks that the guest was too slow for made up? ENXIO: no PIT. */
export const reinjectControl = (vm: Vm, arg: bigint): number => {
  const { pit_reinject } = vm.host.space.get(kvm_reinject_control, hva(arg))
  pitOf(vm, 'KVM_REINJECT_CONTROL').reinjects = pit_reinject !== 0
  return 0
}
