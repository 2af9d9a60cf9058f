/**
 * The I/O APIC of an ordinary VM: 24 pins, each with a redirection entry. Intel 82093AA I/O Advanced Programmable Interrupt
 * Controller (IOAPIC) datasheet, "Memory Mapped Registers for Accessing IOAPIC Registers" and "IOAPIC Registers"; where
 * KVM's is simpler (version 11h without an EOI register, no polarity, the arbitration ID is the ID, reserved bits are kept
 * as they are written), as Linux arch/x86/kvm/ioapic.c.
 * Not modelled: KVM's pause of 10 ms after 10000 interrupts of a level that its guest never serves.
 */
import { KVM_IOAPIC_NUM_PINS, kvm_ioapic_state } from '#abi'
import type { ApicCommand } from '#x86'

const BASE = 0xfec0_0000
const SIZE = 0x100
const [IOREGSEL, IOWIN] = [0, 0x10]
const [ID, VERSION, ARBITRATION, TABLE] = [0, 1, 2, 0x10]
/** Version 11h, and the number of the last pin. */
const VERSION_VALUE = 0x11 | ((KVM_IOAPIC_NUM_PINS - 1) << 16)
/** Bits of the lower half of a redirection entry. */
const [LOGICAL, REMOTE_IRR, LEVEL, MASKED] = [1 << 11, 1 << 14, 1 << 15, 1 << 16]
/** Delivery status and remote IRR. */
const READ_ONLY = (1 << 12) | REMOTE_IRR
/** The real-time clock's pin, of which userspace wants to know whether the guest has served it. */
const RTC = 8

/** What an I/O APIC has around it. */
export type IoApicHost = {
  /** Sends a pin's interrupt: how many local APICs took it, undefined where none is named. */
  send(command: ApicCommand): number | undefined
  /** Tells whoever samples a pin's line that it should do so; false where nobody does. */
  resample?(pin: number): boolean
  masked?(pin: number, isMasked: boolean): void
}

export class IoApic {
  readonly #host: IoApicHost
  /** Lower and upper halves of the redirection entries. */
  readonly #low = new Uint32Array(KVM_IOAPIC_NUM_PINS).fill(MASKED)
  readonly #high = new Uint32Array(KVM_IOAPIC_NUM_PINS)
  #select = 0
  #id = 0
  /** Pins that are asserted. */
  #irr = 0
  /** Edges of those that have been sent. */
  #delivered = 0
  /** As userspace has loaded it: the registers are where they always were, and answer only if this says so. */
  #base = BigInt(BASE)
  /** Local APICs that have the real-time clock's interrupt and have not ended its service, and its vector. */
  #rtc = { unserved: 0, vector: 0 }

  constructor(host: IoApicHost) {
    this.#host = host
  }

  has(gpa: number): boolean {
    const at = BigInt(gpa)
    return gpa >= BASE && gpa < BASE + SIZE && at >= this.#base && at < this.#base + BigInt(SIZE)
  }

  /** A guest's read; both registers are aligned to 16 bytes, and what lies between reads 0. */
  read(gpa: number): number {
    const at = gpa - BASE
    if (at === IOREGSEL) return this.#select
    return at === IOWIN ? this.#register : 0
  }

  write(gpa: number, value: number): void {
    const at = gpa - BASE
    if (at === IOREGSEL) this.#select = value & 0xff
    else if (at === IOWIN) this.#setRegister(value >>> 0)
  }

  get #register(): number {
    const select = this.#select
    if (select === ID || select === ARBITRATION) return (this.#id & 15) << 24
    if (select === VERSION) return VERSION_VALUE
    const pin = (select - TABLE) >> 1
    const half = (select & 1) === 0 ? this.#low : this.#high
    return half[pin] ?? 0xffff_ffff
  }

