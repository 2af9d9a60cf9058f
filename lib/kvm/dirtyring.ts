/**
 * A vCPU's ring of pages that its guest has written: userspace reads entries where they lie, says of each that it has, and
 * KVM_RESET_DIRTY_RINGS has them noticed again. Linux virt/kvm/dirty_ring.c.
 */
import { KVM_DIRTY_GFN_F_DIRTY, KVM_DIRTY_GFN_F_RESET, kvm_dirty_gfn } from '#abi'
import { type Hpa, hpa, PAGE_SIZE } from '#bits'
import type { PhysicalMemory } from '#x86'

/** Entries that KVM keeps for what comes after userspace was told that the ring is full. */
const RESERVED = 64
/** Entries of a processor's page-modification log, which come all at once. KVM logs a TD's shared memory without it. */
const PML = 512
const PER_PAGE = PAGE_SIZE / kvm_dirty_gfn.size

export const reservedEntries = (isTd: boolean): number => RESERVED + (isTd ? 0 : PML)

export class DirtyRing {
  readonly pages: readonly Hpa[]
  readonly #memory: PhysicalMemory
  readonly #softLimit: number
  readonly #size: number
  #dirty = 0
  #reset = 0
  /** What the guest wrote in one go beyond the last entry; it has its turn as entries become free. */
  readonly #waiting: { readonly slot: number; readonly offset: number }[] = []

  /** `bytes`: a power of two, of at least a page. */
  constructor(memory: PhysicalMemory, bytes: number, reserved: number) {
    this.#memory = memory
    this.pages = Array.from({ length: bytes / PAGE_SIZE }, () => memory.allocate())
    this.#size = bytes / kvm_dirty_gfn.size
    this.#softLimit = this.#size - reserved
  }

  #entry(index: number): Hpa {
    const at = index & (this.#size - 1)
    return hpa(this.pages[Math.floor(at / PER_PAGE)]! + (at % PER_PAGE) * kvm_dirty_gfn.size)
  }

  /** Is the vCPU to wait until userspace has looked? */
  get isFull(): boolean {
    return this.#dirty - this.#reset + this.#waiting.length >= this.#softLimit
  }

  /** Page `offset` of a slot. */
  push(slot: number, offset: number): void {
    if (this.#dirty - this.#reset >= this.#size) {
      this.#waiting.push({ slot, offset })
      return
    }
    const entry = { flags: KVM_DIRTY_GFN_F_DIRTY, slot, offset: BigInt(offset) }
    kvm_dirty_gfn.write(this.#memory.view, this.#entry(this.#dirty), entry)
    this.#dirty++
  }

  /** Frees the entries that userspace is done with, from the oldest up to one that it is not: how many. What they say now is told. */
  reset(each: (slot: number, offset: bigint) => void): number {
    const { view } = this.#memory
    let count = 0
    while (count < this.#size) {
      const at = this.#entry(this.#reset)
      const { flags, slot, offset } = kvm_dirty_gfn.read(view, at)
      if ((flags & KVM_DIRTY_GFN_F_RESET) === 0) break
      kvm_dirty_gfn.set(view, at, 'flags', 0)
      this.#reset++
      count++
      each(slot, offset)
    }
    for (const { slot, offset } of this.#waiting.splice(0, count)) this.push(slot, offset)
    return count
  }

  close(): void {
    for (const page of this.pages) this.#memory.free(page)
  }
}
