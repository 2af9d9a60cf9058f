/** ioctls as a C program makes them: the argument is a structure in the host process's own memory. */
import { KVM_ENABLE_CAP, KVM_MEMORY_ENCRYPT_OP, kvm_enable_cap, kvm_tdx_cmd } from '#abi'
import { type Hva, hva, type Layout, type struct, type Values } from '#bits'
import type { Machine } from './machine.ts'

type Shape = Parameters<typeof struct>[1]

/** Makes the ioctl with a structure of which `values` are set and the rest is zero. Returns what the ioctl returns. Errno. */
export const call = <S extends Shape>(
  machine: Machine,
  fd: number,
  request: number,
  layout: Layout<S>,
  values: Partial<Values<S>>,
): number => {
  machine.host.put(layout, machine.scratch, values)
  return machine.host.ioctl(fd, request, machine.scratch)
}

/** KVM_ENABLE_CAP on a VM or a vCPU. */
export const enableCap = (machine: Machine, fd: number, cap: number, ...args: bigint[]): void => {
  call(machine, fd, KVM_ENABLE_CAP, kvm_enable_cap, { cap, args: [0n, 0n, 0n, 0n].map((zero, i) => args[i] ?? zero) })
}

/** Where in the scratch memory a kvm_tdx_cmd's data goes. */
const DATA = 64

/** KVM_MEMORY_ENCRYPT_OP with bytes as its data. Returns their HVA: what KVM answers is there, up to the scratch's end. */
export const tdxCommand = (machine: Machine, fd: number, id: number, data: Uint8Array, flags = 0): Hva => {
  const at = hva(machine.scratch + BigInt(DATA))
  machine.host.write(at, data)
  tdxCall(machine, fd, id, at, flags)
  return at
}

/** KVM_MEMORY_ENCRYPT_OP with a value, or a pointer, as its data. */
export const tdxCall = (machine: Machine, fd: number, id: number, data: bigint, flags = 0): void => {
  call(machine, fd, KVM_MEMORY_ENCRYPT_OP, kvm_tdx_cmd, { id, flags, data })
}
