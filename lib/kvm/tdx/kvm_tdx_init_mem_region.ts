/** KVM_TDX_INIT_MEM_REGION: fills and measures private pages before the TD runs. Linux arch/x86/kvm/vmx/tdx.c, tdx_vcpu_init_mem_region. */

import { KVM_TDX_MEASURE_MEMORY_REGION, kvm_tdx_init_mem_region } from '#abi'
import { type Hpa, hex, hva, PAGE_SIZE } from '#bits'
import { Errno } from '../errno.ts'
import type { Vcpu } from '../vcpu.ts'
import type { Vm } from '../vm.ts'
import type { Command } from './command.ts'

const invalid = (why: string): Errno => new Errno('EINVAL', `KVM_TDX_INIT_MEM_REGION: ${why}`)

/** One page: kvm_gmem_populate. */
const populate = (vm: Vm, gpa: bigint, source: bigint, measure: boolean): void => {
  const gfn = Number(gpa >> 12n)
  const slot = vm.slots.find(gfn)
  if (slot?.memfd === undefined) throw invalid(`gpa ${hex(gpa)} is in no memory slot with a guest_memfd`)
  const from = source === 0n ? undefined : vm.host.space.hpa(hva(source))
  if (!vm.private.has(gfn)) throw invalid(`gpa ${hex(gpa)} does not have KVM_MEMORY_ATTRIBUTE_PRIVATE`)
  // The page is in the Secure EPT: kvm_tdp_mmu_map_private_pfn finds nothing to do, which it reports as EIO.
  if (vm.td.sept.has(gfn)) throw new Errno('EIO', `KVM_TDX_INIT_MEM_REGION: gpa ${hex(gpa)} has been populated already`)
  const frame = slot.memfd.frame(slot.memfdPage + gfn - slot.gfn)
  const add = (source: Hpa): void => {
    const content = vm.host.onPageAdded === undefined ? undefined : vm.host.memory.bytes(source, PAGE_SIZE).slice()
    vm.td.sept.add(gfn, frame, source, measure)
    if (content !== undefined) vm.host.onPageAdded?.(vm, gpa, content, measure)
  }
  if (from !== undefined) {
    add(from)
    return
  }
  // In place: what the file has there is what the TD starts with.
  const { memory } = vm.host
  const copy = memory.allocate()
  memory.set(copy, memory.bytes(frame, PAGE_SIZE))
  try {
    add(copy)
  } finally {
    memory.free(copy)
  }
}

/** EINVAL; EFAULT: source not mapped; EINTR and EIO: the structure says how far it came. */
export const initMemRegion = (vcpu: Vcpu, { flags, data }: Command): void => {
  const { vm } = vcpu
  const { space } = vm.host
  if (!vcpu.isInitialized) throw invalid(`vCPU ${vcpu.id} has not had KVM_TDX_INIT_VCPU`)
  if ((flags & ~KVM_TDX_MEASURE_MEMORY_REGION) !== 0)
    throw invalid(`flags ${flags}; want 0 or ${KVM_TDX_MEASURE_MEMORY_REGION}`)
  const region = space.get(kvm_tdx_init_mem_region, hva(data))
  const { source_addr: source, gpa, nr_pages: pages } = region
  if ((source & 0xfffn) !== 0n) throw invalid(`source_addr ${hex(source)} is not page aligned`)
  if (source === 0n && !vm.slots.find(Number(gpa >> 12n))?.memfd?.isMappable) throw invalid('source_addr is 0')
  if ((gpa & 0xfffn) !== 0n) throw invalid(`gpa ${hex(gpa)} is not page aligned`)
  if (pages === 0n) throw invalid('nr_pages is 0')
  const last = gpa + pages * 4096n - 1n
  if (pages >= 2n ** 52n || last >= 2n ** 64n) throw invalid(`gpa ${hex(gpa)} + ${pages} pages overflows`)
  if ((gpa & vcpu.sharedBit) !== 0n || (last & vcpu.sharedBit) !== 0n) {
    throw invalid(`gpa ${hex(gpa)} to ${hex(last)} has the shared bit (${vm.td.sharedBit}); want private addresses`)
  }
  const measure = (flags & KVM_TDX_MEASURE_MEMORY_REGION) !== 0
  let done = 0n
  try {
    for (; done < pages; done++) {
      if (vm.host.signalPending?.())
        throw new Errno('EINTR', `KVM_TDX_INIT_MEM_REGION: a signal, ${done} of ${pages} pages done`)
      populate(vm, gpa + done * 4096n, source === 0n ? 0n : source + done * 4096n, measure)
    }
  } finally {
    space.set(kvm_tdx_init_mem_region, hva(data), {
      source_addr: source === 0n ? 0n : source + done * 4096n,
      gpa: gpa + done * 4096n,
      nr_pages: pages - done,
    })
  }
}
