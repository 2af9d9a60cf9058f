/** KVM_CREATE_VCPU: a vCPU with the given id, and its descriptor. */
import { KVM_MAX_VCPU_IDS } from '../capability.ts'
import { Errno } from '../errno.ts'
import { Vcpu } from '../vcpu.ts'
import type { Vm } from '../vm.ts'

const checkTd = ({ td, irqchip, host }: Vm): void => {
  // What a TD is moved to has its vCPUs before.
  const awaitsTd = td.state === 'uninitialized' && host.hacks.has('moving a TD to another VM')
  if (td.state !== 'initialized' && !awaitsTd) {
    throw new Errno('EIO', `KVM_CREATE_VCPU: the TD is ${td.state}; vCPUs come between INIT_VM and FINALIZE_VM`)
  }
  if (irqchip !== 'split') {
    throw new Errno('EINVAL', 'KVM_CREATE_VCPU: a TD needs KVM_CAP_SPLIT_IRQCHIP enabled first')
  }
}

/** EINVAL: id or number out of range, no split irqchip; EIO: the TD is not initialized, or already finalized; EEXIST. */
export const createVcpu = (vm: Vm, arg: bigint): number => {
  if (arg >= BigInt(KVM_MAX_VCPU_IDS)) {
    throw new Errno('EINVAL', `KVM_CREATE_VCPU: id ${arg} is not below ${KVM_MAX_VCPU_IDS}`)
  }
  const id = Number(arg)
  if (vm.vcpus.size >= vm.maxVcpus) {
    throw new Errno('EINVAL', `KVM_CREATE_VCPU: the VM has ${vm.vcpus.size} vCPUs, its maximum`)
  }
  if (vm.isTd) checkTd(vm)
  if (vm.vcpus.has(id)) throw new Errno('EEXIST', `KVM_CREATE_VCPU: vCPU ${id} exists`)
  const vcpu = new Vcpu(vm, id)
  vm.vcpus.set(id, vcpu)
  return vm.host.descriptors.open(vcpu)
}

/** KVM_SET_BOOT_CPU_ID: the vCPU that starts by itself. EBUSY: there are vCPUs; EINVAL: no id. */
export const setBootCpuId = (vm: Vm, arg: bigint): number => {
  if (vm.vcpus.size > 0) throw new Errno('EBUSY', `KVM_SET_BOOT_CPU_ID: the VM has ${vm.vcpus.size} vCPUs already`)
  if (arg >= BigInt(KVM_MAX_VCPU_IDS)) {
    throw new Errno('EINVAL', `KVM_SET_BOOT_CPU_ID: id ${arg} is not below ${KVM_MAX_VCPU_IDS}`)
  }
  vm.bootCpu = Number(arg)
  return 0
}