  #setRegister(value: number): void {
    const select = this.#select
    if (select === ID) this.#id = (value >>> 24) & 15
    const pin = (select - TABLE) >> 1
    if (pin < 0 || pin >= KVM_IOAPIC_NUM_PINS) return
    const before = this.#low[pin]!
    if ((select & 1) === 1) this.#high[pin] = value
    else this.#low[pin] = (value & ~READ_ONLY) | (before & READ_ONLY)
    // Some guests make an entry edge-triggered for a moment to get rid of a remote IRR that was left over.
    if ((this.#low[pin]! & LEVEL) === 0) this.#low[pin] = this.#low[pin]! & ~REMOTE_IRR
    const entry = this.#low[pin]!
    if (((before ^ entry) & MASKED) !== 0) this.#host.masked?.(pin, (entry & MASKED) !== 0)
    if ((entry & LEVEL) === 0 || !this.#isAsserted(pin) || (entry & (MASKED | REMOTE_IRR)) !== 0) return
    // The line may have fallen while it was masked. Who samples it raises it again if it has not.
    if (this.#host.resample?.(pin) === true) this.#irr &= ~(1 << pin)
    else this.#service(pin)
  }

  #isAsserted(pin: number): boolean {
    return ((this.#irr >>> pin) & 1) === 1
  }

  /**
   * A pin's line. How many took an interrupt, 0 where it is one with an earlier one, -1 where it is masked. `asksServed`: the
   * real-time clock's is one with an earlier one also while that is not served.
   */
  set(pin: number, level: boolean, asksServed = false): number {
    const bit = 1 << pin
    if (!level) {
      this.#irr &= ~bit
      return 1
    }
    const isTracked = pin === RTC && asksServed
    if (isTracked && this.#rtc.unserved > 0) return 0
    const was = this.#irr & bit
    this.#irr |= bit
    if ((this.#low[pin]! & LEVEL) === 0) {
      this.#delivered &= ~bit
      if (was !== 0) return 0
    }
    const taken = this.#service(pin)
    if (isTracked && taken >= 0) this.#rtc = { unserved: taken, vector: this.#low[pin]! & 0xff }
    return taken
  }

  #service(pin: number): number {
    const entry = this.#low[pin]!
    const isLevel = (entry & LEVEL) !== 0
    if ((entry & MASKED) !== 0 || (isLevel && (entry & REMOTE_IRR) !== 0)) return -1
    if (!isLevel) this.#delivered |= 1 << pin
    const taken = this.#host.send({
      vector: entry & 0xff,
      delivery: (entry >>> 8) & 7,
      logical: (entry & LOGICAL) !== 0,
      level: true,
      isLevel,
      shorthand: 0,
      destination: this.#high[pin]! >>> 24,
    })
    if (isLevel && taken !== 0) this.#low[pin] = this.#low[pin]! | REMOTE_IRR
    return taken ?? -1
  }

  /** Pins whose interrupt is this vector, whose service a local APIC has ended. */
  pinsOf(vector: number): number[] {
    if (this.#rtc.unserved > 0 && vector === this.#rtc.vector) this.#rtc.unserved--
    return [...this.#low.keys()].filter(pin => (this.#low[pin]! & 0xff) === vector)
  }

  /** The end of service of a pin's vector that came as a level: what is still asserted is sent again. */
  eoi(pin: number): void {
    this.#low[pin] = this.#low[pin]! & ~REMOTE_IRR
    if (this.#isAsserted(pin)) this.#service(pin)
  }

  /** Bytes of kvm_ioapic_state. */
  save(): Uint8Array {
    const redirtbl = new Uint8Array(8 * KVM_IOAPIC_NUM_PINS)
    const view = new DataView(redirtbl.buffer)
    for (const pin of this.#low.keys()) {
      view.setUint32(8 * pin, this.#low[pin]!, true)
      view.setUint32(8 * pin + 4, this.#high[pin]!, true)
    }
    const irr = (this.#irr & ~this.#delivered) >>> 0
    const bytes = new Uint8Array(kvm_ioapic_state.size)
    kvm_ioapic_state.write(new DataView(bytes.buffer), 0, {
      base_address: this.#base,
      ioregsel: this.#select,
      id: this.#id,
      irr,
      redirtbl,
    })
    return bytes
  }

  /** Takes such bytes over, and sends what they say is asserted. */
  load(bytes: Uint8Array): void {
    const { base_address, ioregsel, id, irr, redirtbl } = kvm_ioapic_state.read(
      new DataView(bytes.buffer, bytes.byteOffset),
      0,
    )
    const view = new DataView(redirtbl.buffer, redirtbl.byteOffset)
    this.#base = base_address
    this.#select = ioregsel
    this.#id = id
    for (const pin of this.#low.keys()) {
      this.#low[pin] = view.getUint32(8 * pin, true)
      this.#high[pin] = view.getUint32(8 * pin + 4, true)
    }
    this.#irr = 0
    this.#delivered = 0
    this.#rtc = { unserved: 0, vector: 0 }
    for (const pin of this.#low.keys()) if (((irr >>> pin) & 1) === 1) this.set(pin, true, true)
  }
}
