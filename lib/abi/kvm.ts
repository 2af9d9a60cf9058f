/** KVM's user API: request numbers, capabilities, exit reasons and byte layouts, as Linux's headers have them. */
import * as capabilities from './kvm/capability.ts'
import * as requests from './kvm/ioctl.ts'

export * from './kvm/capability.ts'
export * from './kvm/device.ts'
export * from './kvm/errnos.ts'
export * from './kvm/exit.ts'
export * from './kvm/ioctl.ts'
export * from './kvm/irqchip.ts'
export * from './kvm/number.ts'
export * from './kvm/state.ts'
export * from './kvm/struct.ts'

const names = (numbers: Record<string, number>): ReadonlyMap<number, string> =>
  new Map(Object.entries(numbers).map(([name, number]) => [number, name]))

/** Request number to name, of every ioctl that has one here. */
export const KVM_IOCTL_NAMES = names(requests)
/** Capability number to name. */
export const KVM_CAP_NAMES = names(capabilities)
