/** KVM_SET_MEMORY_ATTRIBUTES: makes guest pages private or shared; what was mapped the other way goes. */

import { KVM_MEMORY_ATTRIBUTE_PRIVATE, kvm_memory_attributes } from '#abi'
import { hex, hva } from '#bits'
import { Errno } from '../errno.ts'
import type { Vm } from '../vm.ts'

const invalid = (why: string): Errno => new Errno('EINVAL', `KVM_SET_MEMORY_ATTRIBUTES: ${why}`)

/** Pages of a guest_memfd that is converted in place change hands. */
const convert = (
  vm: Vm,
  first: number,
  last: number,
  isPrivate: boolean,
  which = (_gfn: number): boolean => true,
): void => {
  for (const slot of vm.slots) {
    const { memfd } = slot
    if (memfd?.isMappable !== true) continue
    const end = Math.min(last, slot.gfn + slot.pages)
    for (let gfn = Math.max(first, slot.gfn); gfn < end; gfn++) if (which(gfn)) memfd.convert(slot, gfn, isPrivate)
  }
}

/** EINVAL. Needs no memory slot. Private to shared loses the guest's content. */
export const setMemoryAttributes = (vm: Vm, arg: bigint): number => {
  if (!vm.isTd) throw new Errno('ENOTTY', 'KVM_SET_MEMORY_ATTRIBUTES: an ordinary VM has no private memory')
  const { address, size, attributes, flags } = vm.host.space.get(kvm_memory_attributes, hva(arg))
  if (flags !== 0n) throw invalid(`flags ${hex(flags)}; want 0`)
  if ((attributes & ~KVM_MEMORY_ATTRIBUTE_PRIVATE) !== 0n) {
    throw invalid(
      `attributes ${hex(attributes)}; a TD has KVM_MEMORY_ATTRIBUTE_PRIVATE (${KVM_MEMORY_ATTRIBUTE_PRIVATE})`,
    )
  }
  const end = address + size
  if (size === 0n || end >= 2n ** 64n) throw invalid(`address ${hex(address)} + size ${hex(size)} is no range`)
  if (((address | size) & 0xfffn) !== 0n)
    throw invalid(`address ${hex(address)}, size ${hex(size)} are not whole pages`)
  if (vm.isTd && vm.td.state !== 'uninitialized' && end > 1n << BigInt(vm.td.sharedBit)) {
    throw invalid(`address ${hex(address)} + size ${hex(size)} reaches the shared bit (${vm.td.sharedBit})`)
  }
  const first = Number(address >> 12n)
  const last = Number(end >> 12n)
  if (attributes !== 0n) {
    vm.zapShared(first, last - first)
    vm.private.add(first, last)
    convert(vm, first, last, true)
  } else {
    const wasPrivate = (gfn: number): boolean => vm.private.has(gfn)
    vm.zapPrivate(first, last - first)
    convert(vm, first, last, false, wasPrivate)
    vm.private.delete(first, last)
  }
  return 0
}
