/** Interrupts from the host: KVM_SIGNAL_MSI, KVM_SET_GSI_ROUTING, KVM_IRQFD, KVM_IRQ_LINE(_STATUS). Linux virt/kvm/eventfd.c, irqchip.c, arch/x86/kvm/irq.c. */
import {
  KVM_IOAPIC_NUM_PINS,
  KVM_IRQ_ROUTING_IRQCHIP,
  KVM_IRQ_ROUTING_MSI,
  KVM_IRQCHIP_IOAPIC,
  KVM_IRQCHIP_PIC_MASTER,
  KVM_IRQCHIP_PIC_SLAVE,
  KVM_IRQFD_FLAG_DEASSIGN,
  KVM_IRQFD_FLAG_RESAMPLE,
  KVM_MAX_IRQ_ROUTES,
  kvm_irq_level,
  kvm_irq_routing,
  kvm_irq_routing_entry,
  kvm_irqfd,
  kvm_msi,
} from '#abi'
import { hva } from '#bits'
import { Errno } from '../errno.ts'
import { EventFd } from '../eventfd.ts'
import { drop } from '../file.ts'
import { type Pin, type Route, sendMsi, setLine } from '../route.ts'
import type { Vm } from '../vm.ts'

const requireIrqchip = (vm: Vm, what: string, code: 'EINVAL' | 'ENXIO'): void => {
  if (vm.irqchip === 'none') throw new Errno(code, `${what}: the VM has no irqchip`)
}

/** KVM_X2APIC_API_USE_32BIT_IDS: the lowest byte of the address's upper half, which is no part of an ID, is to be 0. */
const hasUnknownBits = (vm: Vm, address_hi: number): boolean => vm.hasX2apicIds && (address_hi & 0xff) !== 0

/** How many APICs got it. EINVAL: flags, no irqchip, reserved bits of the address. */
export const signalMsi = (vm: Vm, arg: bigint): number => {
  const msi = vm.host.space.get(kvm_msi, hva(arg))
  requireIrqchip(vm, 'KVM_SIGNAL_MSI', 'EINVAL')
  if (msi.flags !== 0) throw new Errno('EINVAL', `KVM_SIGNAL_MSI: flags ${msi.flags}; want 0`)
  if (hasUnknownBits(vm, msi.address_hi)) throw new Errno('EINVAL', `KVM_SIGNAL_MSI: address_hi ${msi.address_hi}`)
  return sendMsi(vm, msi) ?? 0
}

/** The pin that an entry of type KVM_IRQ_ROUTING_IRQCHIP names: its union is chip and pin. Undefined where there is none. */
const pinOf = (chip: number, pin: number): Pin | undefined => {
  switch (chip) {
    case KVM_IRQCHIP_PIC_MASTER:
      return pin < 8 ? { kind: 'pin', chip: 'pic', pin } : undefined
    case KVM_IRQCHIP_PIC_SLAVE:
      return pin < 8 ? { kind: 'pin', chip: 'pic', pin: pin + 8 } : undefined
    case KVM_IRQCHIP_IOAPIC:
      return pin < KVM_IOAPIC_NUM_PINS ? { kind: 'pin', chip: 'ioapic', pin } : undefined
    default:
      return undefined
  }
}

/** Replaces all routes. EINVAL: flags, too many, an unknown type, a pin that is not in the kernel, or two routes that cannot be one GSI's. */
export const setGsiRouting = (vm: Vm, arg: bigint): number => {
  const { space } = vm.host
  const { nr, flags } = space.get(kvm_irq_routing, hva(arg))
  const invalid = (why: string): Errno => new Errno('EINVAL', `KVM_SET_GSI_ROUTING: ${why}`)
  requireIrqchip(vm, 'KVM_SET_GSI_ROUTING', 'EINVAL')
  if (nr > KVM_MAX_IRQ_ROUTES || flags !== 0) throw invalid(`${nr} routes, flags ${flags}`)
  const routes = new Map<number, Route[]>()
  for (let i = 0; i < nr; i++) {
    const at = arg + BigInt(kvm_irq_routing.size + i * kvm_irq_routing_entry.size)
    const { gsi, type, flags, address_lo, address_hi, data } = space.get(kvm_irq_routing_entry, hva(at))
    if (gsi >= KVM_MAX_IRQ_ROUTES) throw invalid(`GSI ${gsi} is not below ${KVM_MAX_IRQ_ROUTES}`)
    if (type !== KVM_IRQ_ROUTING_MSI && (type !== KVM_IRQ_ROUTING_IRQCHIP || vm.chips === undefined))
      throw invalid(`route ${i} has type ${type}; want ${KVM_IRQ_ROUTING_MSI} (MSI)`)
    if (flags !== 0) throw invalid(`route ${i} has flags ${flags}; want 0`)
    if (type === KVM_IRQ_ROUTING_MSI && hasUnknownBits(vm, address_hi))
      throw invalid(`route ${i} has address_hi ${address_hi}, whose lowest byte is to be 0`)
    const route: Route | undefined =
      type === KVM_IRQ_ROUTING_MSI ? { kind: 'msi', address_lo, address_hi, data } : pinOf(address_lo, address_hi)
    if (route === undefined) throw invalid(`route ${i} is pin ${address_hi} of chip ${address_lo}, which has none such`)
    const known = routes.get(gsi) ?? []
    const isOne = (other: Route) => other.kind === 'msi' || route.kind === 'msi' || other.chip === route.chip
    if (known.some(isOne)) throw invalid(`GSI ${gsi} has a route already that bears no other one like route ${i}`)
    routes.set(gsi, [...known, route])
  }
  vm.routes = routes
  return 0
}

