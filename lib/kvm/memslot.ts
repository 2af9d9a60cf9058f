/** Memory slots: which guest pages are backed by which host memory, and by which guest_memfd. */
import type { GuestMemfd } from './guestmemfd.ts'

/** Page numbers throughout: guest frame numbers (GPA / 4096 without the shared bit) and host page numbers. */
export type Memslot = {
  readonly id: number
  flags: number
  readonly gfn: number
  readonly pages: number
  /** Host page number of userspace_addr. */
  readonly hostPage: number
  /** Bound guest_memfd and the page in it where the slot starts. `undefined` once the file is gone. */
  memfd: GuestMemfd | undefined
  readonly memfdPage: number
  /** KVM_MEM_LOG_DIRTY_PAGES: a bit for each page, in whole u64s. */
  dirty: Uint8Array | undefined
}

/** Notes a write to a page of a slot that logs them: whether it is the first since somebody looked. */
export const markDirty = ({ dirty, gfn: first }: Memslot, gfn: number): boolean => {
  if (dirty === undefined) return false
  const [at, bit] = [(gfn - first) >>> 3, 1 << ((gfn - first) & 7)]
  const isFirst = (dirty[at]! & bit) === 0
  dirty[at]! |= bit
  return isFirst
}

/** The slots of a VM, by id and by guest frame number. */
export class Memslots {
  readonly #byId = new Map<number, Memslot>()
  /** By gfn; slots do not overlap. */
  readonly #sorted: Memslot[] = []
  #last: Memslot | undefined

  get(id: number): Memslot | undefined {
    return this.#byId.get(id)
  }

  #position(gfn: number): number {
    let low = 0
    let high = this.#sorted.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const slot = this.#sorted[middle]!
      if (slot.gfn + slot.pages > gfn) high = middle
      else low = middle + 1
    }
    return low
  }

  /** The slot that holds the guest page. */
  find(gfn: number): Memslot | undefined {
    const last = this.#last
    if (last !== undefined && gfn >= last.gfn && gfn < last.gfn + last.pages) return last
    const slot = this.#sorted[this.#position(gfn)]
    if (slot === undefined || gfn < slot.gfn) return undefined
    this.#last = slot
    return slot
  }

  /** A slot other than `except` that holds one of the pages. */
  overlaps(gfn: number, pages: number, except: number): Memslot | undefined {
    for (let i = this.#position(gfn); i < this.#sorted.length; i++) {
      const slot = this.#sorted[i]!
      if (slot.gfn >= gfn + pages) return undefined
      if (slot.id !== except) return slot
    }
    return undefined
  }

  add(slot: Memslot): void {
    this.#byId.set(slot.id, slot)
    this.#sorted.splice(this.#position(slot.gfn), 0, slot)
  }

  delete(slot: Memslot): void {
    this.#byId.delete(slot.id)
    this.#sorted.splice(this.#sorted.indexOf(slot), 1)
    this.#last = undefined
  }

  [Symbol.iterator](): Iterator<Memslot> {
    return this.#sorted[Symbol.iterator]()
  }
}
