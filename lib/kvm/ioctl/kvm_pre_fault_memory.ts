/** KVM_PRE_FAULT_MEMORY: maps guest pages as an access would, without one. */

import { kvm_pre_fault_memory } from '#abi'
import { hex, hva } from '#bits'
import { Errno } from '../errno.ts'
import { mapPage } from '../fault.ts'
import type { Vcpu } from '../vcpu.ts'

/** EINVAL; EOPNOTSUPP: the TD is not finalized; ENOENT: no memory slot. gpa and size say how far it came. */
export const preFaultMemory = (vcpu: Vcpu, arg: bigint): number => {
  const { space } = vcpu.vm.host
  const { gpa, size, flags } = space.get(kvm_pre_fault_memory, hva(arg))
  if (flags !== 0n) throw new Errno('EINVAL', `KVM_PRE_FAULT_MEMORY: flags ${hex(flags)}; want 0`)
  if (((gpa | size) & 0xfffn) !== 0n || size === 0n || gpa + size >= 2n ** 64n) {
    throw new Errno('EINVAL', `KVM_PRE_FAULT_MEMORY: gpa ${hex(gpa)}, size ${hex(size)}; want whole pages`)
  }
  if (vcpu.vm.isTd && vcpu.vm.td.state !== 'runnable') {
    throw new Errno('EOPNOTSUPP', 'KVM_PRE_FAULT_MEMORY: the TD has not had KVM_TDX_FINALIZE_VM')
  }
  if ((gpa & vcpu.sharedBit) !== 0n)
    throw new Errno('EINVAL', `KVM_PRE_FAULT_MEMORY: gpa ${hex(gpa)} has the shared bit`)
  for (let at = gpa; at < gpa + size; at += 4096n) {
    const gfn = Number(at >> 12n)
    const slot = vcpu.vm.slots.find(gfn)
    const isPrivate = vcpu.vm.private.has(gfn)
    if (slot === undefined) throw new Errno('ENOENT', `KVM_PRE_FAULT_MEMORY: no memory slot at ${hex(at)}`)
    if (isPrivate && slot.memfd === undefined) {
      throw new Errno('EFAULT', `KVM_PRE_FAULT_MEMORY: memory slot ${slot.id} has no guest_memfd for ${hex(at)}`)
    }
    // An ordinary VM's memory is looked up where it is used: all that can fail is what backs it.
    if (vcpu.vm.isTd) mapPage(vcpu.vm, slot, gfn, isPrivate)
    else vcpu.vm.backing(slot, gfn)
    space.set(kvm_pre_fault_memory, hva(arg), { gpa: at + 4096n, size: gpa + size - at - 4096n })
  }
  return 0
}
