/** A guest access that needs KVM: EPT violations, and what backs a guest page. Linux arch/x86/kvm/mmu/mmu.c, kvm_mmu_faultin_pfn. */

import { KVM_EXIT_MEMORY_FAULT, KVM_EXIT_SHUTDOWN, KVM_MEMORY_EXIT_FLAG_PRIVATE, kvm_run_memory_fault } from '#abi'
import { hex, PAGE_SIZE } from '#bits'
import { EPT_QUALIFICATION } from '#x86'
import { Errno } from './errno.ts'
import type { Memslot } from './memslot.ts'
import type { Vcpu } from './vcpu.ts'
import type { Vm } from './vm.ts'

/** Extended exit qualification types. */
const PENDING_EPT_VIOLATION = 6n
/** EPT_VIOLATION_PROT_MASK: what the entry allowed. */
const QUALIFICATION_PROT = 0x38n

/** KVM_EXIT_MEMORY_FAULT; KVM_RUN itself fails with EFAULT. */
const memoryFault = (vcpu: Vcpu, gfn: number, isPrivate: boolean, why: string): Errno => {
  const gpa = BigInt(gfn) * 4096n
  vcpu.exitReason = KVM_EXIT_MEMORY_FAULT
  kvm_run_memory_fault.write(vcpu.view, vcpu.exit, {
    flags: isPrivate ? KVM_MEMORY_EXIT_FLAG_PRIVATE : 0n,
    gpa,
    size: BigInt(PAGE_SIZE),
  })
  return new Errno('EFAULT', `KVM_RUN: ${isPrivate ? 'private' : 'shared'} access to guest address ${hex(gpa)}: ${why}`)
}

/** Maps a page of a slot, from its guest_memfd where it is private, else from the host's memory. */
export const mapPage = (vm: Vm, slot: Memslot, gfn: number, isPrivate: boolean, isWrite = false): void => {
  const page = gfn - slot.gfn
  if (!isPrivate) {
    // Where writes are logged, a page is read-only until the first one.
    vm.sharedEpt.map(gfn, vm.backing(slot, gfn), isWrite || slot.dirty === undefined)
    if (isWrite) vm.markDirty(slot, gfn)
    if (slot.dirty !== undefined) vm.td.tdx.invept()
  } else if (slot.memfd !== undefined && !vm.td.sept.has(gfn)) {
    vm.td.sept.aug(gfn, slot.memfd.frame(slot.memfdPage + page))
  }
}

/** Maps the page that the guest wants to touch. Throws EFAULT with KVM_EXIT_MEMORY_FAULT where userspace has to act. */
export const faultIn = (vcpu: Vcpu, gfn: number, isPrivate: boolean, isWrite: boolean): void => {
  const { vm } = vcpu
  if (isPrivate !== vm.private.has(gfn)) {
    const attribute = isPrivate ? 'the page is shared' : 'the page has KVM_MEMORY_ATTRIBUTE_PRIVATE'
    throw memoryFault(vcpu, gfn, isPrivate, attribute)
  }
  const slot = vm.slots.find(gfn)
  if (slot === undefined) {
    if (isPrivate) throw memoryFault(vcpu, gfn, true, 'no memory slot is there')
    vm.sharedEpt.markMmio(gfn)
    return
  }
  if (isPrivate && slot.memfd === undefined) {
    throw memoryFault(vcpu, gfn, true, `memory slot ${slot.id} has no guest_memfd`)
  }
  mapPage(vm, slot, gfn, isPrivate, isWrite)
}

/** An EPT violation that left the TD. True: enter again. */
export const handleEptViolation = (vcpu: Vcpu): boolean => {
  const { vm, args } = vcpu
  const gpa = args.r8
  const sharedBit = 1n << BigInt(vm.td.sharedBit)
  const isPrivate = (gpa & sharedBit) === 0n
  const qualification = args.rcx
  if (isPrivate) {
    // The guest touched a page that it has not accepted, and has asked for no #VE.
    if ((args.rdx & 0xfn) === PENDING_EPT_VIOLATION && (qualification & QUALIFICATION_PROT) === 0n) {
      vcpu.exitReason = KVM_EXIT_SHUTDOWN
      return false
    }
  } else if ((qualification & EPT_QUALIFICATION.FETCH) !== 0n) {
    throw vm.bug(`KVM_RUN: instruction fetch from shared memory at guest address ${hex(gpa)}`)
  }
  const isWrite = (qualification & EPT_QUALIFICATION.WRITE) !== 0n
  faultIn(vcpu, Number((gpa & ~sharedBit) >> 12n), isPrivate, isWrite)
  return true
}
