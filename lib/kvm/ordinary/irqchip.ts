/** The interrupt controllers that KVM_CREATE_IRQCHIP gives a VM: two PICs and an I/O APIC. Linux arch/x86/kvm/irq.c. */
import { deliverCommand } from '#x86'
import type { Pin } from '../route.ts'
import type { Vm } from '../vm.ts'
import { IoApic } from './ioapic.ts'
import { Pic } from './pic.ts'

/** Who drives a line; it is high while one does: KVM_USERSPACE_IRQ_SOURCE_ID, KVM_IRQFD_RESAMPLE_IRQ_SOURCE_ID. */
export type LineSource = 'userspace' | 'resample'

const MOST_BYTES = 8

export class Irqchip {
  readonly pic: Pic
  readonly ioapic: IoApic
  /** Whose level is high, by pin. */
  readonly #lines = new Map<string, Set<LineSource>>()
  /** The guest has ended the service of a pin: told to whoever wants to sample its line again. */
  readonly onEnd = new Set<(chip: Pin['chip'], pin: number) => void>()

  constructor(vm: Vm) {
    this.ioapic = new IoApic(command => deliverCommand(vm.apics, command, undefined))
    this.pic = new Pic(
      () => {
        for (const { ordinary } of vm.vcpus.values()) ordinary?.offerInterrupts()
      },
      irq => this.#ended('pic', irq),
    )
  }

  #ended(chip: Pin['chip'], pin: number): void {
    for (const listener of this.onEnd) listener(chip, pin)
  }

  /** A pin as one source has it; the others' levels count too. What comes of it as `IoApic.set`. */
  set({ chip, pin }: Pin, source: LineSource, level: boolean): number {
    const key = `${chip} ${pin}`
    const sources = this.#lines.get(key) ?? new Set()
    this.#lines.set(key, sources)
    if (level) sources.add(source)
    else sources.delete(source)
    return this[chip].set(pin, sources.size > 0)
  }

  /** A local APIC's EOI of a vector. Who samples the line does so before it is looked at again. */
  eoi(vector: number, isLevel: boolean): void {
    for (const pin of this.ioapic.pinsOf(vector)) {
      this.#ended('ioapic', pin)
      if (isLevel) this.ioapic.eoi(pin)
    }
  }

  has(kind: 'mmio' | 'port', at: number): boolean {
    return kind === 'mmio' ? this.ioapic.has(at) : this.pic.has(at)
  }

  /** A guest's access of `size` bytes. Of the PICs' registers only bytes can be read and written. */
  read(kind: 'mmio' | 'port', at: number, size: number): bigint {
    if (kind === 'port') return size === 1 ? BigInt(this.pic.read(at)) : 0n
    return BigInt.asUintN(8 * Math.min(size, MOST_BYTES), BigInt(this.ioapic.read(at) >>> 0))
  }

  write(kind: 'mmio' | 'port', at: number, size: number, value: bigint): void {
    const low = Number(BigInt.asUintN(Math.min(8 * size, 32), value))
    if (kind === 'mmio') this.ioapic.write(at, low)
    else if (size === 1) this.pic.write(at, low)
  }
}
