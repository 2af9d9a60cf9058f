/** The last exits and ucalls of a VM, so that a failure can show what led to it. */
import type { Step } from '#reports'
import { type Exit, fieldsOf, type Ucall } from './exits.ts'

const LENGTH = 12

/** A ring. Nothing is decoded before somebody asks: an exit may still be answered. */
export class Steps {
  readonly #ring: { vcpu: number; exit: Exit | Ucall }[] = []
  #next = 0

  push(vcpu: number, exit: Exit | Ucall): void {
    const slot = this.#ring[this.#next % LENGTH]
    if (slot === undefined) this.#ring.push({ vcpu, exit })
    else {
      slot.vcpu = vcpu
      slot.exit = exit
    }
    this.#next++
  }

  /** Oldest first, named and decoded. */
  list(): Step[] {
    const from = this.#next <= LENGTH ? 0 : this.#next % LENGTH
    const ordered = [...this.#ring.slice(from), ...this.#ring.slice(0, from)]
    return ordered.map(({ vcpu, exit }) => ({ vcpu, name: exit.name, fields: fieldsOf(exit) }))
  }
}
