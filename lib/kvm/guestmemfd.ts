/** guest_memfd: guest memory that the host process cannot map; the backing of a TD's private pages. */
import type { Hpa } from '#bits'
import type { PhysicalMemory } from '#x86'
import { drop, type OpenFile } from './file.ts'
import type { Memslot } from './memslot.ts'
import type { Vm } from './vm.ts'

/** Belongs to one VM and keeps it alive. Frames appear on first use and stay until the file goes. */
export class GuestMemfd implements OpenFile {
  readonly kind = 'guest_memfd'
  references = 0
  readonly vm: Vm
  /** Pages. */
  readonly pages: number
  /** Slots bound to it. */
  readonly slots = new Set<Memslot>()
  readonly #memory: PhysicalMemory
  readonly #frames = new Map<number, Hpa>()

  constructor(vm: Vm, memory: PhysicalMemory, pages: number) {
    this.vm = vm
    vm.references++
    this.#memory = memory
    this.pages = pages
  }

  /** The frame of a page of the file. */
  frame(page: number): Hpa {
    const known = this.#frames.get(page)
    if (known !== undefined) return known
    const fresh = this.#memory.allocate()
    this.#frames.set(page, fresh)
    return fresh
  }

  /** Is a slot bound to one of the pages? */
  isBound(first: number, pages: number): boolean {
    for (const slot of this.slots) {
      if (slot.memfdPage < first + pages && first < slot.memfdPage + slot.pages) return true
    }
    return false
  }

  /** The file's pages leave every guest that maps them, then the machine gets the frames back. */
  release(): void {
    for (const slot of this.slots) {
      this.vm.zapPrivate(slot.gfn, slot.pages)
      slot.memfd = undefined
    }
    this.slots.clear()
    for (const frame of this.#frames.values()) if (!this.vm.td.keeps(frame)) this.#memory.free(frame)
    this.#frames.clear()
    drop(this.vm)
  }
}
