/** The interrupt controllers that KVM_CREATE_IRQCHIP gives a VM, two PICs and an I/O APIC, and the PIT of KVM_CREATE_PIT2. Linux arch/x86/kvm/irq.c. */

import { KVM_PIT_SPEAKER_DUMMY } from '#abi'
import { deliverCommand } from '#x86'
import { nanosecondsOf, ticksIn } from '../clock.ts'
import { type Pin, setLine } from '../route.ts'
import type { Vm } from '../vm.ts'
import { IoApic } from './ioapic.ts'
import { Pic } from './pic.ts'
import { Pit } from './pit.ts'

/** Who drives a line; it is high while one does: KVM_USERSPACE_IRQ_SOURCE_ID, KVM_IRQFD_RESAMPLE_IRQ_SOURCE_ID, KVM_PIT_IRQ_SOURCE_ID. */
export type LineSource = 'userspace' | 'resample' | 'pit'

const MOST_BYTES = 8
const PIT_GSI = 0

export class Irqchip {
  readonly pic: Pic
  readonly ioapic: IoApic
  pit: Pit | undefined
  readonly #vm: Vm
  /** Whose level is high, by pin. */
  readonly #lines = new Map<string, Set<LineSource>>()
  /** The guest has ended the service of a pin: told to whoever wants to sample its line again. */
  readonly onEnd = new Set<(gsi: number) => void>()
  /** GSIs whose lines somebody samples, and how to ask for it: one for each irqfd. */
  readonly samplers = new Set<{ readonly gsi: number; readonly ask: () => void }>()

  constructor(vm: Vm) {
    this.#vm = vm
    this.ioapic = new IoApic({
      send: command => deliverCommand(vm.apics, command, undefined),
      resample: pin => this.#resample(pin),
      masked: (pin, isMasked) => this.#masked('ioapic', pin, isMasked),
    })
    this.pic = new Pic({
      changed: () => {
        for (const { ordinary } of vm.vcpus.values()) ordinary?.offerInterrupts()
      },
      ended: irq => this.#ended('pic', irq),
      masked: (irq, isMasked) => this.#masked('pic', irq, isMasked),
      isTaken: () => [...vm.vcpus.values()].some(({ apic }) => apic?.takesExtInt === true),
    })
  }

  /** KVM_CREATE_PIT2. */
  createPit(flags: number): void {
    const vm = this.#vm
    this.pit = new Pit(
      {
        now: () => nanosecondsOf(vm),
        edge: () => {
          const result = setLine(vm, PIT_GSI, 'pit', true)
          setLine(vm, PIT_GSI, 'pit', false)
          return result
        },
      },
      (flags & KVM_PIT_SPEAKER_DUMMY) !== 0,
    )
  }

  /** Ticks of the TSC until the PIT has an interrupt for somebody; undefined: it never will. */
  get ticksToTimer(): number | undefined {
    const { pit } = this
    if (pit?.isHeard !== true) return undefined
    const { untilDue } = pit
    return untilDue === undefined ? undefined : ticksIn(this.#vm, untilDue)
  }

  /** The GSI that a pin is: the first one that leads there. */
  #gsiOf(chip: Pin['chip'], pin: number): number | undefined {
    for (const [gsi, routes] of this.#vm.routes)
      if (routes.some(route => route.kind === 'pin' && route.chip === chip && route.pin === pin)) return gsi
    return undefined
  }

  #ended(chip: Pin['chip'], pin: number): void {
    const gsi = this.#gsiOf(chip, pin)
    if (gsi === undefined) return
    for (const listener of this.onEnd) listener(gsi)
    if (gsi === PIT_GSI) this.pit?.served()
  }

  #masked(chip: Pin['chip'], pin: number, isMasked: boolean): void {
    if (!isMasked && this.#gsiOf(chip, pin) === PIT_GSI) this.pit?.unmasked()
  }

  #resample(pin: number): boolean {
    const gsi = this.#gsiOf('ioapic', pin)
    const asked = [...this.samplers].filter(sampler => sampler.gsi === gsi)
    for (const { ask } of asked) ask()
    return asked.length > 0
  }

  /** A pin as one source has it; the others' levels count too. What comes of it as `IoApic.set`. */
  set({ chip, pin }: Pin, source: LineSource, level: boolean, asksServed = false): number {
    const key = `${chip} ${pin}`
    const sources = this.#lines.get(key) ?? new Set()
    this.#lines.set(key, sources)
    if (level) sources.add(source)
    else sources.delete(source)
    const isHigh = sources.size > 0
    return chip === 'pic' ? this.pic.set(pin, isHigh) : this.ioapic.set(pin, isHigh, asksServed)
  }

  /** A local APIC's EOI of a vector. Who samples the line does so before it is looked at again. */
  eoi(vector: number, isLevel: boolean): void {
    for (const pin of this.ioapic.pinsOf(vector)) {
      this.#ended('ioapic', pin)
      if (isLevel) this.ioapic.eoi(pin)
    }
  }

  has(kind: 'mmio' | 'port', at: number, size: number): boolean {
    if (kind === 'mmio') return this.ioapic.has(at)
    return this.pic.has(at, size) || this.pit?.has(at, size) === true
  }

  /** A guest's access of `size` bytes. Of the PICs' registers only bytes can be read and written. */
  read(kind: 'mmio' | 'port', at: number, size: number): bigint {
    if (kind === 'port' && this.pit?.has(at, size) === true) return BigInt(this.pit.read(at))
    if (kind === 'port') return size === 1 ? BigInt(this.pic.read(at)) : 0n
    return BigInt.asUintN(8 * Math.min(size, MOST_BYTES), BigInt(this.ioapic.read(at) >>> 0))
  }

  write(kind: 'mmio' | 'port', at: number, size: number, value: bigint): void {
    const low = Number(BigInt.asUintN(Math.min(8 * size, 32), value))
    if (kind === 'mmio') this.ioapic.write(at, low)
    else if (this.pit?.has(at, size) === true) this.pit.write(at, low)
    else if (size === 1) this.pic.write(at, low)
  }
}
