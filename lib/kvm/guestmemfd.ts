/** guest_memfd: guest memory that the host process cannot map; the backing of a TD's private pages. */
import type { Hpa } from '#bits'
import type { PhysicalMemory } from '#x86'
import { drop, type OpenFile } from './file.ts'
import type { Memslot } from './memslot.ts'
import type { Vm } from './vm.ts'

/** The pages behind one file or, linked, behind several: frames appear on first use and stay until the last file goes. */
class Inode {
  readonly pages: number
  readonly frames = new Map<number, Hpa>()
  files = 0

  constructor(pages: number) {
    this.pages = pages
  }
}

/** Belongs to one VM and keeps it alive. */
export class GuestMemfd implements OpenFile {
  readonly kind = 'guest_memfd'
  references = 0
  readonly vm: Vm
  /** Slots bound to it. */
  readonly slots = new Set<Memslot>()
  readonly #memory: PhysicalMemory
  readonly #inode: Inode

  constructor(vm: Vm, memory: PhysicalMemory, content: number | GuestMemfd) {
    this.vm = vm
    vm.references++
    this.#memory = memory
    this.#inode = typeof content === 'number' ? new Inode(content) : content.#inode
    this.#inode.files++
  }

  /** Pages. */
  get pages(): number {
    return this.#inode.pages
  }

  /** The frame of a page of the file. */
  frame(page: number): Hpa {
    const { frames } = this.#inode
    const known = frames.get(page)
    if (known !== undefined) return known
    const fresh = this.#memory.allocate()
    frames.set(page, fresh)
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
    const { frames } = this.#inode
    if (--this.#inode.files === 0) {
      for (const frame of frames.values()) if (!this.vm.isTd || !this.vm.td.keeps(frame)) this.#memory.free(frame)
      frames.clear()
    }
    drop(this.vm)
  }
}