const eventFdOf = (vm: Vm, fd: number): EventFd => {
  const file = vm.host.descriptors.get(fd)
  if (!(file instanceof EventFd))
    throw new Errno('EINVAL', `KVM_IRQFD: descriptor ${fd} is a ${file.kind}, not an eventfd`)
  return file
}

/**
 * Tells `resample` whenever the guest has ended the service of the GSI, whose line falls then; it is up to whoever has the
 * device to raise it again. What to call when that shall be over.
 */
const sampleAgain = (vm: Vm, gsi: number, resample: EventFd): (() => void) => {
  const ask = (): void => {
    resample.write(1n)
  }
  const ended = (served: number): void => {
    if (served !== gsi) return
    setLine(vm, gsi, 'resample', false)
    ask()
  }
  const sampler = { gsi, ask }
  vm.chips?.onEnd.add(ended)
  vm.chips?.samplers.add(sampler)
  resample.references++
  return () => {
    vm.chips?.onEnd.delete(ended)
    vm.chips?.samplers.delete(sampler)
    setLine(vm, gsi, 'resample', false)
    drop(resample)
  }
}

/**
 * From now on a write to the eventfd is the GSI's interrupt. EBADF; EINVAL: no eventfd, unknown flags, no irqchip, or RESAMPLE without
 * an I/O APIC in the kernel, whose EOIs it needs (a TD's are the TDX module's); EBUSY: the eventfd has a GSI already.
 */
export const irqfd = (vm: Vm, arg: bigint): number => {
  const { fd, gsi, flags, resamplefd } = vm.host.space.get(kvm_irqfd, hva(arg))
  if ((flags & ~(KVM_IRQFD_FLAG_DEASSIGN | KVM_IRQFD_FLAG_RESAMPLE)) !== 0) {
    throw new Errno('EINVAL', `KVM_IRQFD: flags ${flags} are unknown`)
  }
  if ((flags & KVM_IRQFD_FLAG_DEASSIGN) !== 0) {
    const file = eventFdOf(vm, fd)
    const known = vm.irqfds.get(file)
    if (known?.gsi === gsi) vm.dropIrqfd(file)
    return 0
  }
  const isSampled = (flags & KVM_IRQFD_FLAG_RESAMPLE) !== 0
  requireIrqchip(vm, 'KVM_IRQFD', 'EINVAL')
  if (isSampled && vm.chips === undefined)
    throw new Errno('EINVAL', 'KVM_IRQFD: RESAMPLE needs the EOIs of an I/O APIC in the kernel')
  const file = eventFdOf(vm, fd)
  const resample = isSampled ? eventFdOf(vm, resamplefd) : undefined
  if (vm.irqfds.has(file)) throw new Errno('EBUSY', `KVM_IRQFD: eventfd ${fd} has a GSI already`)
  const heard = (): void => {
    file.take()
    setLine(vm, gsi, isSampled ? 'resample' : 'userspace', true)
    // Without anybody who samples it again the interrupt is an edge.
    if (!isSampled) setLine(vm, gsi, 'userspace', false)
  }
  const close = resample === undefined ? () => {} : sampleAgain(vm, gsi, resample)
  vm.irqfds.set(file, { gsi, heard, close })
  file.references++
  file.listeners.add(heard)
  return 0
}

/** ENXIO: no irqchip. */
export const irqLine = (vm: Vm, arg: bigint): number => {
  const { irq, level } = vm.host.space.get(kvm_irq_level, hva(arg))
  requireIrqchip(vm, 'KVM_IRQ_LINE', 'ENXIO')
  setLine(vm, irq, 'userspace', level !== 0)
  return 0
}

/** The same, and `level` says what came of it: how many interrupts, 0 for one that is one with an earlier one, -1 for a masked one. */
export const irqLineStatus = (vm: Vm, arg: bigint): number => {
  const { irq, level } = vm.host.space.get(kvm_irq_level, hva(arg))
  requireIrqchip(vm, 'KVM_IRQ_LINE_STATUS', 'ENXIO')
  vm.host.space.set(kvm_irq_level, hva(arg), { level: setLine(vm, irq, 'userspace', level !== 0, true) >>> 0 })
  return 0
}
