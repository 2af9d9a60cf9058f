/**
 * The I/O APIC of an ordinary VM: 24 pins, each with a redirection entry. Intel 82093AA I/O Advanced Programmable Interrupt
 * Controller (IOAPIC) datasheet, "Memory Mapped Registers for Accessing IOAPIC Registers" and "IOAPIC Registers"; where
 * KVM's is simpler (version 11h without an EOI register, no polarity, the arbitration ID is the ID), as Linux
 * arch/x86/kvm/ioapic.c.
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
/** Delivery status and remote IRR; bits 31:17 are reserved. */
const READ_ONLY = (1 << 12) | REMOTE_IRR
const WRITABLE = 0x1_ffff & ~READ_ONLY

export class IoApic {
  /** Sends a pin's interrupt: how many local APICs took it, undefined where none is named. */
  readonly #send: (command: ApicCommand) => number | undefined
  /** Lower and upper halves of the redirection entries. */
  readonly #low = new Uint32Array(KVM_IOAPIC_NUM_PINS).fill(MASKED)
  readonly #high = new Uint32Array(KVM_IOAPIC_NUM_PINS)
  #select = 0
  #id = 0
  /** Pins that are asserted. */
  #irr = 0
  /** Edges of those that have been sent. */
  #delivered = 0

  constructor(send: (command: ApicCommand) => number | undefined) {
    this.#send = send
  }

  has(gpa: number): boolean {
    return gpa >= BASE && gpa < BASE + SIZE
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
    if (select === ID || select === ARBITRATION) return this.#id << 24
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
    if ((select & 1) === 1) {
      this.#high[pin] = value & 0xff00_0000
    } else {
      const entry = (value & WRITABLE) | (this.#low[pin]! & READ_ONLY)
      // Some guests make an entry edge-triggered for a moment to get rid of a remote IRR that was left over.
      this.#low[pin] = (entry & LEVEL) === 0 ? entry & ~REMOTE_IRR : entry
    }
    if ((this.#low[pin]! & LEVEL) !== 0 && this.#isAsserted(pin)) this.#service(pin)
  }

  #isAsserted(pin: number): boolean {
    return ((this.#irr >>> pin) & 1) === 1
  }

  /** A pin's line. How many took an interrupt, 0 where it is one with an earlier one, -1 where it is masked. */
  set(pin: number, level: boolean): number {
    const bit = 1 << pin
    if (!level) {
      this.#irr &= ~bit
      return 1
    }
    const was = this.#irr & bit
    this.#irr |= bit
    if ((this.#low[pin]! & LEVEL) === 0) {
      this.#delivered &= ~bit
      if (was !== 0) return 0
    }
    return this.#service(pin)
  }

  #service(pin: number): number {
    const entry = this.#low[pin]!
    const isLevel = (entry & LEVEL) !== 0
    if ((entry & MASKED) !== 0 || (isLevel && (entry & REMOTE_IRR) !== 0)) return -1
    if (!isLevel) this.#delivered |= 1 << pin
    const taken = this.#send({
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

  /** Pins whose interrupt is this vector. */
  pinsOf(vector: number): number[] {
    return [...this.#low.keys()].filter(pin => (this.#low[pin]! & 0xff) === vector)
  }

  /** The end of service of a pin's level-triggered vector: what is still asserted is sent again. */
  eoi(pin: number): void {
    const entry = this.#low[pin]!
    if ((entry & LEVEL) === 0) return
    this.#low[pin] = entry & ~REMOTE_IRR
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
      base_address: BigInt(BASE),
      ioregsel: this.#select,
      id: this.#id,
      irr,
      redirtbl,
    })
    return bytes
  }

  /** Takes such bytes over, and sends what they say is asserted. */
  load(bytes: Uint8Array): void {
    const { ioregsel, id, irr, redirtbl } = kvm_ioapic_state.read(new DataView(bytes.buffer, bytes.byteOffset), 0)
    const view = new DataView(redirtbl.buffer, redirtbl.byteOffset)
    this.#select = ioregsel & 0xff
    this.#id = id & 15
    for (const pin of this.#low.keys()) {
      this.#low[pin] = view.getUint32(8 * pin, true) & (WRITABLE | READ_ONLY)
      this.#high[pin] = view.getUint32(8 * pin + 4, true) & 0xff00_0000
    }
    this.#irr = 0
    this.#delivered = 0
    for (const pin of this.#low.keys()) if (((irr >>> pin) & 1) === 1) this.set(pin, true)
  }
}
