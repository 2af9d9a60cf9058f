/**
 * The virtual APIC page of a vCPU: requests, service, priority, and the posted-interrupt descriptor that feeds it.
 * SDM Vol. 3C, "APIC Virtualization and Virtual Interrupts".
 */
import type { PhysicalMemory } from '#x86'

/** IRR and ISR: 256 bits. */
type Vectors = Uint32Array

const highest = (vectors: Vectors): number => {
  for (let i = 7; i >= 0; i--) if (vectors[i] !== 0) return 32 * i + 31 - Math.clz32(vectors[i]!)
  return -1
}

/** Byte offset and bit of Outstanding Notification in the descriptor; PIR is its first 32 bytes. */
const ON_BYTE = 32

export class VirtualApic {
  readonly irr: Vectors = new Uint32Array(8)
  readonly isr: Vectors = new Uint32Array(8)
  /** Bits 3:0 of TPR; 7:4 are CR8. */
  tprLow = 0

  request(vector: number): void {
    this.irr[vector >> 5] = this.irr[vector >> 5]! | (1 << (vector & 31))
  }

  tpr(cr8: bigint): number {
    return (Number(cr8 & 0xfn) << 4) | this.tprLow
  }

  /** Processor priority: the higher class of TPR and what is in service. */
  ppr(cr8: bigint): number {
    const tpr = this.tpr(cr8)
    const serving = Math.max(highest(this.isr), 0)
    return (tpr & 0xf0) >= (serving & 0xf0) ? tpr : serving & 0xf0
  }

  /** The highest vector in service, the highest that waits: SVI and RVI; 0 for none. */
  get inService(): number {
    return Math.max(highest(this.isr), 0)
  }
  get requested(): number {
    return Math.max(highest(this.irr), 0)
  }

  /** Eight bytes of the APIC page's first KiB: TPR, PPR, ISR and IRR stand there 16 bytes apart. */
  page(index: number, cr8: bigint): bigint {
    const at = 8 * index
    if (at % 16 !== 0) return 0n
    if (at === 0x80) return BigInt(this.tpr(cr8))
    if (at === 0xa0) return BigInt(this.ppr(cr8))
    if (at >= 0x100 && at < 0x180) return BigInt(this.isr[(at - 0x100) / 16]!)
    if (at >= 0x200 && at < 0x280) return BigInt(this.irr[(at - 0x200) / 16]!)
    return 0n
  }

  /** Nothing is requested. */
  get isIdle(): boolean {
    return highest(this.irr) < 0
  }

  /** The request that may be delivered now, as far as priority goes; -1 for none. */
  deliverable(cr8: bigint): number {
    const vector = highest(this.irr)
    return vector >= 0 && (vector & 0xf0) > (this.ppr(cr8) & 0xf0) ? vector : -1
  }

  /** The request becomes one in service. */
  accept(vector: number): void {
    const bit = 1 << (vector & 31)
    this.irr[vector >> 5] = this.irr[vector >> 5]! & ~bit
    this.isr[vector >> 5] = this.isr[vector >> 5]! | bit
  }

  eoi(): void {
    const vector = highest(this.isr)
    if (vector >= 0) this.isr[vector >> 5] = this.isr[vector >> 5]! & ~(1 << (vector & 31))
  }

  /** Has the host posted something? */
  isPosted(memory: PhysicalMemory, descriptor: number): boolean {
    return (memory.view.getUint8(descriptor + ON_BYTE) & 1) !== 0
  }

  /** Posted-interrupt processing: what the host has set in PIR becomes requests. */
  takePosted(memory: PhysicalMemory, descriptor: number): void {
    const on = memory.view.getUint8(descriptor + ON_BYTE)
    if ((on & 1) === 0) return
    memory.view.setUint8(descriptor + ON_BYTE, on & ~1)
    for (let i = 0; i < 8; i++) {
      this.irr[i] = this.irr[i]! | memory.view.getUint32(descriptor + 4 * i, true)
      memory.view.setUint32(descriptor + 4 * i, 0, true)
    }
  }
}
