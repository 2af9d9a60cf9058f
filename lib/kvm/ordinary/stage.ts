/** The second stage of an ordinary VM: guest pages to the host memory of its memory slots, as KVM's MMU maps them. */
import { KVM_MEM_READONLY } from '#abi'
import type { Gpa, Hpa } from '#bits'
import type { Access, SecondStage } from '#x86'
import type { Vm } from '../vm.ts'

/** One for all vCPUs of a VM. */
export class MemslotStage implements SecondStage {
  readonly width: number
  generation = 1
  readonly #vm: Vm

  constructor(vm: Vm, width: number) {
    this.#vm = vm
    this.width = width
  }

  /** No translation given out so far holds any more. */
  invalidate(): void {
    this.generation++
  }

  /** -1 where no slot is, and for writes to a read-only one: such accesses are MMIO. EFAULT where the host has unmapped its memory. */
  frame(gpa: Gpa, access: Access): Hpa | -1 {
    const vm = this.#vm
    const gfn = Number(gpa >> 12n)
    const slot = vm.slots.find(gfn)
    if (slot === undefined) return -1
    if (access === 'write') {
      if ((slot.flags & KVM_MEM_READONLY) !== 0) return -1
      vm.markDirty(slot, gfn)
    }
    return vm.backing(slot, gfn)
  }
}
