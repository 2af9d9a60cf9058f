/** Names of ioctls for the coverage of the ABI, those of TDX by their command. */
import * as abi from '#abi'

const COMMANDS = ['CAPABILITIES', 'INIT_VM', 'INIT_VCPU', 'INIT_MEM_REGION', 'FINALIZE_VM', 'GET_CPUID']

/** `KVM_SET_TSC_KHZ`, `KVM_TDX_INIT_VM`. `command` reads the command of KVM_MEMORY_ENCRYPT_OP, and may throw. */
export const ioctlName = (request: number, command: () => number): string => {
  if (request !== abi.KVM_MEMORY_ENCRYPT_OP)
    return abi.KVM_IOCTL_NAMES.get(request) ?? `ioctl 0x${request.toString(16)}`
  try {
    const id = command()
    return COMMANDS[id] === undefined ? 'KVM_MEMORY_ENCRYPT_OP' : `KVM_TDX_${COMMANDS[id]}`
  } catch {
    return 'KVM_MEMORY_ENCRYPT_OP'
  }
}
