/** GDT, IDT and TSS of a guest, as the KVM selftests set them up: 64-bit code, data, one TSS for each vCPU. */
import { DESCRIPTOR_INTERRUPT_GATE, DESCRIPTOR_TSS, KERNEL_CS, KERNEL_DS, KERNEL_TSS } from '#abi'
import type { Gva } from '#bits'

/** Bytes of a 64-bit TSS without an I/O bitmap. SDM Vol. 3A, "Task Management in 64-bit Mode". */
export const TSS_SIZE = 104

/** Selector of a vCPU's TSS; 64-bit system descriptors are 16 bytes. */
export const tssSelector = (vcpu: number): number => KERNEL_TSS + 16 * vcpu

/** Selector of ring 3's 64-bit code, behind the TSSs of `vcpus`; its data follows. Both with RPL 3. */
export const userCodeSelector = (vcpus: number): number => tssSelector(vcpus) | 3

/** Bytes of a GDT for `vcpus`. */
export const gdtSize = (vcpus: number): number => tssSelector(vcpus) + 16

const descriptor = (base: bigint, limit: bigint, rights: bigint): bigint =>
  (limit & 0xffffn) |
  ((base & 0xff_ffffn) << 16n) |
  (rights << 40n) |
  (((limit >> 16n) & 0xfn) << 48n) |
  (((base >> 24n) & 0xffn) << 56n)

/**
 * A GDT: null, KERNEL_CS (64-bit code), KERNEL_DS (data), a TSS for each of `tss`, then code and data of ring 3.
 * Rights are bits 55:40 of a descriptor. SDM Vol. 3A, "Segment Descriptors".
 */
export const encodeGdt = (tss: readonly Gva[]): Uint8Array => {
  const out = new Uint8Array(gdtSize(tss.length))
  const view = new DataView(out.buffer)
  view.setBigUint64(KERNEL_CS, descriptor(0n, 0xf_ffffn, 0xa09bn), true)
  view.setBigUint64(KERNEL_DS, descriptor(0n, 0xf_ffffn, 0xc093n), true)
  for (const [vcpu, base] of tss.entries()) {
    const at = tssSelector(vcpu)
    view.setBigUint64(at, descriptor(base, BigInt(TSS_SIZE - 1), 0x80n | BigInt(DESCRIPTOR_TSS)), true)
    view.setBigUint64(at + 8, base >> 32n, true)
  }
  const user = userCodeSelector(tss.length) & ~7
  view.setBigUint64(user, descriptor(0n, 0xf_ffffn, 0xa0fbn), true)
  view.setBigUint64(user + 8, descriptor(0n, 0xf_ffffn, 0xc0f3n), true)
  return out
}

/**
 * An IDT of interrupt gates through KERNEL_CS without IST, one for each handler; ring 3 may use those of `user` by INT.
 * SDM Vol. 3A, "64-Bit Mode IDT".
 */
export const encodeIdt = (handlers: readonly Gva[], user: readonly number[] = []): Uint8Array => {
  const out = new Uint8Array(handlers.length * 16)
  const view = new DataView(out.buffer)
  for (const [vector, handler] of handlers.entries()) {
    const at = vector * 16
    view.setUint16(at, Number(handler & 0xffffn), true)
    view.setUint16(at + 2, KERNEL_CS, true)
    view.setUint16(at + 4, ((user.includes(vector) ? 0xe0 : 0x80) | DESCRIPTOR_INTERRUPT_GATE) << 8, true)
    view.setUint16(at + 6, Number((handler >> 16n) & 0xffffn), true)
    view.setUint32(at + 8, Number(handler >> 32n), true)
  }
  return out
}

/** A TSS: RSP0 and every IST are the same stack top; the I/O bitmap base lies past the limit. */
export const encodeTss = (stackTop: Gva): Uint8Array => {
  const out = new Uint8Array(TSS_SIZE)
  const view = new DataView(out.buffer)
  view.setBigUint64(4, stackTop, true)
  for (let ist = 0; ist < 7; ist++) view.setBigUint64(36 + 8 * ist, stackTop, true)
  view.setUint16(102, TSS_SIZE, true)
  return out
}
