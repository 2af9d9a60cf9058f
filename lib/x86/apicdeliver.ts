/** Interrupt commands on their way from one local APIC, or a device, to others. SDM Vol. 3A, "Issuing Interprocessor Interrupts". */
import type { Apic } from './apic.ts'
import { DELIVERY } from './apicregisters.ts'

/** What one APIC asks of another one. */
export type Command = {
  readonly delivery: number
  readonly vector: number
  readonly level: boolean
  readonly logical: boolean
  /** 1 self, 2 all, 3 all but self. */
  readonly shorthand: number
  readonly destination: number
  /** The interrupt is level-triggered: its EOI is told. */
  readonly isLevel?: boolean
}

/**
 * All APICs of a machine: who gets a command. Lowest priority goes to the lowest PPR, then the lowest number. How many took
 * it, undefined where it names none. `from` is undefined for an interrupt of a device, which has no shorthand; `fromX2`:
 * is its destination one of 32 bits?
 */
export const deliver = (
  apics: readonly Apic[],
  command: Command,
  from: Apic | undefined,
  fromX2 = from?.isX2 === true,
): number | undefined => {
  const named = apics.filter(apic => {
    if (command.shorthand === 1) return apic === from
    if (command.shorthand >= 2) return apic.isEnabled && (command.shorthand === 2 || apic !== from)
    return apic.isNamedBy(command, fromX2)
  })
  if (named.length === 0) return undefined
  if (command.delivery !== DELIVERY.LOWEST) return named.filter(apic => apic.receive(command)).length
  let best: Apic | undefined
  for (const apic of named) if (best === undefined || apic.ppr < best.ppr) best = apic
  return best?.receive(command) === true ? 1 : 0
}
