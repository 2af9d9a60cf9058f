/** guest_memfd: guest memory that the host process cannot map; the backing of a TD's private pages. */
import type { Hpa } from '#bits'
import type { PhysicalMemory } from '#x86'
import { drop, type OpenFile } from './file.ts'
import type { Memslot } from './memslot.ts'
import type { Vm } from './vm.ts'

/** The pages behind one file or, linked, behind several: frames appear on first use and stay until the last file goes. */
class Inode {
  readonly pages: number
  /** GUEST_MEMFD_FLAG_MMAP: the host may map what is shared, and the guest's shared accesses go here too. */
  readonly isMappable: boolean
  readonly frames = new Map<number, Hpa>()
  files = 0

  constructor(pages: number, isMappable: boolean) {
    this.pages = pages
    this.isMappable = isMappable
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

  constructor(vm: Vm, memory: PhysicalMemory, content: number | GuestMemfd, isMappable = false) {
    this.vm = vm
    vm.references++
    this.#memory = memory
    this.#inode = typeof content === 'number' ? new Inode(content, isMappable) : content.#inode
    this.#inode.files++
  }

  /** Pages. */
  get pages(): number {
    return this.#inode.pages
  }

  /** Conversion in place: one page for private and for shared accesses. */
  get isMappable(): boolean {
    return this.#inode.isMappable
  }

  /** Every frame, for a mapping of the whole file. */
  allFrames(): Hpa[] {
    return Array.from({ length: this.pages }, (_, page) => this.frame(page))
  }

  /** The pages of a slot become private or shared: the host can reach them only while they are shared. */
  convert(slot: Memslot, gfn: number, isPrivate: boolean): void {
    const page = slot.memfdPage + gfn - slot.gfn
    // What was private is gone; what becomes private is given to the TDX module.
    if (!isPrivate) this.#memory.fill(this.frame(page), 4096, 0)
    this.vm.host.space.setFilePage(this, page, isPrivate ? undefined : this.frame(page))
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
