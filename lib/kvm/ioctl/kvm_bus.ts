/** KVM_IOEVENTFD and KVM_(UN)REGISTER_COALESCED_MMIO: writes that KVM takes itself. Linux virt/kvm/eventfd.c, coalesced_mmio.c. */
import {
  KVM_IOEVENTFD_FLAG_DATAMATCH,
  KVM_IOEVENTFD_FLAG_DEASSIGN,
  KVM_IOEVENTFD_FLAG_PIO,
  kvm_coalesced_mmio_zone,
  kvm_ioeventfd,
} from '#abi'
import { hva } from '#bits'
import type { Zone } from '../bus.ts'
import { Errno } from '../errno.ts'
import { EventFd } from '../eventfd.ts'
import type { Vm } from '../vm.ts'

const FLAGS = KVM_IOEVENTFD_FLAG_DATAMATCH | KVM_IOEVENTFD_FLAG_PIO | KVM_IOEVENTFD_FLAG_DEASSIGN
const LENGTHS = [0, 1, 2, 4, 8]
const U64 = 2n ** 64n

/** EBADF; EINVAL: no eventfd, a length, flags, or a range that is none; EEXIST: another would hear of the same; ENOENT: none to take away. */
export const ioeventfd = (vm: Vm, arg: bigint): number => {
  const { datamatch, addr, len, fd, flags } = vm.host.space.get(kvm_ioeventfd, hva(arg))
  const invalid = (why: string): Errno => new Errno('EINVAL', `KVM_IOEVENTFD: ${why}`)
  const isDeassign = (flags & KVM_IOEVENTFD_FLAG_DEASSIGN) !== 0
  const hasMatch = (flags & KVM_IOEVENTFD_FLAG_DATAMATCH) !== 0
  if (!isDeassign) {
    if (!LENGTHS.includes(len)) throw invalid(`length ${len}; want 0, 1, 2, 4 or 8`)
    if (addr + BigInt(len) >= U64) throw invalid(`address 0x${addr.toString(16)} + ${len} overflows`)
    if ((flags & ~FLAGS) !== 0) throw invalid(`flags ${flags} are unknown`)
    if (len === 0 && hasMatch) throw invalid('a write of any length cannot be matched against a value')
  }
  const file = vm.host.descriptors.get(fd)
  if (!(file instanceof EventFd)) throw invalid(`descriptor ${fd} is a ${file.kind}, not an eventfd`)
  const isPort = (flags & KVM_IOEVENTFD_FLAG_PIO) !== 0
  const event = { isPort, addr, length: len, match: hasMatch ? datamatch : undefined, file }
  const where = `${isPort ? 'port' : 'address'} 0x${addr.toString(16)}, ${len} bytes`
  if (isDeassign) {
    if (!vm.bus.deassign(event)) throw new Errno('ENOENT', `KVM_IOEVENTFD: descriptor ${fd} does not wait for ${where}`)
    return 0
  }
  if (!vm.bus.assign(event)) throw new Errno('EEXIST', `KVM_IOEVENTFD: an eventfd waits for ${where} already`)
  return 0
}

const zoneOf = (vm: Vm, name: string, arg: bigint): Zone => {
  const { addr, size, pio } = vm.host.space.get(kvm_coalesced_mmio_zone, hva(arg))
  if (pio > 1) throw new Errno('EINVAL', `${name}: pio ${pio}; want 0 or 1`)
  return { isPort: pio === 1, addr, size: BigInt(size) }
}

/** EINVAL. */
export const registerCoalesced = (vm: Vm, arg: bigint): number => {
  vm.bus.register(zoneOf(vm, 'KVM_REGISTER_COALESCED_MMIO', arg))
  return 0
}

/** EINVAL. What was not registered goes as well. */
export const unregisterCoalesced = (vm: Vm, arg: bigint): number => {
  vm.bus.unregister(zoneOf(vm, 'KVM_UNREGISTER_COALESCED_MMIO', arg))
  return 0
}
