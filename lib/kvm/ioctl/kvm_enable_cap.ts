/** KVM_ENABLE_CAP on a VM. */

import {
  KVM_CAP_DIRTY_LOG_RING,
  KVM_CAP_DIRTY_LOG_RING_ACQ_REL,
  KVM_CAP_EXIT_HYPERCALL,
  KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
  KVM_CAP_MAX_VCPUS,
  KVM_CAP_NAMES,
  KVM_CAP_SPLIT_IRQCHIP,
  KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM,
  KVM_CAP_X2APIC_API,
  KVM_CAP_X86_APIC_BUS_CYCLES_NS,
  KVM_CAP_X86_USER_SPACE_MSR,
  KVM_DIRTY_LOG_INITIALLY_SET,
  KVM_MAX_IRQ_ROUTES,
  KVM_X2APIC_API_USE_32BIT_IDS,
  kvm_enable_cap,
} from '#abi'
import { hva, NotModelled } from '#bits'
import { EXIT_HYPERCALL_MASK, MANUAL_DIRTY_LOG_MASK, USER_SPACE_MSR_MASK, X2APIC_API_MASK } from '../capability.ts'
import { Errno } from '../errno.ts'
import type { Vm } from '../vm.ts'
import { enableDirtyRing } from './kvm_dirty_ring.ts'
import { moveTdFrom } from './kvm_move.ts'

/** Bits of an argument, all of which must be in `mask`. */
const only = (name: string, value: bigint, mask: bigint): bigint => {
  if ((value & ~mask) !== 0n) {
    throw new Errno(
      'EINVAL',
      `KVM_ENABLE_CAP: ${name}: 0x${value.toString(16)} has bits outside 0x${mask.toString(16)}`,
    )
  }
  return value
}

/**
 * EINVAL: unknown capability, flags, or an argument out of range; E2BIG: too great a dirty ring; EEXIST: an irqchip is there,
 * or vCPUs are.
 * Not modelled: enabling other capabilities of a VM.
 */
export const enableCap = (vm: Vm, arg: bigint): number => {
  const { cap, flags, args } = vm.host.space.get(kvm_enable_cap, hva(arg))
  const [first = 0n] = args
  const name = KVM_CAP_NAMES.get(cap) ?? `capability ${cap}`
  if (flags !== 0) throw new Errno('EINVAL', `KVM_ENABLE_CAP: ${name}: flags ${flags}; want 0`)
  switch (cap) {
    case KVM_CAP_SPLIT_IRQCHIP:
      if (first > BigInt(KVM_MAX_IRQ_ROUTES)) {
        throw new Errno('EINVAL', `KVM_ENABLE_CAP: ${name}: ${first} pins; at most ${KVM_MAX_IRQ_ROUTES}`)
      }
      if (vm.irqchip !== 'none') throw new Errno('EEXIST', `KVM_ENABLE_CAP: ${name}: the VM has its irqchip`)
      if (vm.vcpus.size > 0) throw new Errno('EEXIST', `KVM_ENABLE_CAP: ${name}: the VM has vCPUs already`)
      vm.irqchip = 'split'
      return 0
    case KVM_CAP_MAX_VCPUS:
      // Errors unconfirmed: the same ones as for the other limits.
      if (first === 0n || first > BigInt(vm.maxVcpus) || (vm.isTd && vm.td.state !== 'uninitialized')) {
        throw new Errno('EINVAL', `KVM_ENABLE_CAP: ${name}: ${first}; want 1 to ${vm.maxVcpus}, before INIT_VM`)
      }
      vm.maxVcpus = Number(first)
      return 0
    case KVM_CAP_X2APIC_API:
      vm.hasX2apicIds = (only(name, first, X2APIC_API_MASK) & KVM_X2APIC_API_USE_32BIT_IDS) !== 0n
      return 0
    case KVM_CAP_EXIT_HYPERCALL:
      vm.exitHypercalls = only(name, first, EXIT_HYPERCALL_MASK)
      return 0
    case KVM_CAP_X86_USER_SPACE_MSR:
      vm.userSpaceMsr = Number(only(name, first, USER_SPACE_MSR_MASK))
      return 0
    case KVM_CAP_X86_APIC_BUS_CYCLES_NS:
      if (vm.irqchip === 'none') throw new Errno('ENXIO', `KVM_ENABLE_CAP: ${name}: the VM has no irqchip`)
      if (first === 0n || vm.vcpus.size > 0) {
        throw new Errno('EINVAL', `KVM_ENABLE_CAP: ${name}: ${first} ns; want more than 0, before any vCPU`)
      }
      vm.apicBusCycleNs = Number(first & 0xffff_ffffn)
      return 0
    case KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2:
      if ((first & ~MANUAL_DIRTY_LOG_MASK) !== 0n || first === KVM_DIRTY_LOG_INITIALLY_SET) {
        throw new Errno('EINVAL', `KVM_ENABLE_CAP: ${name}: ${first}; want 0, 1 or 3`)
      }
      vm.manualDirtyLog = first
      return 0
    case KVM_CAP_DIRTY_LOG_RING:
    case KVM_CAP_DIRTY_LOG_RING_ACQ_REL:
      return enableDirtyRing(vm, first)
    case KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM:
      return moveTdFrom(vm, first)
    default:
      if (KVM_CAP_NAMES.has(cap)) throw new NotModelled(`KVM_ENABLE_CAP of ${name}`)
      throw new Errno('EINVAL', `KVM_ENABLE_CAP: ${name} cannot be enabled on a VM`)
  }
}
