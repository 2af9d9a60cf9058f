/** Where a GSI leads: to messages, and to pins of the controllers in the kernel. Linux virt/kvm/irqchip.c, arch/x86/kvm/irq.c. */
import { type ApicCommand, deliverCommand } from '#x86'
import type { LineSource } from './ordinary/irqchip.ts'
import type { Vm } from './vm.ts'

/** A message-signalled interrupt: where it is written, and what. SDM Vol. 3A, "Message Signalled Interrupts". */
export type Msi = {
  readonly kind: 'msi'
  readonly address_lo: number
  readonly address_hi: number
  readonly data: number
}
/** An input of a controller in the kernel: of both PICs 0 to 15, of the I/O APIC 0 to 23. */
export type Pin = { readonly kind: 'pin'; readonly chip: 'pic' | 'ioapic'; readonly pin: number }
export type Route = Msi | Pin

/** GSI to where it leads: one message, or one pin of each controller. */
export type Routes = ReadonlyMap<number, readonly Route[]>

/** KVM_CREATE_IRQCHIP: the first 16 are inputs of both, the others of the I/O APIC alone. */
export const defaultRoutes = (): Routes =>
  new Map(
    Array.from({ length: 24 }, (_, pin) => [
      pin,
      (pin < 16 ? (['ioapic', 'pic'] as const) : (['ioapic'] as const)).map(chip => ({ kind: 'pin', chip, pin })),
    ]),
  )

/** Sends a message to the local APICs it names; how many took it, undefined where there is none. */
export const sendMsi = (vm: Vm, { address_lo, address_hi, data }: Omit<Msi, 'kind'>): number | undefined => {
  const upper = vm.hasX2apicIds ? address_hi & ~0xff : 0
  const command: ApicCommand = {
    delivery: (data >>> 8) & 7,
    vector: data & 0xff,
    level: true,
    isLevel: (data & (1 << 15)) !== 0,
    logical: (address_lo & 4) !== 0,
    shorthand: 0,
    destination: (((address_lo >>> 12) & 0xff) | upper) >>> 0,
  }
  return deliverCommand(vm.apics, command, undefined, vm.hasX2apicIds)
}

/**
 * A GSI's line. How many interrupts came of it, 0 where it is one with an earlier one, -1 where it is lost: masked, or
 * without a route. A message is sent when the line rises. `asksServed`: as `IoApic.set`.
 */
export const setLine = (vm: Vm, gsi: number, source: LineSource, level: boolean, asksServed = false): number => {
  let result = -1
  for (const route of vm.routes.get(gsi) ?? []) {
    const got =
      route.kind === 'pin'
        ? (vm.chips?.set(route, source, level, asksServed) ?? -1)
        : level
          ? (sendMsi(vm, route) ?? -1)
          : -1
    if (got >= 0) result = Math.max(result, 0) + got
  }
  return result
}
