/** Interrupts from the host: KVM_SIGNAL_MSI, KVM_SET_GSI_ROUTING, KVM_IRQFD, KVM_IRQ_LINE. Linux virt/kvm/eventfd.c, irqchip.c, arch/x86/kvm/irq.c. */
import {
  KVM_IRQ_ROUTING_IRQCHIP,
  KVM_IRQ_ROUTING_MSI,
  KVM_IRQFD_FLAG_DEASSIGN,
  KVM_IRQFD_FLAG_RESAMPLE,
  KVM_MAX_IRQ_ROUTES,
  kvm_irq_level,
  kvm_irq_routing,
  kvm_irq_routing_entry,
  kvm_irqfd,
  kvm_msi,
} from '#abi'
import { hva, NotModelled } from '#bits'
import { deliverCommand } from '#x86'
import { Errno } from '../errno.ts'
import { EventFd } from '../eventfd.ts'
import type { Vm } from '../vm.ts'

/** A message-signalled interrupt: where it is written, and what. SDM Vol. 3A, "Message Signalled Interrupts". */
export type Msi = { readonly address_lo: number; readonly address_hi: number; readonly data: number }

/** Sends an MSI to the local APICs it names; how many there are. */
export const sendMsi = (vm: Vm, { address_lo, address_hi, data }: Msi): number => {
  const { apics } = vm
  const [first] = apics
  if (first === undefined) return 0
  const upper = vm.hasX2apicIds ? address_hi & ~0xff : 0
  const command = {
    delivery: (data >>> 8) & 7,
    vector: data & 0xff,
    level: true,
    logical: (address_lo & 4) !== 0,
    shorthand: 0,
    destination: (((address_lo >>> 12) & 0xff) | upper) >>> 0,
  }
  const named = apics.filter(apic => apic.isNamedBy(command, vm.hasX2apicIds)).length
  if (named > 0) deliverCommand(apics, command, first)
  return named
}

const requireIrqchip = (vm: Vm, what: string, code: 'EINVAL' | 'ENXIO'): void => {
  if (vm.irqchip === 'none') throw new Errno(code, `${what}: the VM has no irqchip`)
}

/** How many APICs got it. EINVAL: flags, no irqchip. */
export const signalMsi = (vm: Vm, arg: bigint): number => {
  const msi = vm.host.space.get(kvm_msi, hva(arg))
  requireIrqchip(vm, 'KVM_SIGNAL_MSI', 'EINVAL')
  if (msi.flags !== 0) throw new Errno('EINVAL', `KVM_SIGNAL_MSI: flags ${msi.flags}; want 0`)
  return sendMsi(vm, msi)
}

/** Replaces all routes. EINVAL: flags, too many, a pin of an I/O APIC that userspace has, or an unknown type. */
export const setGsiRouting = (vm: Vm, arg: bigint): number => {
  const { space } = vm.host
  const { nr, flags } = space.get(kvm_irq_routing, hva(arg))
  const invalid = (why: string): Errno => new Errno('EINVAL', `KVM_SET_GSI_ROUTING: ${why}`)
  requireIrqchip(vm, 'KVM_SET_GSI_ROUTING', 'EINVAL')
  if (nr > KVM_MAX_IRQ_ROUTES || flags !== 0) throw invalid(`${nr} routes, flags ${flags}`)
  const routes = new Map<number, Msi>()
  for (let i = 0; i < nr; i++) {
    const at = arg + BigInt(kvm_irq_routing.size + i * kvm_irq_routing_entry.size)
    const entry = space.get(kvm_irq_routing_entry, hva(at))
    if (entry.gsi >= KVM_MAX_IRQ_ROUTES) throw invalid(`GSI ${entry.gsi} is not below ${KVM_MAX_IRQ_ROUTES}`)
    if (entry.type === KVM_IRQ_ROUTING_IRQCHIP && vm.irqchip === 'kernel') {
      // Not modelled: pins of an in-kernel I/O APIC or PIC, whose routes lead nowhere.
      continue
    }
    if (entry.type !== KVM_IRQ_ROUTING_MSI)
      throw invalid(`route ${i} has type ${entry.type}; want ${KVM_IRQ_ROUTING_MSI} (MSI)`)
    if (entry.flags !== 0) throw invalid(`route ${i} has flags ${entry.flags}; want 0`)
    routes.set(entry.gsi, entry)
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
 * From now on a write to the eventfd is the GSI's interrupt. EBADF; EINVAL: no eventfd, unknown flags, or RESAMPLE for a TD,
 * whose EOIs KVM does not see; EBUSY: the eventfd has a GSI already.
 */
export const irqfd = (vm: Vm, arg: bigint): number => {
  const { fd, gsi, flags } = vm.host.space.get(kvm_irqfd, hva(arg))
  if ((flags & ~(KVM_IRQFD_FLAG_DEASSIGN | KVM_IRQFD_FLAG_RESAMPLE)) !== 0) {
    throw new Errno('EINVAL', `KVM_IRQFD: flags ${flags} are unknown`)
  }
  const file = eventFdOf(vm, fd)
  if ((flags & KVM_IRQFD_FLAG_DEASSIGN) !== 0) {
    const known = vm.irqfds.get(file)
    if (known?.gsi === gsi) vm.dropIrqfd(file)
    return 0
  }
  if ((flags & KVM_IRQFD_FLAG_RESAMPLE) !== 0) {
    if (vm.isTd) throw new Errno('EINVAL', "KVM_IRQFD: RESAMPLE needs EOIs, and a TD's are the TDX module's")
    // Not modelled: KVM_IRQFD with RESAMPLE, which wants the EOIs of an I/O APIC.
    throw new NotModelled('KVM_IRQFD with RESAMPLE')
  }
  if (vm.irqfds.has(file)) throw new Errno('EBUSY', `KVM_IRQFD: eventfd ${fd} has a GSI already`)
  const heard = (): void => {
    file.take()
    const route = vm.routes.get(gsi)
    if (route !== undefined) sendMsi(vm, route)
  }
  vm.irqfds.set(file, { gsi, heard })
  file.references++
  file.listeners.add(heard)
  return 0
}

/** ENXIO: no irqchip. */
export const irqLine = (vm: Vm, arg: bigint): number => {
  const { irq, level } = vm.host.space.get(kvm_irq_level, hva(arg))
  requireIrqchip(vm, 'KVM_IRQ_LINE', 'ENXIO')
  // Not modelled: KVM_IRQ_LINE to a pin of the PIC or the I/O APIC.
  if (vm.irqchip === 'kernel') throw new NotModelled('KVM_IRQ_LINE to an in-kernel I/O APIC')
  const route = vm.routes.get(irq)
  if (route !== undefined && level !== 0) sendMsi(vm, route)
  return 0
}
