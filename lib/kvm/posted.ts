/**
 * Interrupts of a TD's vCPU: KVM keeps the parts of a local APIC that the TDX module does not (timer, ICR, LVTs), and
 * posts what arrives to the virtual APIC in the TDVPS. Linux arch/x86/kvm/vmx/tdx.c, tdx_deliver_interrupt and
 * tdx_protected_apic_has_interrupt; SDM Vol. 3C, "Posted-Interrupt Processing".
 */
import { VMCS_FIELDS, VP_FIELDS } from '#abi'
import { type Hpa, hpa } from '#bits'
import { Apic, type Cpu, deliverCommand } from '#x86'
import { ApicClock, ticksToTimer } from './apicclock.ts'
import { fieldNamed } from './field.ts'
import type { Vcpu } from './vcpu.ts'

const NOTIFICATION_VECTOR = fieldNamed(VMCS_FIELDS, 'POSTED_INTERRUPT_NOTIFICATION_VECTOR')
const DESCRIPTOR = fieldNamed(VMCS_FIELDS, 'POSTED_INTERRUPT_DESCRIPTOR_ADDRESS')
const PIN_BASED = fieldNamed(VMCS_FIELDS, 'PINBASED_EXEC_CONTROLS')
const STATE_DETAILS = fieldNamed(VP_FIELDS, 'VCPU_STATE_DETAILS')
/** The host's vector for notifications. Linux arch/x86/include/asm/irq_vectors.h, POSTED_INTR_VECTOR. */
const POSTED_INTR_VECTOR = 0xf2n
const PROCESS_POSTED = 0x80n
/** VCPU_STATE_DETAILS bit 0: the virtual APIC has an interrupt that the guest would take. */
const VMXIP = 1n
const ON_BYTE = 32
const X2APIC_EOI = 0x80b
const BASE_EXTD = 1n << 10n

export class Posted {
  readonly #vcpu: Vcpu
  readonly #clock: ApicClock
  readonly apic: Apic
  /** The posted-interrupt descriptor's frame, or 0 before INIT_VCPU. */
  #descriptor: Hpa = hpa(0)
  /** Ticks that went by while the guest was halted. */
  #idle = 0

  constructor(vcpu: Vcpu) {
    this.#vcpu = vcpu
    this.#clock = new ApicClock(vcpu.vm)
    this.apic = new Apic(vcpu.id, {
      now: () => this.#clock.cycles(this.ticks),
      tsc: () => this.#cpu?.tsc ?? 0n,
      send: (command, from) => deliverCommand(vcpu.vm.apics, command, from),
      changed: () => this.#postAll(),
      nmi: () => {
        vcpu.isNmiPending = true
      },
      // A TD's vCPUs know neither INIT nor SIPI.
      init: () => {},
      startup: () => {},
    })
  }

  /** Instructions run, and ticks slept through. */
  get ticks(): number {
    return (this.#cpu?.instructions ?? 0) + this.#idle
  }

  /** Ticks until the timer has something to say; undefined: it never will. */
  get ticksToTimer(): number | undefined {
    // Nothing else is to be known of a timer that does not run.
    return this.apic.isTimerIdle ? undefined : ticksToTimer(this.apic, this.#clock, this.ticks)
  }

  /** The clock that the guest's TSC shows is the emulated processor's. */
  get #cpu(): Cpu | undefined {
    const { seam, tdvpr } = this.#vcpu
    return tdvpr === 0 ? undefined : seam.module.inspect(tdvpr)?.cpu
  }

  /** INIT_VCPU: x2APIC mode, and a descriptor for the TDX module. */
  start(): void {
    const vcpu = this.#vcpu
    this.#descriptor = vcpu.vm.host.memory.allocate()
    this.apic.base |= BASE_EXTD
    vcpu.writeField(NOTIFICATION_VECTOR, POSTED_INTR_VECTOR)
    vcpu.writeField(DESCRIPTOR, BigInt(this.#descriptor))
    vcpu.writeField(PIN_BASED, PROCESS_POSTED)
  }

  /** Another vCPU's interrupts are this one's: its timer, and what it has not handed over. */
  take(from: Posted): void {
    this.start()
    this.#idle = from.#idle
    this.apic.load(from.apic.save())
    this.apic.deadline = from.apic.deadline
    const { view } = this.#vcpu
    for (let vector = 0; vector < 256; vector++) {
      const word = view.getUint32(from.#descriptor + (vector >>> 5) * 4, true)
      if (((word >>> (vector & 31)) & 1) !== 0) this.#post(vector)
    }
  }

  /** What the APIC would give to a processor goes to the virtual APIC, which alone knows priorities and EOI. */
  #postAll(): void {
    const { apic } = this
    while (this.#descriptor !== 0 && apic.ready()) {
      this.#post(apic.take())
      apic.writeMsr(X2APIC_EOI, 0n)
    }
  }

  #post(vector: number): void {
    const { view } = this.#vcpu
    const at = this.#descriptor + (vector >>> 5) * 4
    view.setUint32(at, (view.getUint32(at, true) | (1 << (vector & 31))) >>> 0, true)
    view.setUint8(this.#descriptor + ON_BYTE, view.getUint8(this.#descriptor + ON_BYTE) | 1)
  }

  /** Does an interrupt wake a halted vCPU? `isBlocked`: its guest said that it takes none. */
  hasInterrupt(isBlocked: boolean): boolean {
    const vcpu = this.#vcpu
    if (this.#descriptor !== 0 && (vcpu.view.getUint8(this.#descriptor + ON_BYTE) & 1) !== 0) return true
    return !isBlocked && (vcpu.readField(STATE_DETAILS) & VMXIP) !== 0n
  }

  /** Only a timer can wake the halted guest: the time until then goes by, `most` ticks of it. False where none runs and there is no `most`. */
  sleep(most?: number): boolean {
    const timer = this.ticksToTimer
    const ticks = most === undefined ? timer : Math.min(timer ?? most, most)
    const cpu = this.#cpu
    if (ticks === undefined || cpu === undefined) return false
    this.#idle += ticks
    cpu.tscOffset += BigInt(ticks)
    this.apic.tick()
    return true
  }

  close(): void {
    if (this.#descriptor !== 0) this.#vcpu.vm.host.memory.free(this.#descriptor)
    this.#descriptor = hpa(0)
  }
}
