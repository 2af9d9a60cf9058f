/**
 * A TD moves from one VM of the host to another: KVM_LINK_GUEST_MEMFD and KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM.
 * RFC "Add TDX intra-host migration" (2025-06), arch/x86/kvm/vmx/tdx.c, tdx_migrate_from; in no release of Linux.
 */
import { kvm_link_guest_memfd } from '#abi'
import { hva } from '#bits'
import { Errno } from '../errno.ts'
import { GuestMemfd } from '../guestmemfd.ts'
import { Vm } from '../vm.ts'

const requireHack = (vm: Vm, code: 'ENOTTY' | 'EINVAL', what: string): void => {
  if (vm.host.hacks.has('moving a TD to another VM')) return
  throw new Errno(code, `${what}: no release of KVM moves TDs; the host can be given the hack of that name`)
}

/** A descriptor of the same pages for this VM. EBADF; EINVAL: flags, or no guest_memfd. */
export const linkGuestMemfd = (vm: Vm, arg: bigint): number => {
  requireHack(vm, 'ENOTTY', 'KVM_LINK_GUEST_MEMFD')
  const { fd, flags } = vm.host.space.get(kvm_link_guest_memfd, hva(arg))
  const file = vm.host.descriptors.get(Number(fd))
  if (flags !== 0n || !(file instanceof GuestMemfd)) {
    throw new Errno(
      'EINVAL',
      `KVM_LINK_GUEST_MEMFD: a ${file.kind} descriptor, flags ${flags}; want a guest_memfd and 0`,
    )
  }
  return vm.host.descriptors.open(new GuestMemfd(vm, vm.host.memory, file))
}

/** EBADF; EIO: the source is dead; EINVAL: no TD, the wrong states, or another number of vCPUs. The source is dead afterwards. */
export const moveTdFrom = (vm: Vm, fd: bigint): number => {
  const what = 'KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM'
  requireHack(vm, 'EINVAL', what)
  const source = vm.host.descriptors.get(Number(fd))
  if (!(source instanceof Vm)) throw new Errno('EBADF', `${what}: descriptor ${fd} is a ${source.kind}, not a VM`)
  source.requireAlive()
  const invalid = (why: string): Errno => new Errno('EINVAL', `${what}: ${why}`)
  if (source === vm || !source.isTd || !vm.isTd) throw invalid('want two VMs of the type KVM_X86_TDX_VM')
  if (source.td.state !== 'runnable') throw invalid(`the source is ${source.td.state}; want one that is finalized`)
  if (vm.td.state !== 'uninitialized') throw invalid(`the destination is ${vm.td.state}; want one without INIT_VM`)
  const ids = (of: Vm): string => [...of.vcpus.keys()].sort((a, b) => a - b).join(', ')
  if (ids(vm) !== ids(source)) throw invalid(`vCPUs ${ids(vm)} here, ${ids(source)} in the source; want the same`)

  // Every check has passed: nothing below can fail.
  for (const vcpu of source.vcpus.values()) vcpu.flush()
  vm.takeTd(source)
  for (const [id, vcpu] of vm.vcpus) vcpu.take(source.vcpus.get(id)!)
  return 0
}
